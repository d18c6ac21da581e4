#include "op/score.h"

#include <math.h>

#include "base/error.h"
#include "op/kit/gradient.h"
#include "op/kit/host.h"
#include "op/kit/vec.h"
#include "op/trial.h"

static void score_shape(struct op_shapes *s)
{
	const struct tensor *logit = s->in[SCORE_LOGIT_BTE];

	CHECK(logit->n_dims == 3 && ((const struct score_attr *)s->attr)->temperature > 0);
	CHECK(!s->in[SCORE_TEMPERATURE] || tensor_size(s->in[SCORE_TEMPERATURE]) == 1);
	s->out[SCORE_S_BTE] = tensor_of(MASTER, 3, logit->dims[0], logit->dims[1], logit->dims[2]);
}

static void score_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[SCORE_LOGIT_BTE]), bytes = op_io_bytes(&op_score, s);

	/* Maximum, exp, sum, scale; product, sum, difference, product. */
	*c = (struct op_cost){.forward_flops = 4 * n, .backward_flops = 4 * n,
		.executed_flops = 8 * n, .forward_bytes = bytes, .backward_bytes = 1.5 * bytes};
}

static double temperature_of(const struct op_run *r)
{
	const struct score_attr *attr = r->attr;
	const struct tensor *t = r->in[SCORE_TEMPERATURE];

	return t ? host_get(r, t, 0, 0) : attr->temperature;
}

static void score_forward_ref(const struct op_run *r)
{
	const struct score_attr *attr = r->attr;
	const struct tensor *logit = r->in[SCORE_LOGIT_BTE], *s = r->out[SCORE_S_BTE];
	long E = tensor_width(s);
	double temperature = temperature_of(r);

	for (long t = 0; t < tensor_rows(s); t++) {
		double most = -INFINITY, sum = 0;
		for (long e = 0; e < E; e++)
			most = fmax(most, row_f64(logit, t)[e] / temperature);
		for (long e = 0; e < E; e++)
			sum += exp(row_f64(logit, t)[e] / temperature - most);
		for (long e = 0; e < E; e++) {
			double h = row_f64(logit, t)[e] / temperature;
			row_f64(s, t)[e] = attr->fn == SCORE_SIGMOID ? 1 / (1 + exp(-h))
				: exp(h - most) / sum;
		}
	}
}

static void score_backward_ref(const struct op_run *r)
{
	const struct score_attr *attr = r->attr;
	const struct tensor *s = r->out[SCORE_S_BTE], *ds = r->d_out[SCORE_S_BTE];
	long E = tensor_width(s);
	double temperature = temperature_of(r);

	for (long t = 0; t < tensor_rows(s); t++) {
		double mean = 0;
		for (long e = 0; e < E; e++)
			mean += row_f64(s, t)[e] * row_f64(ds, t)[e];
		for (long e = 0; e < E; e++) {
			double p = row_f64(s, t)[e], d = row_f64(ds, t)[e];
			d = attr->fn == SCORE_SIGMOID ? p * (1 - p) * d : p * (d - mean);
			put_gradient(r, SCORE_LOGIT_BTE, t, e, d / temperature);
		}
	}
}

static void softmax_row(const float *logit, float *s, long E, float scale)
{
	float most = -INFINITY, sum = 0;

	for (long e = 0; e < E; e++)
		most = fmaxf(most, logit[e] * scale);
	#pragma omp simd reduction(+:sum)
	for (long e = 0; e < E; e++) {
		s[e] = vec_exp(logit[e] * scale - most);
		sum += s[e];
	}
	sum = 1 / sum;
	#pragma omp simd
	for (long e = 0; e < E; e++)
		s[e] *= sum;
}

