#include "op/summary_step.h"

#include "base/error.h"
#include "base/num.h"
#include "op/kit/attend.h"
#include "op/moba_kernels.h"
#include "op/rings.h"
#include "op/trial.h"

/* A token, and its query of one head. */
struct query {
	const struct op_run *run;
	struct moba_dims d;
	struct rings rings;
	long b, t, p, h;	/* p: position in the document */
	long n, n_rows;		/* rows that it sees: n summaries, then tokens of its own segment up to itself */
};

static struct rings rings_in(const struct tensor *const *in)
{
	return rings_of(in[MOBA_K_BTC], in[MOBA_V_BTC], in[SUMMARY_STEP_RING_K_BSC], in[SUMMARY_STEP_RING_V_BSC],
		in[MOBA_START_BT]);
}

static void summary_step_shape(struct op_shapes *s)
{
	struct moba_dims d = moba_dims(s->in, s->attr);
	struct rings r = rings_in(s->in);
	const struct tensor *keys = s->in[SUMMARY_STEP_KEYS_BNC];

	moba_shape(s);
	CHECK(r.start && r.keys->n_dims == 3 && r.keys->dims[0] == d.B && r.L == d.S);
	CHECK(tensor_width(r.keys) == tensor_width(r.k) && tensor_same_shape(r.keys, r.values));
	CHECK(keys->n_dims == 3 && keys->dims[0] == d.B && tensor_width(keys) == tensor_width(r.k));
	CHECK(tensor_same_shape(keys, s->in[SUMMARY_STEP_VALUES_BNC]));
	s->saved[SUMMARY_STEP_NOW_KEYS_BNC] = tensor_of(MASTER, 3, d.B, ceil_div(d.T, d.S), tensor_width(r.k));
	s->saved[SUMMARY_STEP_NOW_VALUES_BNC] = s->saved[SUMMARY_STEP_NOW_KEYS_BNC];
}

/* All summaries that are carried count as seen, and half of a segment. */
static void summary_step_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct moba_dims d = moba_dims(s->in, s->attr);
	double rows = (double)s->in[SUMMARY_STEP_KEYS_BNC]->dims[1] + ((double)d.S + 1) / 2;

	*c = (struct op_cost){.forward_flops = (double)(d.B * d.T * d.H) * rows * (4 * (double)d.dh + 1) +
		2 * (double)(d.B * d.T * d.KV * d.dh), .forward_bytes = op_io_bytes(&op_summary_step, s)};
	c->executed_flops = c->forward_flops;
}

/* i: of all tokens of all sequences, head by head. */
static struct query query_of(const struct op_run *r, long i)
{
	struct query q = {.run = r, .d = moba_dims(r->in, r->attr), .rings = rings_in(r->in)};

	q.b = i / q.d.T / q.d.H;
	q.h = i / q.d.T % q.d.H;
	q.t = i % q.d.T;
	q.p = q.t - first_seen(q.rings.start, q.b, q.t);
	q.n = q.p < 0 ? 0 : q.p / q.d.S;
	q.n_rows = q.p < 0 ? 0 : q.n + q.p % q.d.S + 1;
	return q;
}

/* Where the summary of the document's i-th segment is, in `now` if it ends in this call. */
static struct place summary_place(const struct query *q, int now, int kept, long i)
{
	long N = q->run->in[kept]->dims[1], end = q->t - q->p + (i + 1) * q->d.S - 1;

	return end < 0 ? (struct place){q->run->in[kept], q->b * N + i % N}
		: (struct place){q->run->saved[now], q->b * ceil_div(q->d.T, q->d.S) + end / q->d.S};
}

/* Row j of what the query sees, its key and its value. */
static struct place key_at(const struct query *q, long j)
{
	return j < q->n ? summary_place(q, SUMMARY_STEP_NOW_KEYS_BNC, SUMMARY_STEP_KEYS_BNC, j)
		: rings_place(&q->rings, q->rings.k, q->rings.keys, q->b, q->t, q->p, q->n * q->d.S + j - q->n);
}

static struct place value_at(const struct query *q, long j)
{
	return j < q->n ? summary_place(q, SUMMARY_STEP_NOW_VALUES_BNC, SUMMARY_STEP_VALUES_BNC, j)
		: rings_place(&q->rings, q->rings.v, q->rings.values, q->b, q->t, q->p, q->n * q->d.S + j - q->n);
}

/* First column of the head of keys and values. */
static long column(const struct query *q)
{
	return q->h / (q->d.H / q->d.KV) * q->d.dh;
}

