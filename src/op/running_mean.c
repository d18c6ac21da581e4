#include "op/running_mean.h"

#include "base/error.h"
#include "base/num.h"
#include "op/document_start.h"
#include "op/trial.h"

enum { CHANNELS = 64 };		/* of a tile */

static void running_mean_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[RUNNING_MEAN_X_BTD], *start = s->in[RUNNING_MEAN_START_BT];

	CHECK(x->n_dims == 3 && (!start || (start->dims[0] == x->dims[0] && start->dims[1] == x->dims[1])));
	op_shape_same(s);
}

static void running_mean_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[RUNNING_MEAN_X_BTD]), bytes = op_io_bytes(&op_running_mean, s);

	*c = (struct op_cost){.forward_flops = 2 * n, .backward_flops = 2 * n, .executed_flops = 4 * n,
		.forward_bytes = bytes, .backward_bytes = bytes};
}

/* Tokens of the document up to t: what a sum there is divided by. */
static long so_far(const struct op_run *r, long b, long t)
{
	return t - first_seen(r->in[RUNNING_MEAN_START_BT], b, t) + 1;
}

static void running_mean_forward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[RUNNING_MEAN_X_BTD], *y = r->out[RUNNING_MEAN_Y_BTD];
	long T = x->dims[1];

	for (long b = 0; b < x->dims[0]; b++)
		for (long t = 0; t < T; t++)
			for (long i = 0; i < tensor_width(x); i++) {
				double sum = 0;
				for (long s = t + 1 - so_far(r, b, t); s <= t; s++)
					sum += row_f64(x, b * T + s)[i];
				row_f64(y, b * T + t)[i] = sum / (double)so_far(r, b, t);
			}
}

static void running_mean_backward_ref(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[RUNNING_MEAN_X_BTD], *dy = r->d_out[RUNNING_MEAN_Y_BTD];
	long T = dx->dims[1];

	for (long b = 0; b < dx->dims[0]; b++)
		for (long s = 0; s < T; s++)
			for (long i = 0; i < tensor_width(dx); i++) {
				double sum = op_adds(r, RUNNING_MEAN_X_BTD) ? row_f64(dx, b * T + s)[i] : 0;
				for (long t = s; t < T; t++)
					if (t + 1 - so_far(r, b, t) <= s)
						sum += row_f64(dy, b * T + t)[i] / (double)so_far(r, b, t);
				row_f64(dx, b * T + s)[i] = sum;
			}
}

static void forward_tile(const struct op_run *r, long b, long from, long n)
{
	const struct tensor *x = r->in[RUNNING_MEAN_X_BTD], *y = r->out[RUNNING_MEAN_Y_BTD];
	float sum[CHANNELS] = {0};

	for (long t = 0; t < x->dims[1]; t++) {
		const float *in = row_f32(x, b * x->dims[1] + t) + from;
		float *out = row_f32(y, b * x->dims[1] + t) + from, share = 1.0f / (float)so_far(r, b, t);
		bool begins = so_far(r, b, t) == 1;
		for (long i = 0; i < n; i++) {
			sum[i] = in[i] + (begins ? 0 : sum[i]);
			out[i] = share * sum[i];
		}
	}
}

static void backward_tile(const struct op_run *r, long b, long from, long n)
{
	const struct tensor *dx = r->d_in[RUNNING_MEAN_X_BTD], *dy = r->d_out[RUNNING_MEAN_Y_BTD];
	float sum[CHANNELS] = {0};

	for (long t = dx->dims[1] - 1; t >= 0; t--) {
		const float *in = row_f32(dy, b * dx->dims[1] + t) + from;
		float *out = row_f32(dx, b * dx->dims[1] + t) + from, share = 1.0f / (float)so_far(r, b, t);
		bool begins = so_far(r, b, t) == 1;
		for (long i = 0; i < n; i++) {
			sum[i] += share * in[i];
			out[i] = sum[i] + (op_adds(r, RUNNING_MEAN_X_BTD) ? out[i] : 0);
			sum[i] = begins ? 0 : sum[i];
		}
	}
}

static void over_tiles(const struct op_run *r, const struct tensor *x,
	void (*work)(const struct op_run *r, long b, long from, long n))
{
	#pragma omp parallel for collapse(2) schedule(static)
	for (long b = 0; b < x->dims[0]; b++)
		for (long from = 0; from < x->dims[2]; from += CHANNELS)
			work(r, b, from, min_long(x->dims[2] - from, CHANNELS));
}

static void running_mean_forward(const struct op_run *r)
{
	over_tiles(r, r->out[RUNNING_MEAN_Y_BTD], forward_tile);
}

static void running_mean_backward(const struct op_run *r)
{
	over_tiles(r, r->d_in[RUNNING_MEAN_X_BTD], backward_tile);
}

static const struct op_example examples[] = {
	{.name = "plain", .in = {{2, 13, 5}}, .prepare = prepare_documents},
	{.name = "documents", .in = {{3, 40, 3}, {3, 40}}, .prepare = prepare_documents},
	{.name = "wide", .in = {{2, 9, 70}}, .prepare = prepare_documents},
};

const struct op op_running_mean = {
	.name = "running_mean",
	.formula = "y_t = mean of x_s for s = start_t .. t",
	.semantics = 1,
	.n_in = RUNNING_MEAN_N_IN,
	.n_out = RUNNING_MEAN_N_OUT,
	.in = {
		[RUNNING_MEAN_X_BTD] = {"x_BTD", 0},
		[RUNNING_MEAN_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[RUNNING_MEAN_Y_BTD] = {"y_BTD", REAL, false}},
	.shape = running_mean_shape,
	.cost = running_mean_cost,
	.backward_reads_in = READS(RUNNING_MEAN_START_BT),
	.forward = {[REF] = running_mean_forward_ref, [CPU] = running_mean_forward,
		[CUDA] = OP_CUDA(running_mean_forward_cuda)},
	.backward = {[REF] = running_mean_backward_ref, [CPU] = running_mean_backward,
		[CUDA] = OP_CUDA(running_mean_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
