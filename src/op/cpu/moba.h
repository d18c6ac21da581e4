/*
 * Which segments a query of moba sees, for the reference and the CPU: segments are chosen once, in the forward pass,
 * and kept in the order of their numbers. op/moba.h has the formula.
 */
#ifndef OP_CPU_MOBA_H
#define OP_CPU_MOBA_H

#include "base/num.h"
#include "op/document_start.h"
#include "op/moba_kernels.h"

op_kernel moba_forward_cpu, moba_backward_cpu;

/* A token's query, and the segments that it sees: earlier ones, then its own, up to itself. */
struct query {
	long b, h, t, start, own;	/* own: number of its segment in the document */
	long least;			/* the first token that it may see */
	const int *segments;
	long n_segments;
};

/* Tokens [*from, *to) of the i-th segment that is seen, i <= n_segments. */
static inline void range_of(const struct query *q, long S, long i, long *from, long *to)
{
	*from = max_long(q->start + (i < q->n_segments ? q->segments[i] : q->own) * S, q->least);
	*to = i < q->n_segments ? *from + S : q->t + 1;
}

/* Where the document of token t begins; of idle rows those of the first query's count. */
static inline long start_of(const struct op_run *r, const struct moba_dims *d, long b, long t)
{
	return first_seen(r->in[MOBA_START_BT], b, max_long(t, d->idle));
}

static inline long least_seen(const struct moba_dims *d, long start, long t)
{
	return max_long(start, d->idle ? t - d->idle : 0);
}

/* Number in its document of the first segment that lies whole in what token t sees. */
static inline long first_segment(const struct moba_dims *d, long start, long t)
{
	return ceil_div(least_seen(d, start, t) - start, d->S);
}

static inline int *segments_at(const struct op_run *r, const struct moba_dims *d, long b, long h, long t)
{
	return row_int(r->saved[MOBA_SEGMENTS_BTM], b * d->T + t) + h * (d->earlier ? d->earlier : 1);
}

static inline struct query query_of(const struct op_run *r, const struct moba_dims *d, long b, long h, long t)
{
	struct query q = {.b = b, .h = h, .t = t, .start = start_of(r, d, b, t)};

	q.own = (t - q.start) / d->S;
	q.least = least_seen(d, q.start, t);
	q.segments = segments_at(r, d, b, h, t);
	while (q.n_segments < d->earlier && q.segments[q.n_segments] >= 0)
		q.n_segments++;
	return q;
}

/* Does a whole segment end with token t? */
static inline bool ends_segment(const struct op_run *r, const struct moba_dims *d, long b, long t)
{
	long start = start_of(r, d, b, t);

	return (t - start) % d->S == d->S - 1 && t - d->S + 1 >= max_long(start, 0);
}

/* The n chosen ones, counted from `first`. */
static inline void put_segments(int *to, long room, const int *segment, int n, long first)
{
	for (long i = 0; i < room; i++)
		to[i] = i < n ? (int)first + segment[i] : -1;
}

#endif
