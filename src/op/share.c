#include "op/share.h"

#include <math.h>

#include "base/error.h"
#include "op/kit/gradient.h"
#include "op/kit/token.h"
#include "op/kit/vec.h"
#include "op/trial.h"

static void share_shape(struct op_shapes *s)
{
	const struct share_attr *attr = s->attr;
	const struct tensor *logit = s->in[SHARE_LOGIT_BTE], *mask = s->in[SHARE_MASK_BT];

	CHECK(logit->n_dims == 3 && attr->temperature > 0 && logit->dims[0] % attr->members == 0);
	CHECK(!mask || tensor_size(mask) == tensor_rows(logit));
	s->out[SHARE_S_BTE] = tensor_of(MASTER, 3, logit->dims[0], logit->dims[1], logit->dims[2]);
}

/* Maximum and sum of each group and expert. */
static void room_cpu(struct op_shapes *s)
{
	const struct share_attr *attr = s->attr;
	size_t columns = (size_t)(tensor_size(s->in[SHARE_LOGIT_BTE]) / attr->members);

	s->forward_workspace = 2 * columns * sizeof(float);
	s->backward_workspace = columns * sizeof(float);
}

static void share_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[SHARE_LOGIT_BTE]), bytes = op_io_bytes(&op_share, s);

	/* Maximum, exp, sum, scale; product, sum, difference, product. */
	*c = (struct op_cost){.forward_flops = 4 * n, .backward_flops = 4 * n, .executed_flops = 8 * n,
		.forward_bytes = bytes, .backward_bytes = 1.5 * bytes};
}

static bool is_there(const struct op_run *r, long t)
{
	return token_there(r->in[SHARE_MASK_BT], t);
}

/* ---- reference ------------------------------------------------------------------------------ */

static void column_ref(const struct op_run *r, long first, long e)
{
	const struct share_attr *attr = r->attr;
	const struct tensor *logit = r->in[SHARE_LOGIT_BTE], *s = r->out[SHARE_S_BTE];
	long T = s->dims[1], end = first + attr->members * T;
	double most = -INFINITY, sum = 0;

	for (long t = first; t < end; t += T)
		if (is_there(r, t))
			most = fmax(most, row_f64(logit, t)[e] / attr->temperature);
	for (long t = first; t < end; t += T)
		sum += is_there(r, t) ? exp(row_f64(logit, t)[e] / attr->temperature - most) : 0;
	for (long t = first; t < end; t += T)
		row_f64(s, t)[e] = is_there(r, t) ? exp(row_f64(logit, t)[e] / attr->temperature - most) / sum : 0;
}

static void share_forward_ref(const struct op_run *r)
{
	const struct share_attr *attr = r->attr;
	const struct tensor *s = r->out[SHARE_S_BTE];

	for (long g = 0; g < tensor_rows(s) / attr->members; g++)
		for (long e = 0; e < tensor_width(s); e++)
			column_ref(r, share_first(attr->members, s->dims[1], g), e);
}

static void share_backward_ref(const struct op_run *r)
{
	const struct share_attr *attr = r->attr;
	const struct tensor *s = r->out[SHARE_S_BTE], *ds = r->d_out[SHARE_S_BTE];
	long T = s->dims[1];

	for (long t = 0; t < tensor_rows(s); t++) {
		long first = share_first(attr->members, T, share_group(attr->members, T, t));
		for (long e = 0; e < tensor_width(s); e++) {
			double mean = 0;
			for (long m = first; m < first + attr->members * T; m += T)
				mean += row_f64(s, m)[e] * row_f64(ds, m)[e];
			put_gradient(r, SHARE_LOGIT_BTE, t, e,
				row_f64(s, t)[e] * (row_f64(ds, t)[e] - mean) / attr->temperature);
		}
	}
}

/* ---- CPU: experts are the lanes ------------------------------------------------------------- */

static void group_forward(const struct op_run *r, long first, float *most, float *sum)
{
	const struct share_attr *attr = r->attr;
	const struct tensor *logit_BTE = r->in[SHARE_LOGIT_BTE], *s = r->out[SHARE_S_BTE];
	long E = tensor_width(s), T = s->dims[1], end = first + attr->members * T;
	float scale = (float)(1 / attr->temperature);

	for (long e = 0; e < E; e++) {
		most[e] = -INFINITY;
		sum[e] = 0;
	}
	for (long t = first; t < end; t += T) {
		const float *logit = row_f32(logit_BTE, t);
		for (long e = 0; is_there(r, t) && e < E; e++)
			most[e] = fmaxf(most[e], logit[e] * scale);
	}
	for (long t = first; t < end; t += T) {
		const float *logit = row_f32(logit_BTE, t);
		float *to = row_f32(s, t), there = is_there(r, t);
		#pragma omp simd
		for (long e = 0; e < E; e++) {
			to[e] = there > 0 ? vec_exp(logit[e] * scale - most[e]) : 0;
			sum[e] += to[e];
		}
	}
	for (long t = first; t < end; t += T) {
		float *to = row_f32(s, t), there = is_there(r, t);
		#pragma omp simd
		for (long e = 0; e < E; e++)
			to[e] = there > 0 ? to[e] / sum[e] : 0;
	}
}