static void score_forward(const struct op_run *r)
{
	const struct score_attr *attr = r->attr;
	const struct tensor *logit = r->in[SCORE_LOGIT_BTE], *s = r->out[SCORE_S_BTE];
	float scale = (float)(1 / temperature_of(r));
	long E = tensor_width(s);

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(s); t++) {
		const float *from = row_f32(logit, t);
		float *to = row_f32(s, t);
		if (attr->fn == SCORE_SOFTMAX) {
			softmax_row(from, to, E, scale);
			continue;
		}
		#pragma omp simd
		for (long e = 0; e < E; e++)
			to[e] = 1 / (1 + vec_exp(-from[e] * scale));
	}
}

static void score_backward(const struct op_run *r)
{
	const struct score_attr *attr = r->attr;
	const struct tensor *s_BTE = r->out[SCORE_S_BTE], *ds_BTE = r->d_out[SCORE_S_BTE],
		*dlogit = r->d_in[SCORE_LOGIT_BTE];
	float scale = (float)(1 / temperature_of(r));
	bool softmax = attr->fn == SCORE_SOFTMAX, add = op_adds(r, SCORE_LOGIT_BTE);
	long E = tensor_width(s_BTE);

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(s_BTE); t++) {
		const float *s = row_f32(s_BTE, t), *ds = row_f32(ds_BTE, t);
		float *to = row_f32(dlogit, t), mean = 0;
		#pragma omp simd reduction(+:mean)
		for (long e = 0; e < E; e++)
			mean += s[e] * ds[e];
		#pragma omp simd
		for (long e = 0; e < E; e++) {
			float d = softmax ? s[e] * (ds[e] - mean) : s[e] * (1 - s[e]) * ds[e];
			to[e] = d * scale + (add ? to[e] : 0);
		}
	}
}

static const struct score_attr softmax = {SCORE_SOFTMAX, 1}, cool = {SCORE_SOFTMAX, 0.5},
	sigmoid = {SCORE_SIGMOID, 1}, warm = {SCORE_SIGMOID, 2};

/* A temperature of 3/4. */
static void prepare(const struct op_trial *t)
{
	if (t->in[SCORE_TEMPERATURE])
		op_trial_set(t, t->in[SCORE_TEMPERATURE], 0, 0.75);
}

static const struct op_example examples[] = {
	{.name = "softmax", .attr = &softmax, .prepare = prepare, .in = {{2, 5, 7}}},
	{.name = "softmax, cool", .attr = &cool, .in = {{1, 9, 40}}},
	{.name = "sigmoid", .attr = &sigmoid, .in = {{2, 5, 7}}},
	{.name = "sigmoid, warm", .attr = &warm, .in = {{3, 3, 33}}},
	{.name = "one expert", .attr = &softmax, .in = {{2, 3, 1}}},
	{.name = "softmax of a temperature", .attr = &softmax, .prepare = prepare, .in = {{2, 5, 34}, {1}}},
	{.name = "sigmoid of a temperature", .attr = &sigmoid, .prepare = prepare, .in = {{2, 5, 7}, {1}}},
};

const struct op op_score = {
	.name = "score",
	.formula = "s = softmax(logit / temperature), or the sigmoid of each",
	.semantics = 1,
	.n_in = SCORE_N_IN,
	.n_out = SCORE_N_OUT,
	.in = {
		[SCORE_LOGIT_BTE] = {"logit", IN_MASTER},
		[SCORE_TEMPERATURE] = {"temperature", IN_MASTER | IN_NO_GRADIENT | IN_OPTIONAL},
	},
	.out = {[SCORE_S_BTE] = {"s", MASTER, false}},
	.shape = score_shape,
	.cost = score_cost,
	.backward_reads_in = READS(SCORE_TEMPERATURE),
	.backward_reads_out = READS(SCORE_S_BTE),
	.forward = {[REF] = score_forward_ref, [CPU] = score_forward,
		[CUDA] = OP_CUDA(score_forward_cuda)},
	.backward = {[REF] = score_backward_ref, [CPU] = score_backward,
		[CUDA] = OP_CUDA(score_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
