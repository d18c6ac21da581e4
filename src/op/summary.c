#include "op/summary.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "op/cpu/summary.h"
#include "op/kit/gradient.h"
#include "op/kit/rows.h"
#include "op/trial.h"

static void summary_shape(struct op_shapes *s)
{
	struct moba_dims d = moba_dims(s->in, s->attr);

	moba_shape(s);
	s->saved[SUMMARY_LSE_BTH] = tensor_of(MASTER, 3, d.B, d.T, d.H);
	s->saved[SUMMARY_KEYS_BNC] = tensor_of(MASTER, 3, d.B, ceil_div(d.T, d.S), d.KV * d.dh);
	s->saved[SUMMARY_VALUES_BNC] = s->saved[SUMMARY_KEYS_BNC];
}

/* Gradients of summaries; on the GPU behind them dy . y of each head. */
static void room(struct op_shapes *s)
{
	s->backward_workspace = (size_t)(2 * tensor_size(&s->saved[SUMMARY_KEYS_BNC]) +
		tensor_size(&s->saved[SUMMARY_LSE_BTH])) * sizeof(float);
}

/* As if no document began. On streams a query sees as many summaries as lie in `idle` tokens. */
static void summary_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct moba_dims d = moba_dims(s->in, s->attr);
	double T = (double)d.T, S = (double)d.S, rows = 0, bytes = op_io_bytes(&op_summary, s);
	double means = 2 * (double)(d.B * d.T * d.KV * d.dh);

	for (double at = (double)d.idle; at < T; at += S) {
		double n = at + S < T ? S : T - at;
		rows += n * ((n + 1) / 2 + (d.idle ? (double)d.idle : at) / S);
	}
	rows *= (double)(d.B * d.H);
	c->forward_flops = rows * (4 * (double)d.dh + 1) + means;
	c->backward_flops = rows * (8 * (double)d.dh + 2) + 2 * means;
	c->executed_flops = c->forward_flops + rows * (10 * (double)d.dh + 3) + 2 * means;
	c->forward_bytes = bytes;
	c->backward_bytes = 2 * bytes;
}

/* ---- reference ------------------------------------------------------------------------------ */

/* A token's query of one head. */
struct query_ref {
	const struct op_run *run;
	struct moba_dims d;
	struct sight seen;
	long b, t, h, kv;	/* kv: its head of keys and values */
};

static double *at_f64(const struct query_ref *q, const struct tensor *x, long t, long h)
{
	return row_f64(x, q->b * q->d.T + t) + h * q->d.dh;
}

/* Row j of what the query sees, of a saved tensor of summaries and an input. */
static const double *row_ref(const struct query_ref *q, int saved, int input, long j)
{
	if (j < q->seen.n)
		return row_f64(q->run->saved[saved], summary_row(&q->d, q->b, q->seen.first + j * q->d.S)) +
			q->kv * q->d.dh;
	return at_f64(q, q->run->in[input], q->seen.own + j - q->seen.n, q->kv);
}

static double score_ref(const struct query_ref *q, long j)
{
	return row_dot_f64(at_f64(q, q->run->in[MOBA_Q_BTD], q->t, q->h), row_ref(q, SUMMARY_KEYS_BNC, MOBA_K_BTC, j),
		q->d.dh) / sqrt((double)q->d.dh);
}

static void summarise_ref(const struct op_run *r, const struct moba_dims *d, int saved, int input)
{
	for (long k = 0; k < d->B * d->T; k++) {
		long b = k / d->T, first = k % d->T - d->S + 1;
		if (!ends_segment(r, d, b, k % d->T))
			continue;
		for (long c = 0; c < d->KV * d->dh; c++) {
			double sum = 0;
			for (long s = first; s < first + d->S; s++)
				sum += row_f64(r->in[input], b * d->T + s)[c];
			row_f64(r->saved[saved], summary_row(d, b, first))[c] = sum / (double)d->S;
		}
	}
}

static void token_ref(const struct query_ref *q)
{
	double *y = at_f64(q, q->run->out[MOBA_Y_BTD], q->t, q->h), sum = 0;

	for (long j = 0; j < q->seen.n_rows; j++)
		sum += exp(score_ref(q, j));
	for (long c = 0; c < q->d.dh; c++) {
		y[c] = 0;
		for (long j = 0; j < q->seen.n_rows; j++)
			y[c] += exp(score_ref(q, j)) / sum * row_ref(q, SUMMARY_VALUES_BNC, MOBA_V_BTC, j)[c];
	}
	row_f64(q->run->saved[SUMMARY_LSE_BTH], q->b * q->d.T + q->t)[q->h] = log(sum);
}

static struct query_ref query_ref(const struct op_run *r, const struct moba_dims *d, long k)
{
	struct query_ref q = {.run = r, .d = *d, .b = k / d->H / d->T, .t = k / d->H % d->T, .h = k % d->H};

	q.kv = q.h / (d->H / d->KV);
	q.seen = sight_of(r, d, q.b, q.t);
	return q;
}