static void share_forward(const struct op_run *r)
{
	const struct share_attr *attr = r->attr;
	const struct tensor *s = r->out[SHARE_S_BTE];
	long E = tensor_width(s), G = tensor_rows(s) / attr->members;
	float *most_GE = r->workspace, *sum_GE = most_GE + G * E;

	#pragma omp parallel for schedule(static)
	for (long g = 0; g < G; g++)
		group_forward(r, share_first(attr->members, s->dims[1], g), most_GE + g * E, sum_GE + g * E);
}

static void group_backward(const struct op_run *r, long first, float *mean)
{
	const struct share_attr *attr = r->attr;
	const struct tensor *dlogit = r->d_in[SHARE_LOGIT_BTE];
	long E = tensor_width(dlogit), T = dlogit->dims[1], end = first + attr->members * T;
	float scale = (float)(1 / attr->temperature);
	bool add = op_adds(r, SHARE_LOGIT_BTE);

	for (long e = 0; e < E; e++)
		mean[e] = 0;
	for (long t = first; t < end; t += T) {
		const float *s = row_f32(r->out[SHARE_S_BTE], t), *ds = row_f32(r->d_out[SHARE_S_BTE], t);
		#pragma omp simd
		for (long e = 0; e < E; e++)
			mean[e] += s[e] * ds[e];
	}
	for (long t = first; t < end; t += T) {
		const float *s = row_f32(r->out[SHARE_S_BTE], t), *ds = row_f32(r->d_out[SHARE_S_BTE], t);
		float *to = row_f32(dlogit, t);
		#pragma omp simd
		for (long e = 0; e < E; e++)
			to[e] = s[e] * (ds[e] - mean[e]) * scale + (add ? to[e] : 0);
	}
}

static void share_backward(const struct op_run *r)
{
	const struct share_attr *attr = r->attr;
	const struct tensor *s = r->out[SHARE_S_BTE];
	long E = tensor_width(s), G = tensor_rows(s) / attr->members;
	float *mean_GE = r->workspace;

	#pragma omp parallel for schedule(static)
	for (long g = 0; g < G; g++)
		group_backward(r, share_first(attr->members, s->dims[1], g), mean_GE + g * E);
}

/* Every third token is masked, and a position of all sequences. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *mask = t->in[SHARE_MASK_BT];

	for (long i = 0; mask && i < tensor_size(mask); i++)
		op_trial_set(t, mask, i, i % 3 == 2 || i % tensor_width(mask) == 1 ? -1 : 0);
}

static const struct share_attr batch = {3, 1}, halves = {2, 0.5}, alone = {1, 1}, many = {40, 2};

static const struct op_example examples[] = {
	{.name = "over the batch", .attr = &batch, .prepare = prepare, .in = {{3, 5, 7}}},
	{.name = "cool halves, mask", .attr = &halves, .prepare = prepare, .in = {{4, 5, 3}, {4, 5}}},
	{.name = "groups of one", .attr = &alone, .in = {{2, 3, 4}}},
	{.name = "many sequences and experts", .attr = &many, .in = {{80, 3, 35}}},
};

const struct op op_share = {
	.name = "share",
	.formula = "s = softmax over the tokens of a group of logit / temperature, by expert",
	.semantics = 1,
	.n_in = SHARE_N_IN,
	.n_out = SHARE_N_OUT,
	.in = {
		[SHARE_LOGIT_BTE] = {"logit", IN_MASTER},
		[SHARE_MASK_BT] = {"mask", IN_INDEX | IN_OPTIONAL},
	},
	.out = {[SHARE_S_BTE] = {"s", MASTER, false}},
	.shape = share_shape,
	.room = {[CPU] = room_cpu},
	.cost = share_cost,
	.backward_reads_out = READS(SHARE_S_BTE),
	.forward = {[REF] = share_forward_ref, [CPU] = share_forward,
		[CUDA] = OP_CUDA(share_forward_cuda)},
	.backward = {[REF] = share_backward_ref, [CPU] = share_backward,
		[CUDA] = OP_CUDA(share_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
