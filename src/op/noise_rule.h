/*
 * Random numbers of routers (op/noise.h, op/jitter.h), the same source for every device. A number is a
 * function of seed, step, stream (the router), and its place among those of a step, over all
 * micro-batches: recomputation draws it again, and neither threads nor micro-batches change it.
 */
#ifndef OP_NOISE_RULE_H
#define OP_NOISE_RULE_H

#include <math.h>

#include "base/rng.h"
#include "op/noise.h"

RNG_FN struct rng_block noise_block(const struct step_state *state, uint64_t stream, uint64_t i)
{
	struct rng_key key = {state->seed, stream, (uint32_t)state->step};

	return rng_block(key, i);
}

/* N(0, 1): Box and Muller 1958. */
RNG_FN double noise_normal(struct rng_block b)
{
	return sqrt(-2 * log(rng_uniform(b, 0))) * cos(6.283185307179586477 * rng_uniform(b, 1));
}

/* Gumbel(0, 1). */
RNG_FN double noise_gumbel(struct rng_block b)
{
	return -log(-log(rng_uniform(b, 0)));
}

/* n of the i-th pair of token and expert of a step. */
RNG_FN double noise_draw(const struct noise_attr *attr, const struct step_state *state, long i)
{
	struct rng_block b = noise_block(state, attr->stream, (uint64_t)i);

	return attr->kind == NOISE_GUMBEL ? noise_gumbel(b) : noise_normal(b);
}

/* width NULL: there is none. */
RNG_FN double noise_sigma(const struct noise_attr *attr, const float *width)
{
	return attr->scale * (width ? (*width > 30 ? *width : log1p(exp((double)*width))) : 1);
}

/* dsigma / dwidth */
RNG_FN double noise_slope(const struct noise_attr *attr, float width)
{
	return attr->scale / (1 + exp(-(double)width));
}

/* Uniform in (-1, 1), one of the block's four, exact in float32. */
RNG_FN float noise_symmetric(struct rng_block b, int word)
{
	return ((float)(int)(2 * (b.word[word] >> 9) + 1) - 0x1p23f) * 0x1p-23f;
}

#endif