/* Does token t of sequence b, at position *p, end a segment? */
static bool ends_segment(const struct rings *r, const struct moba_dims *d, long b, long t, long *p)
{
	*p = t - first_seen(r->start, b, t);
	return *p >= 0 && *p % d->S == d->S - 1;
}

/* Leaves the summaries of the last document, and its last keys and values. */
static void keep(const struct op_run *r, size_t real_bytes, size_t master_bytes)
{
	struct moba_dims d = moba_dims(r->in, r->attr);
	struct rings rings = rings_in(r->in);
	long p, row, N = r->in[SUMMARY_STEP_KEYS_BNC]->dims[1], n = ceil_div(d.T, d.S);

	for (long b = 0; b < d.B; b++)
		for (long t = 0, there = rings_there(&rings, b); t < there; t++) {
			if (!ends_segment(&rings, &d, b, t, &p) ||
				first_seen(rings.start, b, t) != first_seen(rings.start, b, there - 1))
				continue;
			row = b * N + p / d.S % N;
			for (int i = 0; i < 2; i++) {
				const struct tensor *to = r->in[SUMMARY_STEP_KEYS_BNC + i], *from = r->saved[i];
				memcpy((char *)to->at + (size_t)(row * to->ld) * master_bytes, (char *)from->at +
					(size_t)((b * n + t / d.S) * from->ld) * master_bytes,
					(size_t)tensor_width(to) * master_bytes);
			}
		}
	rings_keep(&rings, real_bytes);
}

/* ---- reference ------------------------------------------------------------------------------ */

static void summarise_ref(const struct op_run *r, long b, long t)
{
	struct moba_dims d = moba_dims(r->in, r->attr);
	struct rings x = rings_in(r->in);
	long p, row = b * ceil_div(d.T, d.S) + t / d.S;

	if (!ends_segment(&x, &d, b, t, &p))
		return;
	for (long c = 0; c < tensor_width(x.k); c++) {
		double key = 0, value = 0;
		for (long s = p - d.S + 1; s <= p; s++) {
			struct place k = rings_place(&x, x.k, x.keys, b, t, p, s);
			struct place v = rings_place(&x, x.v, x.values, b, t, p, s);
			key += row_f64(k.x, k.row)[c];
			value += row_f64(v.x, v.row)[c];
		}
		row_f64(r->saved[SUMMARY_STEP_NOW_KEYS_BNC], row)[c] = key / (double)d.S;
		row_f64(r->saved[SUMMARY_STEP_NOW_VALUES_BNC], row)[c] = value / (double)d.S;
	}
}

static double score_ref(const struct query *q, long j)
{
	const double *a = row_f64(q->run->in[MOBA_Q_BTD], q->b * q->d.T + q->t) + q->h * q->d.dh;
	struct place k = key_at(q, j);

	return row_dot_f64(a, row_f64(k.x, k.row) + column(q), q->d.dh) / sqrt((double)q->d.dh);
}

static void token_ref(const struct query *q)
{
	double *y = row_f64(q->run->out[MOBA_Y_BTD], q->b * q->d.T + q->t) + q->h * q->d.dh, sum = 0;

	for (long j = 0; j < q->n_rows; j++)
		sum += exp(score_ref(q, j));
	for (long c = 0; c < q->d.dh; c++) {
		y[c] = 0;
		for (long j = 0; j < q->n_rows; j++) {
			struct place v = value_at(q, j);
			y[c] += exp(score_ref(q, j)) / sum * row_f64(v.x, v.row)[column(q) + c];
		}
	}
}

static void summary_step_forward_ref(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	for (long k = 0; k < d.B * d.T; k++)
		summarise_ref(r, k / d.T, k % d.T);
	for (long i = 0; i < d.B * d.H * d.T; i++) {
		struct query q = query_of(r, i);
		token_ref(&q);
	}
	keep(r, sizeof(double), sizeof(double));
}

/* ---- cpu ------------------------------------------------------------------------------------ */

static void summarise(const struct op_run *r, long b, long t)
{
	struct moba_dims d = moba_dims(r->in, r->attr);
	struct rings x = rings_in(r->in);
	long p, row = b * ceil_div(d.T, d.S) + t / d.S, n = tensor_width(x.k);
	float *key = row_f32(r->saved[SUMMARY_STEP_NOW_KEYS_BNC], row);
	float *value = row_f32(r->saved[SUMMARY_STEP_NOW_VALUES_BNC], row);

	if (!ends_segment(&x, &d, b, t, &p))
		return;
	memset(key, 0, (size_t)n * sizeof *key);
	memset(value, 0, (size_t)n * sizeof *value);
	for (long s = p - d.S + 1; s <= p; s++) {
		struct place k = rings_place(&x, x.k, x.keys, b, t, p, s);
		struct place v = rings_place(&x, x.v, x.values, b, t, p, s);
		row_add(key, 1, 1, row_f32(k.x, k.row), n);
		row_add(value, 1, 1, row_f32(v.x, v.row), n);
	}
	row_add(key, 1 / (float)d.S, 0, key, n);
	row_add(value, 1 / (float)d.S, 0, value, n);
}

