#include "op/moba.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/cpu/moba.h"
#include "op/document_start.h"
#include "op/kit/gradient.h"
#include "op/kit/rows.h"
#include "op/moba_kernels.h"
#include "op/trial.h"

struct moba_dims moba_dims(const struct tensor *const *in, const struct moba_attr *attr)
{
	const struct tensor *q = in[MOBA_Q_BTD];

	return (struct moba_dims){q->dims[0], q->dims[1], attr->n_heads,
		attr->n_kv_heads ? attr->n_kv_heads : attr->n_heads, q->dims[2] / attr->n_heads, attr->segment,
		attr->chosen - 1, attr->idle};
}

void moba_shape(struct op_shapes *s)
{
	const struct moba_attr *attr = s->attr;
	const struct tensor *q = s->in[MOBA_Q_BTD], *k = s->in[MOBA_K_BTC];
	struct moba_dims d;

	CHECK(q->n_dims == 3 && k->n_dims == 3 && tensor_same_shape(k, s->in[MOBA_V_BTC]));
	d = moba_dims(s->in, attr);
	CHECK(q->dims[2] == d.H * d.dh && d.H % d.KV == 0 && tensor_width(k) == d.KV * d.dh);
	CHECK(k->dims[0] == d.B && k->dims[1] == d.T && attr->chosen >= 1 && attr->chosen <= MOBA_MAX_CHOSEN);
	CHECK(attr->segment >= 1 && attr->segment <= MOBA_MAX_SEGMENT);
	CHECK(attr->idle >= 0 && attr->idle < d.T);
	op_shape_same(s);
}

static void shape(struct op_shapes *s)
{
	struct moba_dims d = moba_dims(s->in, s->attr);

	moba_shape(s);
	CHECK(ceil_div(d.T, d.S) <= MOBA_MAX_SEGMENTS);
	s->saved[MOBA_LSE_BTH] = tensor_of(MASTER, 3, d.B, d.T, d.H);
	s->saved[MOBA_SEGMENTS_BTM] = tensor_of(INDEX, 3, d.B, d.T, d.H * (d.earlier ? d.earlier : 1));
}

/* Means of whole segments, by the first token over S: [B, T / S, C]. On the GPU backward: dy . y of each head. */
static void room(struct op_shapes *s)
{
	struct moba_dims d = moba_dims(s->in, s->attr);

	s->forward_workspace = (size_t)(d.B * ceil_div(d.T, d.S) * d.KV * d.dh) * sizeof(float);
	s->backward_workspace = (size_t)(d.B * d.T * d.H) * sizeof(float);
}

/* As if no document began: keys of the own segment, half of it, and of as many others as there are. */
static void moba_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct moba_dims d = moba_dims(s->in, s->attr);
	double T = (double)d.T, S = (double)d.S, keys = 0, means = 0, bytes = op_io_bytes(&op_moba, s);

	for (double at = (double)d.idle; at < T; at += S) {
		double n = at + S < T ? S : T - at, others = (d.idle ? (double)d.idle : at) / S;
		keys += n * ((n + 1) / 2 + S * (others < (double)d.earlier ? others : (double)d.earlier));
		means += n * others;
	}
	keys *= (double)(d.B * d.H);
	means *= (double)(d.B * d.H * 2 * d.dh);
	c->forward_flops = keys * (4 * (double)d.dh + 1) + means;
	c->backward_flops = keys * (8 * (double)d.dh + 2);
	c->executed_flops = c->forward_flops + keys * (10 * (double)d.dh + 3);
	c->forward_bytes = bytes;
	c->backward_bytes = 2 * bytes;
}

/* ---- reference ------------------------------------------------------------------------------ */

static const double *head_f64(const struct tensor *x, const struct moba_dims *d, long b, long t, long h)
{
	return row_f64(x, b * d->T + t) + h * d->dh;
}

static long kv_head(const struct moba_dims *d, long h)
{
	return h / (d->H / d->KV);
}

