#include "op/moba_step.h"

#include "base/error.h"
#include "base/num.h"
#include "op/kit/attend.h"
#include "op/moba_kernels.h"
#include "op/rings.h"
#include "op/trial.h"

/* A token's query of one head. */
struct query {
	const struct op_run *run;
	struct moba_dims d;
	struct rings rings;
	long b, h, t, p;	/* p: position in the document */
};

static struct rings rings_in(const struct tensor *const *in)
{
	return rings_of(in[MOBA_K_BTC], in[MOBA_V_BTC], in[MOBA_STEP_KEYS_BLC], in[MOBA_STEP_VALUES_BLC],
		in[MOBA_START_BT]);
}

static void moba_step_shape(struct op_shapes *s)
{
	struct moba_dims d = moba_dims(s->in, s->attr);
	struct rings r = rings_in(s->in);

	moba_shape(s);
	CHECK(r.keys->n_dims == 3 && r.keys->dims[0] == d.B && tensor_width(r.keys) == tensor_width(r.k));
	CHECK(tensor_same_shape(r.keys, r.values) && r.start && ceil_div(r.L, d.S) <= MOBA_MAX_SEGMENTS);
}

/* All rows of the rings count as seen by means, and as many as are chosen by the rest. */
static void moba_step_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct moba_dims d = moba_dims(s->in, s->attr);
	double L = (double)s->in[MOBA_STEP_KEYS_BLC]->dims[1], chosen = (double)((d.earlier + 1) * d.S);
	double heads = (double)(d.B * d.T * d.H), dh = (double)d.dh;

	*c = (struct op_cost){.forward_flops = heads * (L * dh + (chosen < L ? chosen : L) * (4 * dh + 1)),
		.forward_bytes = op_io_bytes(&op_moba_step, s)};
	c->executed_flops = c->forward_flops;
}

static struct query query_of(const struct op_run *r, long i)
{
	struct query q = {.run = r, .d = moba_dims(r->in, r->attr), .rings = rings_in(r->in)};

	q.b = i / q.d.T / q.d.H;
	q.h = i / q.d.T % q.d.H;
	q.t = i % q.d.T;
	q.p = q.t - first_seen(q.rings.start, q.b, q.t);
	return q;
}

/* Where position s of the document has its key, or its value. */
static struct place key_at(const struct query *q, long s)
{
	return rings_place(&q->rings, q->rings.k, q->rings.keys, q->b, q->t, q->p, s);
}

static struct place value_at(const struct query *q, long s)
{
	return rings_place(&q->rings, q->rings.v, q->rings.values, q->b, q->t, q->p, s);
}

/* First column of the head of keys and values. */
static long column(const struct query *q)
{
	return q->h / (q->d.H / q->d.KV) * q->d.dh;
}

/* Positions [*from, *to) of the i-th segment that is seen, of n earlier ones and the own. */
static void range_of(const struct query *q, const int *segment, int n, int i, long *from, long *to)
{
	*from = (i < n ? segment[i] : q->p / q->d.S) * q->d.S;
	*to = i < n ? *from + q->d.S : q->p + 1;
}

/* ---- reference ------------------------------------------------------------------------------ */

static double dot_ref(const struct query *q, struct place k)
{
	return row_dot_f64(row_f64(q->run->in[MOBA_Q_BTD], q->b * q->d.T + q->t) + q->h * q->d.dh,
		row_f64(k.x, k.row) + column(q), q->d.dh);
}

static int choose_ref(const struct query *q, int *segment)
{
	float score[MOBA_MAX_SEGMENTS];
	long own = q->p < 0 ? 0 : q->p / q->d.S;

	for (long i = 0; i < own; i++) {
		double sum = 0;
		for (long s = i * q->d.S; s < (i + 1) * q->d.S; s++)
			sum += dot_ref(q, key_at(q, s)) / (double)q->d.S;
		score[i] = (float)sum;
	}
	return moba_choose(score, own, q->d.earlier, segment);
}

static void token_ref(const struct query *q)
{
	double *y = row_f64(q->run->out[MOBA_Y_BTD], q->b * q->d.T + q->t) + q->h * q->d.dh, sum = 0;
	int segment[MOBA_MAX_CHOSEN], n = choose_ref(q, segment);
	long from, to;

	for (long c = 0; c < q->d.dh; c++)
		y[c] = 0;
	for (int i = 0; q->p >= 0 && i <= n; i++)
		for (range_of(q, segment, n, i, &from, &to); from < to; from++)
			sum += exp(dot_ref(q, key_at(q, from)) / sqrt((double)q->d.dh));
	for (int i = 0; q->p >= 0 && i <= n; i++)
		for (range_of(q, segment, n, i, &from, &to); from < to; from++) {
			struct place v = value_at(q, from);
			double weight = exp(dot_ref(q, key_at(q, from)) / sqrt((double)q->d.dh)) / sum;
			for (long c = 0; c < q->d.dh; c++)
				y[c] += weight * row_f64(v.x, v.row)[column(q) + c];
		}
}