enum { TILE = 64 };

static const float *row_of(const struct query *q, struct place at)
{
	return row_f32(at.x, at.row) + column(q);
}

/* As in op/cpu/summary.c. */
static void token(const struct query *q)
{
	const float *of_q = row_f32(q->run->in[MOBA_Q_BTD], q->b * q->d.T + q->t) + q->h * q->d.dh;
	float *y = row_f32(q->run->out[MOBA_Y_BTD], q->b * q->d.T + q->t) + q->h * q->d.dh, score[TILE];
	struct attend a = attend_begin(y, q->d.dh);

	for (long from = 0; from < q->n_rows; from += TILE) {
		long to = min_long(from + TILE, q->n_rows);
		for (long j = from; j < to; j++)
			score[j - from] = row_dot(of_q, row_of(q, key_at(q, j)), q->d.dh) / sqrtf((float)q->d.dh);
		attend_scores(&a, score, to - from);
		for (long j = from; j < to; j++)
			attend_value(&a, score[j - from], row_of(q, value_at(q, j)));
	}
	if (q->n_rows)
		row_add(y, 1 / a.sum, 0, y, q->d.dh);
}

static void summary_step_forward(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	#pragma omp parallel for schedule(static)
	for (long k = 0; k < d.B * d.T; k++)
		summarise(r, k / d.T, k % d.T);
	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < d.B * d.H * d.T; i++) {
		struct query q = query_of(r, i);
		token(&q);
	}
	keep(r, sizeof(float), sizeof(float));
}

static const struct moba_attr plain = {2, 0, 3, 1, 0}, shared = {4, 2, 5, 1, 0}, ones = {1, 0, 1, 1, 0},
	wide = {2, 1, 64, 1, 0};

/* N: summaries that are carried. */
#define SHAPES(B, T, S, N, D, C) MOBA_SHAPES(B, T, D, C), \
	[MOBA_START_BT] = {B, T}, [SUMMARY_STEP_RING_K_BSC] = {B, S, C}, [SUMMARY_STEP_RING_V_BSC] = {B, S, C}, \
	[SUMMARY_STEP_KEYS_BNC] = {B, N, C}, [SUMMARY_STEP_VALUES_BNC] = {B, N, C}

static const struct op_example examples[] = {
	{.name = "one token", .attr = &plain, .prepare = prepare_carried, .in = {SHAPES(2, 1, 3, 30, 8, 8)}},
	{.name = "shared keys", .attr = &shared, .prepare = prepare_carried, .in = {SHAPES(3, 21, 5, 26, 12, 6)}},
	{.name = "segments of one", .attr = &ones, .prepare = prepare_carried, .in = {SHAPES(2, 5, 1, 60, 6, 6)}},
	{.name = "rows that are not there", .attr = &plain, .prepare = prepare_absent,
		.in = {SHAPES(4, 21, 3, 50, 8, 8)}},
	{.name = "wide", .attr = &wide, .prepare = prepare_carried, .in = {SHAPES(3, 300, 64, 8, 80, 40)}},
};

const struct op op_summary_step = {
	.name = "summary_step",
	.formula = "summary, over the unfinished segment and summaries that earlier calls have left, and k and v",
	.semantics = 1,
	.n_in = SUMMARY_STEP_N_IN,
	.n_out = MOBA_N_OUT,
	.n_saved = SUMMARY_STEP_N_SAVED,
	.in = {
		MOBA_INPUTS(0),
		[SUMMARY_STEP_RING_K_BSC] = {"ring_k_BSC", IN_UPDATED},
		[SUMMARY_STEP_RING_V_BSC] = {"ring_v_BSC", IN_UPDATED},
		[SUMMARY_STEP_KEYS_BNC] = {"keys_BNC", IN_MASTER | IN_UPDATED},
		[SUMMARY_STEP_VALUES_BNC] = {"values_BNC", IN_MASTER | IN_UPDATED},
	},
	.out = {[MOBA_Y_BTD] = {"y", REAL, true}},
	.shape = summary_step_shape,
	.cost = summary_step_cost,
	.forward = {[REF] = summary_step_forward_ref, [CPU] = summary_step_forward,
		[CUDA] = OP_CUDA(summary_step_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