static void summary_forward_ref(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	summarise_ref(r, &d, SUMMARY_KEYS_BNC, MOBA_K_BTC);
	summarise_ref(r, &d, SUMMARY_VALUES_BNC, MOBA_V_BTC);
	for (long k = 0; k < d.B * d.T * d.H; k++) {
		struct query_ref q = query_ref(r, &d, k);
		if (q.t < d.idle)
			memset(at_f64(&q, r->out[MOBA_Y_BTD], q.t, q.h), 0, (size_t)d.dh * sizeof(double));
		else
			token_ref(&q);
	}
}

/* scale x, to the gradient of row j: to that of a token, or to those of a segment's. */
static void row_gradient_ref(const struct query_ref *q, int input, long j, double scale, const double *x)
{
	bool summary = j < q->seen.n;
	long from = summary ? q->seen.first + j * q->d.S : q->seen.own + j - q->seen.n, n = summary ? q->d.S : 1;

	for (long s = from; s < from + n; s++)
		for (long c = 0; c < q->d.dh; c++)
			add_gradient(q->run, input, q->b * q->d.T + s, q->kv * q->d.dh + c, scale / (double)n * x[c]);
}

static void row_backward_ref(const struct query_ref *q, long j)
{
	const struct op_run *r = q->run;
	const double *dy = at_f64(q, r->d_out[MOBA_Y_BTD], q->t, q->h);
	const double *key = row_ref(q, SUMMARY_KEYS_BNC, MOBA_K_BTC, j);
	double p = exp(score_ref(q, j) - row_f64(r->saved[SUMMARY_LSE_BTH], q->b * q->d.T + q->t)[q->h]);
	double dp = row_dot_f64(dy, row_ref(q, SUMMARY_VALUES_BNC, MOBA_V_BTC, j), q->d.dh) -
		row_dot_f64(dy, at_f64(q, r->out[MOBA_Y_BTD], q->t, q->h), q->d.dh);
	double ds = p * dp / sqrt((double)q->d.dh);

	row_gradient_ref(q, MOBA_V_BTC, j, p, dy);
	row_gradient_ref(q, MOBA_K_BTC, j, ds, at_f64(q, r->in[MOBA_Q_BTD], q->t, q->h));
	for (long c = 0; c < q->d.dh; c++)
		add_gradient(r, MOBA_Q_BTD, q->b * q->d.T + q->t, q->h * q->d.dh + c, ds * key[c]);
}

static void summary_backward_ref(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, r->attr);

	for (int i = 0; i < MOBA_START_BT; i++)
		clear_gradient(r, i);
	for (long k = 0; k < d.B * d.T * d.H; k++) {
		struct query_ref q = query_ref(r, &d, k);
		for (long j = 0; q.t >= d.idle && j < q.seen.n_rows; j++)
			row_backward_ref(&q, j);
	}
}

static const struct moba_attr plain = {2, 0, 3, 1, 0}, shared = {4, 2, 5, 1, 0}, ones = {1, 0, 1, 1, 0},
	idle = {4, 2, 4, 1, 30}, wide = {2, 1, 140, 1, 0}, many = {2, 1, 2, 1, 0};

static const struct op_example examples[] = {
	{.name = "plain", .attr = &plain, .prepare = prepare_documents, .in = {MOBA_SHAPES(2, 11, 6, 6)}},
	{.name = "shared keys", .attr = &shared, .prepare = prepare_documents, .in = {MOBA_SHAPES(1, 37, 12, 6)}},
	{.name = "segments of one", .attr = &ones, .prepare = prepare_documents, .in = {MOBA_SHAPES(2, 10, 3, 3)}},
	{.name = "documents", .attr = &plain, .prepare = prepare_documents,
		.in = {MOBA_SHAPES(2, 40, 8, 8), [MOBA_START_BT] = {2, 40}}},
	{.name = "a window", .attr = &idle, .prepare = moba_prepare_idle,
		.in = {MOBA_SHAPES(3, 54, 12, 6), [MOBA_START_BT] = {3, 54}}},
	{.name = "wide", .attr = &wide, .prepare = prepare_documents, .no_gradient_check = true,
		.in = {MOBA_SHAPES(1, 300, 80, 40)}},
	{.name = "many summaries", .attr = &many, .prepare = prepare_documents, .no_gradient_check = true,
		.in = {MOBA_SHAPES(1, 300, 16, 8)}},
};

const struct op op_summary = {
	.name = "summary",
	.formula = "attention over the own segment, and the mean key and value of each earlier one",
	.semantics = 1,
	.n_in = MOBA_N_IN,
	.n_out = MOBA_N_OUT,
	.n_saved = SUMMARY_N_SAVED,
	.in = {MOBA_INPUTS(IN_OPTIONAL)},
	.out = {[MOBA_Y_BTD] = {"y", REAL, false}},
	.shape = summary_shape,
	.room = {[CPU] = room, [CUDA] = room},
	.cost = summary_cost,
	.backward_reads_in = READS(MOBA_N_IN) - 1,	/* all of them */
	.backward_reads_out = READS(MOBA_Y_BTD),
	.forward = {[REF] = summary_forward_ref, [CPU] = summary_forward_cpu, [CUDA] = OP_CUDA(summary_forward_cuda)},
	.backward = {[REF] = summary_backward_ref, [CPU] = summary_backward_cpu,
		[CUDA] = OP_CUDA(summary_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