static void moba_step_forward_ref(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);
	struct rings rings = rings_in(r->in);

	for (long i = 0; i < d.B * d.H * d.T; i++) {
		struct query q = query_of(r, i);
		token_ref(&q);
	}
	rings_keep(&rings, sizeof(double));
}

/* ---- cpu ------------------------------------------------------------------------------------ */

static const float *row_of(const struct query *q, struct place at)
{
	return row_f32(at.x, at.row) + column(q);
}

static int choose(const struct query *q, const float *of_q, float *mean, int *segment)
{
	float score[MOBA_MAX_SEGMENTS];
	long own = q->d.earlier && q->p >= 0 ? q->p / q->d.S : 0;

	for (long i = 0; i < own; i++) {
		memset(mean, 0, (size_t)q->d.dh * sizeof *mean);
		for (long s = i * q->d.S; s < (i + 1) * q->d.S; s++)
			row_add(mean, 1, 1, row_of(q, key_at(q, s)), q->d.dh);
		row_add(mean, 1 / (float)q->d.S, 0, mean, q->d.dh);
		score[i] = row_dot(of_q, mean, q->d.dh);
	}
	return moba_choose(score, own, q->d.earlier, segment);
}

/* As in op/cpu/moba.c. The row of y first has the means. */
static void token(const struct query *q)
{
	const float *of_q = row_f32(q->run->in[MOBA_Q_BTD], q->b * q->d.T + q->t) + q->h * q->d.dh;
	float *y = row_f32(q->run->out[MOBA_Y_BTD], q->b * q->d.T + q->t) + q->h * q->d.dh, score[MOBA_MAX_SEGMENT];
	int segment[MOBA_MAX_CHOSEN], n = choose(q, of_q, y, segment);
	struct attend a = attend_begin(y, q->d.dh);
	long from, to;

	for (int i = 0; q->p >= 0 && i <= n; i++) {
		range_of(q, segment, n, i, &from, &to);
		for (long s = from; s < to; s++)
			score[s - from] = row_dot(of_q, row_of(q, key_at(q, s)), q->d.dh) / sqrtf((float)q->d.dh);
		attend_scores(&a, score, to - from);
		for (long s = from; s < to; s++)
			attend_value(&a, score[s - from], row_of(q, value_at(q, s)));
	}
	if (q->p >= 0)
		row_add(y, 1 / a.sum, 0, y, q->d.dh);
}

static void moba_step_forward(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);
	struct rings rings = rings_in(r->in);

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < d.B * d.H * d.T; i++) {
		struct query q = query_of(r, i);
		token(&q);
	}
	rings_keep(&rings, sizeof(float));
}

static const struct moba_attr plain = {2, 0, 3, 2, 0}, shared = {4, 2, 5, 3, 0}, alone = {1, 0, 4, 1, 0};

#define SHAPES(B, T, L, D, C) MOBA_SHAPES(B, T, D, C), \
	[MOBA_START_BT] = {B, T}, [MOBA_STEP_KEYS_BLC] = {B, L, C}, [MOBA_STEP_VALUES_BLC] = {B, L, C}

static const struct op_example examples[] = {
	{.name = "one token", .attr = &plain, .prepare = prepare_carried, .in = {SHAPES(2, 1, 90, 8, 8)}},
	{.name = "shared keys", .attr = &shared, .prepare = prepare_carried, .in = {SHAPES(3, 21, 130, 12, 6)}},
	{.name = "own segment alone", .attr = &alone, .prepare = prepare_carried, .in = {SHAPES(2, 5, 90, 6, 6)}},
	{.name = "rows that are not there", .attr = &plain, .prepare = prepare_absent,
		.in = {SHAPES(4, 21, 150, 8, 8)}},
};

const struct op op_moba_step = {
	.name = "moba_step",
	.formula = "moba, over keys and values that earlier calls have left, and k and v",
	.semantics = 1,
	.n_in = MOBA_STEP_N_IN,
	.n_out = MOBA_N_OUT,
	.in = {
		MOBA_INPUTS(0),
		[MOBA_STEP_KEYS_BLC] = {"keys_BLC", IN_UPDATED},
		[MOBA_STEP_VALUES_BLC] = {"values_BLC", IN_UPDATED},
	},
	.out = {[MOBA_Y_BTD] = {"y", REAL, true}},
	.shape = moba_step_shape,
	.cost = moba_step_cost,
	.forward = {[REF] = moba_step_forward_ref, [CPU] = moba_step_forward,
		[CUDA] = OP_CUDA(moba_step_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
