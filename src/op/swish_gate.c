#include "op/swish_gate.h"

#include <math.h>

#include "base/error.h"
#include "op/kit/gradient.h"
#include "op/kit/vec.h"

static void swish_gate_shape(struct op_shapes *s)
{
	CHECK(tensor_same_shape(s->in[SWISH_GATE_X_BTI], s->in[SWISH_GATE_Z_BTI]));
	op_shape_same(s);
}

static void swish_gate_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[SWISH_GATE_X_BTI]), bytes = op_io_bytes(&op_swish_gate, s);

	*c = (struct op_cost){.forward_flops = 5 * n, .backward_flops = 10 * n, .executed_flops = 15 * n,
		.forward_bytes = bytes, .backward_bytes = 5.0 / 3 * bytes};
}

static void swish_gate_forward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[SWISH_GATE_X_BTI], *y = r->out[SWISH_GATE_Y_BTI];

	for (long t = 0; t < tensor_rows(x); t++)
		for (long i = 0; i < tensor_width(x); i++) {
			double z = row_f64(r->in[SWISH_GATE_Z_BTI], t)[i];
			row_f64(y, t)[i] = row_f64(x, t)[i] * z / (1 + exp(-z));
		}
}

static void swish_gate_backward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[SWISH_GATE_X_BTI];

	for (long t = 0; t < tensor_rows(x); t++)
		for (long i = 0; i < tensor_width(x); i++) {
			double z = row_f64(r->in[SWISH_GATE_Z_BTI], t)[i], g = sigmoid_f64(z);
			double dy = row_f64(r->d_out[SWISH_GATE_Y_BTI], t)[i];
			put_gradient(r, SWISH_GATE_Z_BTI, t, i, dy * row_f64(x, t)[i] * g * (1 + z * (1 - g)));
			put_gradient(r, SWISH_GATE_X_BTI, t, i, dy * z * g);
		}
}

static void swish_gate_forward(const struct op_run *r)
{
	const struct tensor *x_BTI = r->in[SWISH_GATE_X_BTI];

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(x_BTI); t++) {
		const float *x = row_f32(x_BTI, t), *z = row_f32(r->in[SWISH_GATE_Z_BTI], t);
		float *y = row_f32(r->out[SWISH_GATE_Y_BTI], t);
		#pragma omp simd
		for (long i = 0; i < tensor_width(x_BTI); i++)
			y[i] = x[i] * z[i] * vec_sigmoid(z[i]);
	}
}

static void swish_gate_backward(const struct op_run *r)
{
	const struct tensor *x_BTI = r->in[SWISH_GATE_X_BTI];

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(x_BTI); t++) {
		const float *x = row_f32(x_BTI, t), *z = row_f32(r->in[SWISH_GATE_Z_BTI], t);
		const float *dy = row_f32(r->d_out[SWISH_GATE_Y_BTI], t);
		for (long i = 0; i < tensor_width(x_BTI); i++) {
			float d = dy[i], g = vec_sigmoid(z[i]);	/* dx may lie on dy */
			put_gradient_f32(r, SWISH_GATE_Z_BTI, t, i, d * x[i] * g * (1 + z[i] * (1 - g)));
			put_gradient_f32(r, SWISH_GATE_X_BTI, t, i, d * z[i] * g);
		}
	}
}

static const struct op_example examples[] = {
	{.name = "plain", .in = {{2, 3, 5}, {2, 3, 5}}},
	{.name = "wide", .no_gradient_check = true, .in = {{2, 70, 130}, {2, 70, 130}}},
};

const struct op op_swish_gate = {
	.name = "swish_gate",
	.formula = "y = x SiLU(z)",
	.semantics = 1,
	.n_in = SWISH_GATE_N_IN,
	.n_out = SWISH_GATE_N_OUT,
	.in = {
		[SWISH_GATE_X_BTI] = {"x_BTI", 0},
		[SWISH_GATE_Z_BTI] = {"z_BTI", 0},
	},
	.out = {[SWISH_GATE_Y_BTI] = {"y_BTI", REAL, false}},
	.shape = swish_gate_shape,
	.cost = swish_gate_cost,
	.backward_reads_in = READS(SWISH_GATE_N_IN) - 1,
	.d_in_takes = {[SWISH_GATE_X_BTI] = TAKES(SWISH_GATE_Y_BTI)},
	.forward = {[REF] = swish_gate_forward_ref, [CPU] = swish_gate_forward,
		[CUDA] = OP_CUDA(swish_gate_forward_cuda)},
	.backward = {[REF] = swish_gate_backward_ref, [CPU] = swish_gate_backward,
		[CUDA] = OP_CUDA(swish_gate_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
