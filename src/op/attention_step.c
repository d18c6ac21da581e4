#include "op/attention_step.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/rows.h"
#include "op/kit/vec.h"
#include "op/rings.h"
#include "op/trial.h"

enum { KEYS = 64 };	/* of a tile of scores; they begin at the first key seen, so T changes no bit */

struct attend {
	const struct op_run *run;
	const struct tensor *q, *k, *v, *keys, *values, *start, *y;
	long B, T, L, H, dh;
	long group;	/* heads of queries that share one of keys and values */
	struct rings rings;
};

static struct attend attend_of(const struct op_run *r, const struct tensor *const *in, const void *attr)
{
	const struct attention_attr *a = attr;
	const struct tensor *q = in[ATTENTION_Q_BTD], *keys = in[ATTENTION_STEP_KEYS_BLC];

	return (struct attend){r, q, in[ATTENTION_K_BTC], in[ATTENTION_V_BTC], keys,
		in[ATTENTION_STEP_VALUES_BLC], in[ATTENTION_START_BT], r ? r->out[ATTENTION_Y_BTD] : NULL,
		q->dims[0], q->dims[1], keys->dims[1], a->n_heads, tensor_width(q) / a->n_heads,
		attention_group(a), {in[ATTENTION_K_BTC], in[ATTENTION_V_BTC], keys,
			in[ATTENTION_STEP_VALUES_BLC], in[ATTENTION_START_BT], q->dims[0], q->dims[1],
			keys->dims[1]}};
}

static void attention_step_shape(struct op_shapes *s)
{
	struct attend a = attend_of(NULL, s->in, s->attr);

	CHECK(a.q->n_dims == 3 && tensor_width(a.q) % a.H == 0);
	CHECK(tensor_width(a.k) * a.group == tensor_width(a.q) && tensor_same_shape(a.k, a.v));
	CHECK(a.k->n_dims == 3 && a.k->dims[0] == a.B && a.k->dims[1] == a.T);
	CHECK(a.keys->n_dims == 3 && a.keys->dims[0] == a.B && tensor_width(a.keys) == tensor_width(a.k));
	CHECK(tensor_same_shape(a.keys, a.values));
	op_shape_same(s);
}

/* All rows of the rings count as seen. */
static void attention_step_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct attend a = attend_of(NULL, s->in, s->attr);
	double pairs = (double)(a.B * a.H * a.T) * (double)(a.L + 1);

	*c = (struct op_cost){.forward_flops = pairs * (4 * (double)a.dh + 1),
		.forward_bytes = op_io_bytes(&op_attention_step, s)};
	c->executed_flops = c->forward_flops;
}

static long least(long a, long b)
{
	return a < b ? a : b;
}

/* Position of token t in its document, and the first one that it sees. */
static long position(const struct attend *a, long b, long t, long *first)
{
	long p = t - first_seen(a->start, b, t);

	*first = p - least(p, a->L);
	return p;
}

/* Of k (or v) and its ring, where position s is as token t with position p sees it. */
static struct place place_of(const struct attend *a, const struct tensor *now, const struct tensor *ring, long b,
	long t, long p, long s)
{
	return rings_place(&a->rings, now, ring, b, t, p, s);
}

/* ---- reference ------------------------------------------------------------------------------ */

static double score_ref(const struct attend *a, long b, long h, long t, long p, long s)
{
	struct place at = place_of(a, a->k, a->keys, b, t, p, s);
	const double *q = row_f64(a->q, b * a->T + t) + h * a->dh;
	const double *k = row_f64(at.x, at.row) + h / a->group * a->dh;

	return row_dot_f64(q, k, a->dh) / sqrt((double)a->dh);
}

static void token_ref(const struct attend *a, long b, long h, long t)
{
	double *y = row_f64(a->y, b * a->T + t) + h * a->dh, most = -INFINITY, sum = 0;
	long first, p = position(a, b, t, &first);

	for (long s = first; s <= p; s++)
		most = fmax(most, score_ref(a, b, h, t, p, s));
	for (long s = first; s <= p; s++)
		sum += exp(score_ref(a, b, h, t, p, s) - most);
	for (long i = 0; i < a->dh; i++)
		y[i] = 0;
	for (long s = first; s <= p; s++) {	/* none if the row is not there */
		struct place at = place_of(a, a->v, a->values, b, t, p, s);
		const double *v = row_f64(at.x, at.row) + h / a->group * a->dh;
		for (long i = 0; i < a->dh; i++)
			y[i] += exp(score_ref(a, b, h, t, p, s) - most) / sum * v[i];
	}
}

static void attention_step_forward_ref(const struct op_run *r)
{
	struct attend a = attend_of(r, r->in, r->attr);

	for (long b = 0; b < a.B; b++)
		for (long h = 0; h < a.H; h++)
			for (long t = 0; t < a.T; t++)
				token_ref(&a, b, h, t);
	rings_keep(&a.rings, sizeof(double));
}

/* ---- cpu ------------------------------------------------------------------------------------ */

/* Running maximum and sum, as in op/attention.c. */
static void token(const struct attend *a, long b, long h, long t)
{
	const float *q = row_f32(a->q, b * a->T + t) + h * a->dh;
	float *y = row_f32(a->y, b * a->T + t) + h * a->dh, most = -INFINITY, sum = 0, score[KEYS];
	long first, p = position(a, b, t, &first), shared = h / a->group * a->dh;

	memset(y, 0, (size_t)a->dh * sizeof *y);
	for (long at = first; at <= p; at += KEYS) {
		long n = least(KEYS, p + 1 - at);
		float before = most, scale;
		for (long s = 0; s < n; s++) {
			struct place k = place_of(a, a->k, a->keys, b, t, p, at + s);
			score[s] = row_dot(q, row_f32(k.x, k.row) + shared, a->dh) / sqrtf((float)a->dh);
			most = score[s] > most ? score[s] : most;
		}
		scale = vec_exp(before - most);
		sum *= scale;
		for (long s = 0; s < n; s++) {
			struct place v = place_of(a, a->v, a->values, b, t, p, at + s);
			float weight = vec_exp(score[s] - most);
			row_add(y, s == 0 ? scale : 1, weight, row_f32(v.x, v.row) + shared, a->dh);
			sum += weight;
		}
	}
	for (long i = 0; i < a->dh && first <= p; i++)	/* else the row is not there */
		y[i] /= sum;
}

static void attention_step_forward(const struct op_run *r)
{
	struct attend a = attend_of(r, r->in, r->attr);

	#pragma omp parallel for collapse(3) schedule(dynamic)
	for (long b = 0; b < a.B; b++)
		for (long h = 0; h < a.H; h++)
			for (long t = 0; t < a.T; t++)
				token(&a, b, h, t);
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
