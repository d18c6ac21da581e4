#include "op/squared_error.h"

#include <math.h>

#include "base/error.h"
#include "base/half.h"
#include "op/kit/host.h"
#include "op/trial.h"

static void squared_error_shape(struct op_shapes *s)
{
	const struct tensor *y = s->in[SQUARED_ERROR_Y_BNP], *target = s->in[SQUARED_ERROR_TARGET_BT],
		*scale = s->in[SQUARED_ERROR_SCALE_B2];

	CHECK(y->n_dims == 3 && target->n_dims == 2 && target->dims[0] == y->dims[0]);
	CHECK(target->dims[1] == y->dims[1] * y->dims[2] && scale->dims[0] == y->dims[0] && scale->dims[1] == 2);
	s->out[SQUARED_ERROR_LOSS] = s->out[SQUARED_ERROR_MEAN] = tensor_of(MASTER, 1, 1L);
	s->out[SQUARED_ERROR_SQUARE_BT] = tensor_of(MASTER, 2, target->dims[0], target->dims[1]);
	s->out[SQUARED_ERROR_ERROR_BT] = s->out[SQUARED_ERROR_SQUARE_BT];
	s->saved[SQUARED_ERROR_SHARE] = tensor_of(MASTER, 1, 1L);
}

/* Sum and number of each row. */
static void room(struct op_shapes *s)
{
	s->forward_workspace = (size_t)(2 * s->in[SQUARED_ERROR_TARGET_BT]->dims[0]) * sizeof(double);
}

static void squared_error_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[SQUARED_ERROR_TARGET_BT]), bytes = op_io_bytes(&op_squared_error, s);

	*c = (struct op_cost){.forward_flops = 6 * n, .backward_flops = 5 * n, .executed_flops = 11 * n,
		.forward_bytes = bytes, .backward_bytes = bytes};
}

static bool is_asked(int id)
{
	return id >= 0 && !half_is_missing(id);
}

/* Of value t of row b, which is asked for. */
static double error_of(const struct op_run *r, long b, long t)
{
	const struct tensor *y = r->in[SQUARED_ERROR_Y_BNP], *scale = r->in[SQUARED_ERROR_SCALE_B2];
	long P = y->dims[2], N = y->dims[1];

	return host_get(r, scale, b, 0) + host_get(r, scale, b, 1) * host_get(r, y, b * N + t / P, t % P) -
		(double)half_value(row_int(r->in[SQUARED_ERROR_TARGET_BT], b)[t]);
}

static void forward_row(const struct op_run *r, long b)
{
	const struct tensor *target = r->in[SQUARED_ERROR_TARGET_BT];
	double *part = (double *)r->workspace + 2 * b;

	part[0] = part[1] = 0;
	for (long t = 0; t < tensor_width(target); t++) {
		bool asked = is_asked(row_int(target, b)[t]);
		double e = asked ? error_of(r, b, t) : 0;
		host_put(r, r->out[SQUARED_ERROR_SQUARE_BT], b, t, e * e);
		host_put(r, r->out[SQUARED_ERROR_ERROR_BT], b, t, fabs(e));
		part[0] += e * e;
		part[1] += asked;
	}
}

/* For all devices of the host, in float64 up to the rounding of what is stored. */
static void squared_error_forward(const struct op_run *r)
{
	long B = r->in[SQUARED_ERROR_TARGET_BT]->dims[0];
	const double *part = r->workspace;
	double sum = 0, n = 0;

	#pragma omp parallel for schedule(static)
	for (long b = 0; b < B; b++)
		forward_row(r, b);
	for (long b = 0; b < B; b++) {
		sum += part[2 * b];
		n += part[2 * b + 1];
	}
	host_put(r, r->out[SQUARED_ERROR_LOSS], 0, 0, n > 0 ? sum / n : 0);
	host_put(r, r->out[SQUARED_ERROR_MEAN], 0, 0, n > 0 ? sum / n : 0);
	host_put(r, r->saved[SQUARED_ERROR_SHARE], 0, 0, n > 0 ? 1 / n : 0);
}

