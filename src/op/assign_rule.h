/* The rule of assign (op/assign.h), the same source for every device. */
#ifndef OP_ASSIGN_RULE_H
#define OP_ASSIGN_RULE_H

#include "base/rng.h"
#include "op/assign.h"

/* A token's experts: first, first + by, first + 2 by, ... mod E. */
struct assign_walk {
	uint32_t first, by;
};

RNG_FN uint32_t assign_gcd(uint32_t a, uint32_t b)
{
	while (b) {
		uint32_t rest = a % b;
		a = b;
		b = rest;
	}
	return a;
}

/* id: the token's, or its place. */
RNG_FN struct assign_walk assign_walk(const struct assign_attr *attr, int id)
{
	struct rng_key key = {attr->seed, 0x61737369676eu, 0};
	struct rng_block b = rng_block(key, (uint64_t)(uint32_t)id);
	uint32_t E = (uint32_t)attr->n_experts;
	struct assign_walk w = {b.word[0] % E, 1 + b.word[1] % E}, place = {(uint32_t)id % E, 1};

	if (attr->by_place)
		return place;
	while (assign_gcd(w.by, E) != 1)
		w.by++;
	return w;
}

RNG_FN int assign_expert(const struct assign_attr *attr, const struct assign_walk *w, int k)
{
	return (int)(((uint64_t)w->first + (uint64_t)w->by * (uint64_t)k) % (uint64_t)attr->n_experts);
}

#endif