static void choose_ref(const struct op_run *r, const struct moba_dims *d, long b, long h, long t)
{
	long start = start_of(r, d, b, t), first = first_segment(d, start, t), n = (t - start) / d->S - first;
	float score[MOBA_MAX_SEGMENTS];
	int segment[MOBA_MAX_CHOSEN];

	for (long i = 0; i < n; i++) {
		double sum = 0;
		for (long s = start + (first + i) * d->S; s < start + (first + i + 1) * d->S; s++)
			sum += row_dot_f64(head_f64(r->in[MOBA_Q_BTD], d, b, t, h),
				head_f64(r->in[MOBA_K_BTC], d, b, s, kv_head(d, h)), d->dh) / (double)d->S;
		score[i] = (float)sum;
	}
	put_segments(segments_at(r, d, b, h, t), d->earlier ? d->earlier : 1, segment,
		moba_choose(score, n, d->earlier, segment), first);
}

static double score_ref(const struct op_run *r, const struct moba_dims *d, const struct query *q, long s)
{
	return row_dot_f64(head_f64(r->in[MOBA_Q_BTD], d, q->b, q->t, q->h),
		head_f64(r->in[MOBA_K_BTC], d, q->b, s, kv_head(d, q->h)), d->dh) / sqrt((double)d->dh);
}

static void token_ref(const struct op_run *r, const struct moba_dims *d, const struct query *q)
{
	double *y = row_f64(r->out[MOBA_Y_BTD], q->b * d->T + q->t) + q->h * d->dh, most = -INFINITY, sum = 0;
	long from, to;

	for (long i = 0; i <= q->n_segments; i++)
		for (range_of(q, d->S, i, &from, &to); from < to; from++)
			most = fmax(most, score_ref(r, d, q, from));
	for (long i = 0; i <= q->n_segments; i++)
		for (range_of(q, d->S, i, &from, &to); from < to; from++)
			sum += exp(score_ref(r, d, q, from) - most);
	row_f64(r->saved[MOBA_LSE_BTH], q->b * d->T + q->t)[q->h] = most + log(sum);
	for (long c = 0; c < d->dh; c++)
		y[c] = 0;
	for (long i = 0; i <= q->n_segments; i++)
		for (range_of(q, d->S, i, &from, &to); from < to; from++)
			for (long c = 0; c < d->dh; c++)
				y[c] += exp(score_ref(r, d, q, from) - most) / sum *
					head_f64(r->in[MOBA_V_BTC], d, q->b, from, kv_head(d, q->h))[c];
}

static void moba_forward_ref(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	for (long k = 0; k < d.B * d.T * d.H; k++) {
		long b = k / d.H / d.T, t = k / d.H % d.T, h = k % d.H;
		if (t < d.idle) {
			memset(row_f64(r->out[MOBA_Y_BTD], b * d.T + t) + h * d.dh, 0, (size_t)d.dh * sizeof(double));
			continue;
		}
		choose_ref(r, &d, b, h, t);
		struct query q = query_of(r, &d, b, h, t);
		token_ref(r, &d, &q);
	}
}

static void key_backward_ref(const struct op_run *r, const struct moba_dims *d, const struct query *q, long s)
{
	const double *dy = head_f64(r->d_out[MOBA_Y_BTD], d, q->b, q->t, q->h);
	long kv = kv_head(d, q->h);
	double p = exp(score_ref(r, d, q, s) - row_f64(r->saved[MOBA_LSE_BTH], q->b * d->T + q->t)[q->h]);
	double dp = row_dot_f64(dy, head_f64(r->in[MOBA_V_BTC], d, q->b, s, kv), d->dh) -
		row_dot_f64(dy, head_f64(r->out[MOBA_Y_BTD], d, q->b, q->t, q->h), d->dh);
	double ds = p * dp / sqrt((double)d->dh);
	const double *of_q = head_f64(r->in[MOBA_Q_BTD], d, q->b, q->t, q->h);
	const double *key = head_f64(r->in[MOBA_K_BTC], d, q->b, s, kv);

	for (long c = 0; c < d->dh; c++) {
		add_gradient(r, MOBA_V_BTC, q->b * d->T + s, kv * d->dh + c, p * dy[c]);
		add_gradient(r, MOBA_Q_BTD, q->b * d->T + q->t, q->h * d->dh + c, ds * key[c]);
		add_gradient(r, MOBA_K_BTC, q->b * d->T + s, kv * d->dh + c, ds * of_q[c]);
	}
}

