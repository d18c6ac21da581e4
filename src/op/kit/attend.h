/*
 * Attention of one query over rows that may lie anywhere, tile by tile (Milakov and Gimelshein 2018,
 * arXiv:1805.02867): weights are exp(score - largest so far), and a larger one scales what is summed up already.
 */
#ifndef OP_KIT_ATTEND_H
#define OP_KIT_ATTEND_H

#include <math.h>
#include <string.h>

#include "op/kit/rows.h"
#include "op/kit/vec.h"

struct attend {
	float *y;		/* sum of weighted values, dh numbers */
	float most, sum;	/* largest score, sum of weights */
	float scale;		/* of y, when the next value comes */
	long dh;
};

static inline struct attend attend_begin(float *y, long dh)
{
	return (struct attend){.y = memset(y, 0, (size_t)dh * sizeof *y), .most = -INFINITY, .dh = dh};
}

/* The scores of a tile, whose values come next. */
static inline void attend_scores(struct attend *a, const float *score, long n)
{
	float before = a->most;

	for (long s = 0; s < n; s++)
		a->most = score[s] > a->most ? score[s] : a->most;
	a->scale = vec_exp(before - a->most);
	a->sum *= a->scale;
}

static inline void attend_value(struct attend *a, float score, const float *value)
{
	float weight = vec_exp(score - a->most);

	row_add(a->y, a->scale, weight, value, a->dh);
	a->scale = 1;
	a->sum += weight;
}

/* Backward, of one query. */
struct attended {
	const float *q, *dy;
	float *dq;		/* NULL: nobody wants it */
	float lse, delta;	/* log-sum-exp of the scores, dy . y */
	float root;		/* 1 / sqrt(dh), which scales scores */
	long dh;
};

/* What a row adds to the gradients of the query, of its key and of its value; dk, dv NULL: nobody wants them. */
static inline void attended_row(const struct attended *a, const float *key, const float *value, float *dk, float *dv)
{
	float p = vec_exp(row_dot(a->q, key, a->dh) * a->root - a->lse);
	float ds = p * a->root * (row_dot(a->dy, value, a->dh) - a->delta);

	if (dv)
		row_add(dv, 1, p, a->dy, a->dh);
	if (dk)
		row_add(dk, 1, ds, a->q, a->dh);
	if (a->dq)
		row_add(a->dq, 1, ds, key, a->dh);
}

#endif