static void squared_error_backward(const struct op_run *r)
{
	const struct tensor *target = r->in[SQUARED_ERROR_TARGET_BT], *dy = r->d_in[SQUARED_ERROR_Y_BNP];
	double unit = 2 * host_get(r, r->d_out[SQUARED_ERROR_LOSS], 0, 0) * host_get(r, r->saved[SQUARED_ERROR_SHARE], 0, 0);
	long T = target->dims[1], P = dy->dims[2], N = dy->dims[1];

	#pragma omp parallel for schedule(static)
	for (long b = 0; b < target->dims[0]; b++)
		for (long t = 0; t < T; t++) {
			double s = host_get(r, r->in[SQUARED_ERROR_SCALE_B2], b, 1);
			double d = is_asked(row_int(target, b)[t]) ? unit * s * error_of(r, b, t) : 0;
			if (op_adds(r, SQUARED_ERROR_Y_BNP))
				d += host_get(r, dy, b * N + t / P, t % P);
			host_put(r, dy, b * N + t / P, t % P, d);
		}
}

/* Some values are not asked for, by either way to say so. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *target = t->in[SQUARED_ERROR_TARGET_BT], *scale = t->in[SQUARED_ERROR_SCALE_B2];

	for (long i = 0; i < tensor_size(target); i++)
		op_trial_set(t, target, i, i % 5 == 1 ? -1 : i % 7 == 2 ? HALF_MISSING :
			half_bits(2 * sin(1.3 * (double)i)));
	for (long b = 0; b < scale->dims[0]; b++) {
		op_trial_set(t, scale, 2 * b, 0.3 * (double)b - 0.2);
		op_trial_set(t, scale, 2 * b + 1, 0.5 + 0.4 * (double)b);
	}
}

static void prepare_unasked(const struct op_trial *t)
{
	prepare(t);
	for (long i = 0; i < tensor_size(t->in[SQUARED_ERROR_TARGET_BT]); i++)
		op_trial_set(t, t->in[SQUARED_ERROR_TARGET_BT], i, -1);
}

static const struct op_example examples[] = {
	{.name = "patches", .in = {{3, 5, 4}, {3, 20}, {3, 2}}, .prepare = prepare},
	{.name = "long", .in = {{2, 30, 20}, {2, 600}, {2, 2}}, .prepare = prepare},
	{.name = "nothing is asked", .in = {{2, 3, 2}, {2, 6}, {2, 2}}, .prepare = prepare_unasked},
};

const struct op op_squared_error = {
	.name = "squared_error",
	.formula = "loss = mean of (m + s y - v)^2 over what is asked for",
	.semantics = 1,
	.n_in = SQUARED_ERROR_N_IN,
	.n_out = SQUARED_ERROR_N_OUT,
	.n_saved = SQUARED_ERROR_N_SAVED,
	.in = {
		[SQUARED_ERROR_Y_BNP] = {"y_BNP", 0},
		[SQUARED_ERROR_TARGET_BT] = {"target_BT", IN_INDEX},
		[SQUARED_ERROR_SCALE_B2] = {"scale_B2", IN_MASTER | IN_NO_GRADIENT},
	},
	.out = {
		[SQUARED_ERROR_LOSS] = {"loss", MASTER, false},
		[SQUARED_ERROR_SQUARE_BT] = {"square_BT", MASTER, true},
		[SQUARED_ERROR_ERROR_BT] = {"error_BT", MASTER, true},
		[SQUARED_ERROR_MEAN] = {"mean", MASTER, true},
	},
	.shape = squared_error_shape,
	.room = {[REF] = room, [CPU] = room, [CUDA] = room},
	.cost = squared_error_cost,
	.backward_reads_in = READS(SQUARED_ERROR_Y_BNP) | READS(SQUARED_ERROR_TARGET_BT) |
		READS(SQUARED_ERROR_SCALE_B2),
	.forward = {[REF] = squared_error_forward, [CPU] = squared_error_forward,
		[CUDA] = OP_CUDA(squared_error_forward_cuda)},
	.backward = {[REF] = squared_error_backward, [CPU] = squared_error_backward,
		[CUDA] = OP_CUDA(squared_error_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