static void moba_backward_ref(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	for (int i = 0; i < MOBA_START_BT; i++)
		clear_gradient(r, i);
	for (long k = 0; k < d.B * d.T * d.H; k++) {
		struct query q;
		long from, to;
		if (k / d.H % d.T < d.idle)
			continue;
		q = query_of(r, &d, k / d.H / d.T, k % d.H, k / d.H % d.T);
		for (long i = 0; i <= q.n_segments; i++)
			for (range_of(&q, d.S, i, &from, &to); from < to; from++)
				key_backward_ref(r, &d, &q, from);
	}
}

void moba_prepare_idle(const struct op_trial *t)
{
	static const int began[] = {-41, 7, 30};
	const struct tensor *start = t->in[MOBA_START_BT];
	long T = tensor_width(start);

	for (long b = 0; b < tensor_rows(start); b++)
		for (long i = 0; i < T; i++)
			op_trial_set(t, start, b * T + i, (double)(i < 30 ? -1 : i == T - 1 ? i
				: i < 39 + 5 * b ? began[b] : 39 + 5 * b));
}

static const struct moba_attr idle = {4, 2, 4, 3, 30};
static const struct moba_attr plain = {2, 0, 3, 2, 0}, shared = {4, 2, 5, 3, 0}, alone = {1, 0, 4, 1, 0},
	wide = {2, 1, 64, 3, 0};

static const struct op_example examples[] = {
	{.name = "plain", .attr = &plain, .prepare = prepare_documents, .in = {MOBA_SHAPES(2, 11, 6, 6)}},
	{.name = "shared keys", .attr = &shared, .prepare = prepare_documents, .in = {MOBA_SHAPES(1, 37, 12, 6)}},
	{.name = "own segment alone", .attr = &alone, .prepare = prepare_documents, .in = {MOBA_SHAPES(2, 10, 3, 3)}},
	{.name = "documents", .attr = &plain, .prepare = prepare_documents,
		.in = {MOBA_SHAPES(2, 40, 8, 8), [MOBA_START_BT] = {2, 40}}},
	{.name = "a window", .attr = &idle, .prepare = moba_prepare_idle,
		.in = {MOBA_SHAPES(3, 54, 12, 6), [MOBA_START_BT] = {3, 54}}},
	{.name = "wide", .attr = &wide, .prepare = prepare_documents, .no_gradient_check = true,
		.in = {MOBA_SHAPES(1, 300, 80, 40)}},
};

const struct op op_moba = {
	.name = "moba",
	.formula = "attention over the own segment and those whose mean key has the largest q . mean(k)",
	.semantics = 1,
	.n_in = MOBA_N_IN,
	.n_out = MOBA_N_OUT,
	.n_saved = MOBA_N_SAVED,
	.in = {MOBA_INPUTS(IN_OPTIONAL)},
	.out = {[MOBA_Y_BTD] = {"y", REAL, false}},
	.shape = shape,
	.room = {[CPU] = room, [CUDA] = room},
	.cost = moba_cost,
	.backward_reads_in = READS(MOBA_N_IN) - 1,	/* all of them */
	.backward_reads_out = READS(MOBA_Y_BTD),
	.forward = {[REF] = moba_forward_ref, [CPU] = moba_forward_cpu, [CUDA] = OP_CUDA(moba_forward_cuda)},
	.backward = {[REF] = moba_backward_ref, [CPU] = moba_backward_cpu, [CUDA] = OP_CUDA(moba_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
