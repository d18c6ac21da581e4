/*
 * Keys and values that lie in rings from call to call (op/attention_step.h, op/moba_step.h, op/summary_step.h, and of
 * keys alone op/copied.h): where those of a document's positions are, and what a call leaves. Position s of a document
 * is in row s mod L.
 */
#ifndef OP_RINGS_H
#define OP_RINGS_H

#include <string.h>

#include "op/document_start.h"

struct rings {
	const struct tensor *k, *v, *keys, *values, *start;	/* keys, values: the rings */
	long B, T, L;		/* L: rows of a ring */
};

static inline struct rings rings_of(const struct tensor *k, const struct tensor *v, const struct tensor *keys,
	const struct tensor *values, const struct tensor *start)
{
	return (struct rings){k, v, keys, values, start, k->dims[0], k->dims[1], keys->dims[1]};
}

struct place {
	const struct tensor *x;
	long row;
};

/* Of k (or v) and its ring, where position s is as token t with position p sees it. */
static inline struct place rings_place(const struct rings *r, const struct tensor *now, const struct tensor *ring,
	long b, long t, long p, long s)
{
	return p - s <= t ? (struct place){now, b * r->T + t - (p - s)} : (struct place){ring, b * r->L + s % r->L};
}

/* Rows of the sequence that are there. */
static inline long rings_there(const struct rings *r, long b)
{
	long n = r->T;

	while (n > 0 && first_seen(r->start, b, n - 1) == NOT_THERE)
		n--;
	return n;
}

/* Does the call, which has n rows of the sequence, leave token t in the rings, and in which row? */
static inline bool rings_keep_token(const struct rings *r, long b, long t, long n, long *row)
{
	long start = first_seen(r->start, b, t);

	*row = b * r->L + (t - start) % r->L;
	return t >= n - r->L && start == first_seen(r->start, b, n - 1);
}

/* Rows of both rings, by the bytes of an element. */
static inline void rings_keep(const struct rings *r, size_t bytes)
{
	const struct tensor *from[] = {r->k, r->v}, *to[] = {r->keys, r->values};
	long row;

	for (long b = 0; b < r->B; b++)
		for (long t = 0, n = rings_there(r, b); t < n; t++)
			for (int i = 0; i < 2 && rings_keep_token(r, b, t, n, &row); i++)
				memcpy((char *)to[i]->at + (size_t)(row * to[i]->ld) * bytes,
					(char *)from[i]->at + (size_t)((b * r->T + t) * from[i]->ld) * bytes,
					(size_t)tensor_width(from[i]) * bytes);
}

#endif
