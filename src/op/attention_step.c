#include "op/attention_step.h"

#include <math.h>

#include "base/error.h"
#include "base/num.h"
#include "op/document_start.h"
#include "op/kit/attend.h"
#include "op/rings.h"
#include "op/trial.h"

enum { KEYS = 64 };	/* of a tile of scores; they begin at the first key seen, so T changes no bit */

/* Rows of one head, and where they lie. */
struct heads {
	const struct tensor *q, *y;
	struct rings rings;
	long H, dh;
	long group;	/* heads of queries that share one of keys and values */
};

static struct heads heads_of(const struct tensor *const *in, const struct tensor *y, const void *attr)
{
	const struct attention_attr *a = attr;
	const struct tensor *q = in[ATTENTION_Q_BTD];

	return (struct heads){q, y, rings_of(in[ATTENTION_K_BTC], in[ATTENTION_V_BTC], in[ATTENTION_STEP_KEYS_BLC],
		in[ATTENTION_STEP_VALUES_BLC], in[ATTENTION_START_BT]), a->n_heads, tensor_width(q) / a->n_heads,
		attention_group(a)};
}

static void attention_step_shape(struct op_shapes *s)
{
	struct heads a = heads_of(s->in, NULL, s->attr);
	const struct rings *r = &a.rings;

	CHECK(a.q->n_dims == 3 && tensor_width(a.q) % a.H == 0);
	CHECK(tensor_width(r->k) * a.group == tensor_width(a.q) && tensor_same_shape(r->k, r->v));
	CHECK(r->k->n_dims == 3 && r->B == a.q->dims[0] && r->T == a.q->dims[1]);
	CHECK(r->keys->n_dims == 3 && r->keys->dims[0] == r->B && tensor_width(r->keys) == tensor_width(r->k));
	CHECK(tensor_same_shape(r->keys, r->values));
	op_shape_same(s);
}

/* All rows of the rings count as seen. */
static void attention_step_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct heads a = heads_of(s->in, NULL, s->attr);
	double pairs = (double)(a.rings.B * a.H * a.rings.T) * (double)(a.rings.L + 1);

	*c = (struct op_cost){.forward_flops = pairs * (4 * (double)a.dh + 1),
		.forward_bytes = op_io_bytes(&op_attention_step, s)};
	c->executed_flops = c->forward_flops;
}

/* A token's query of one head. */
struct query {
	const struct heads *a;
	long b, h, t;
	long p, first;	/* position in the document, and the first one that it sees */
};

static struct query query_of(const struct heads *a, long b, long h, long t)
{
	long p = t - first_seen(a->rings.start, b, t);

	return (struct query){a, b, h, t, p, p - min_long(p, a->rings.L)};
}

/* Where position s has its key, or its value. */
static struct place key_at(const struct query *q, long s)
{
	return rings_place(&q->a->rings, q->a->rings.k, q->a->rings.keys, q->b, q->t, q->p, s);
}

static struct place value_at(const struct query *q, long s)
{
	return rings_place(&q->a->rings, q->a->rings.v, q->a->rings.values, q->b, q->t, q->p, s);
}

/* First column of the head of keys and values. */
static long column(const struct query *q)
{
	return q->h / q->a->group * q->a->dh;
}

/* ---- reference ------------------------------------------------------------------------------ */

static double score_ref(const struct query *q, long s)
{
	struct place k = key_at(q, s);

	return row_dot_f64(row_f64(q->a->q, q->b * q->a->rings.T + q->t) + q->h * q->a->dh,
		row_f64(k.x, k.row) + column(q), q->a->dh) / sqrt((double)q->a->dh);
}

static void token_ref(const struct query *q)
{
	double *y = row_f64(q->a->y, q->b * q->a->rings.T + q->t) + q->h * q->a->dh, most = -INFINITY, sum = 0;

	for (long s = q->first; s <= q->p; s++)
		most = fmax(most, score_ref(q, s));
	for (long s = q->first; s <= q->p; s++)
		sum += exp(score_ref(q, s) - most);
	for (long i = 0; i < q->a->dh; i++)
		y[i] = 0;
	for (long s = q->first; s <= q->p; s++) {	/* none if the row is not there */
		struct place v = value_at(q, s);
		for (long i = 0; i < q->a->dh; i++)
			y[i] += exp(score_ref(q, s) - most) / sum * row_f64(v.x, v.row)[column(q) + i];
	}
}

