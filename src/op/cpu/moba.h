/*
 * Which segments a query of moba sees, for the reference and the CPU: segments are chosen once, in the forward pass,
 * and kept in the order of their numbers. op/moba.h has the formula. And what a task of moba and summary is on the CPU.
 */
#ifndef OP_CPU_MOBA_H
#define OP_CPU_MOBA_H

#include "base/num.h"
#include "op/document_start.h"
#include "op/kit/attend.h"
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

/* ---- cpu: a task is a sequence and a head of keys and values -------------------------------- */

struct moba_task {
	const struct op_run *run;
	struct moba_dims d;
	long b, kv;
	float *room;		/* of the workspace, its own part */
};

/* room: floats of the workspace for each. */
static inline struct moba_task moba_task(const struct op_run *r, long i, long room)
{
	struct moba_task k = {.run = r, .d = moba_dims(r->in, r->attr), .room = (float *)r->workspace + i * room};

	k.b = i / k.d.KV;
	k.kv = i % k.d.KV;
	return k;
}

/* Of a head of token t; NULL where there is no tensor, as of a gradient that nobody wants. */
static inline float *moba_head(const struct moba_task *k, const struct tensor *x, long t, long h)
{
	return x ? row_f32(x, k->b * k->d.T + t) + h * k->d.dh : NULL;
}

/* Of the segment that ends with token `last`. */
static inline void moba_mean(const struct moba_task *k, int input, long last, float *mean)
{
	memset(mean, 0, (size_t)k->d.dh * sizeof *mean);
	for (long s = last - k->d.S + 1; s <= last; s++)
		row_add(mean, 1, 1, moba_head(k, k->run->in[input], s, k->kv), k->d.dh);
	row_add(mean, 1 / (float)k->d.S, 0, mean, k->d.dh);
}

static inline void moba_clear(const struct moba_task *k, const struct tensor *x, long t, long first, long n)
{
	memset(moba_head(k, x, t, first), 0, (size_t)(n * k->d.dh) * sizeof(float));
}

/* Gradients of the task's tokens begin at 0, or at what is there. */
static inline void moba_clear_gradients(const struct moba_task *k)
{
	for (int i = MOBA_Q_BTD; i <= MOBA_V_BTC; i++) {
		long heads = i == MOBA_Q_BTD ? k->d.H / k->d.KV : 1;
		for (long t = 0; k->run->d_in[i] && !op_adds(k->run, i) && t < k->d.T; t++)
			moba_clear(k, k->run->d_in[i], t, k->kv * heads, heads);
	}
}

/* Of head h of token t; lse: saved. */
static inline struct attended moba_attended(const struct moba_task *k, const struct tensor *lse, long t, long h)
{
	const struct op_run *r = k->run;
	const float *q = moba_head(k, r->in[MOBA_Q_BTD], t, h), *dy = moba_head(k, r->d_out[MOBA_Y_BTD], t, h);

	return (struct attended){.q = q, .dy = dy, .dq = moba_head(k, r->d_in[MOBA_Q_BTD], t, h), .dh = k->d.dh,
		.root = 1 / sqrtf((float)k->d.dh), .lse = row_f32(lse, k->b * k->d.T + t)[h],
		.delta = row_dot(dy, moba_head(k, r->out[MOBA_Y_BTD], t, h), k->d.dh)};
}

#endif