static void attention_step_forward_ref(const struct op_run *r)
{
	struct heads a = heads_of(r->in, r->out[ATTENTION_Y_BTD], r->attr);

	for (long i = 0; i < a.rings.B * a.H * a.rings.T; i++) {
		struct query q = query_of(&a, i / a.rings.T / a.H, i / a.rings.T % a.H, i % a.rings.T);
		token_ref(&q);
	}
	rings_keep(&a.rings, sizeof(double));
}

/* ---- cpu ------------------------------------------------------------------------------------ */

static const float *row_of(const struct query *q, struct place at)
{
	return row_f32(at.x, at.row) + column(q);
}

static void token(const struct query *q)
{
	long dh = q->a->dh, row = q->b * q->a->rings.T + q->t;
	const float *of_q = row_f32(q->a->q, row) + q->h * dh;
	struct attend a = attend_begin(row_f32(q->a->y, row) + q->h * dh, dh);
	float score[KEYS];

	for (long at = q->first; at <= q->p; at += KEYS) {
		long n = min_long(KEYS, q->p + 1 - at);
		for (long s = 0; s < n; s++)
			score[s] = row_dot(of_q, row_of(q, key_at(q, at + s)), dh) / sqrtf((float)dh);
		attend_scores(&a, score, n);
		for (long s = 0; s < n; s++)
			attend_value(&a, score[s], row_of(q, value_at(q, at + s)));
	}
	for (long i = 0; i < dh && q->first <= q->p; i++)	/* else the row is not there */
		a.y[i] /= a.sum;
}

static void attention_step_forward(const struct op_run *r)
{
	struct heads a = heads_of(r->in, r->out[ATTENTION_Y_BTD], r->attr);

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < a.rings.B * a.H * a.rings.T; i++) {
		struct query q = query_of(&a, i / a.rings.T / a.H, i / a.rings.T % a.H, i % a.rings.T);
		token(&q);
	}
	rings_keep(&a.rings, sizeof(float));
}

static const struct attention_attr one_head = {.n_heads = 1}, three_heads = {.n_heads = 3},
	shared_heads = {.n_heads = 6, .n_kv_heads = 2};

#define SHAPES(B, T, L, D, C) [ATTENTION_Q_BTD] = {B, T, D}, [ATTENTION_K_BTC] = {B, T, C}, \
	[ATTENTION_V_BTC] = {B, T, C}, [ATTENTION_START_BT] = {B, T}, \
	[ATTENTION_STEP_KEYS_BLC] = {B, L, C}, [ATTENTION_STEP_VALUES_BLC] = {B, L, C}

static const struct op_example examples[] = {
	{.name = "first token", .attr = &three_heads, .in = {SHAPES(2, 1, 7, 12, 12)}},
	{.name = "one token", .attr = &three_heads, .prepare = prepare_carried, .in = {SHAPES(2, 1, 90, 12, 12)}},
	{.name = "documents", .attr = &three_heads, .prepare = prepare_carried, .in = {SHAPES(3, 21, 90, 15, 15)}},
	{.name = "short ring", .attr = &one_head, .prepare = prepare_carried, .in = {SHAPES(3, 21, 5, 6, 6)}},
	{.name = "shared keys", .attr = &shared_heads, .prepare = prepare_carried, .in = {SHAPES(3, 21, 30, 24, 8)}},
	{.name = "rows that are not there", .attr = &three_heads, .prepare = prepare_absent,
		.in = {SHAPES(4, 21, 8, 12, 12)}},
	{.name = "wide head", .attr = &one_head, .prepare = prepare_carried, .in = {SHAPES(2, 3, 80, 200, 200)}},
};

const struct op op_attention_step = {
	.name = "attention_step",
	.formula = "attention, over keys and values that earlier calls have left, and k and v",
	.semantics = 1,
	.n_in = ATTENTION_STEP_N_IN,
	.n_out = ATTENTION_N_OUT,
	.in = {
		[ATTENTION_Q_BTD] = {"q", 0},
		[ATTENTION_K_BTC] = {"k", 0},
		[ATTENTION_V_BTC] = {"v", 0},
		[ATTENTION_START_BT] = {"start_BT", IN_INDEX},
		[ATTENTION_STEP_KEYS_BLC] = {"keys_BLC", IN_UPDATED},
		[ATTENTION_STEP_VALUES_BLC] = {"values_BLC", IN_UPDATED},
	},
	.out = {[ATTENTION_Y_BTD] = {"y", REAL, true}},
	.shape = attention_step_shape,
	.cost = attention_step_cost,
	.forward = {[REF] = attention_step_forward_ref, [CPU] = attention_step_forward,
		[CUDA] = OP_CUDA(attention_step_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
