#include "op/scale.h"

#include "base/error.h"

static void scale_shape(struct op_shapes *s)
{
	CHECK(tensor_size(s->in[SCALE_X]) == 1 && tensor_size(s->in[SCALE_A]) == 1);
	s->out[SCALE_Y] = tensor_of(MASTER, 1, 1L);
}

static void scale_cost(const struct op_shapes *s, struct op_cost *c)
{
	*c = (struct op_cost){.forward_flops = 1, .backward_flops = 1, .executed_flops = 2,
		.forward_bytes = op_io_bytes(&op_scale, s), .backward_bytes = op_io_bytes(&op_scale, s)};
}

/* y = a x (+ y), for all devices of the host. */
static void multiply(const struct op_run *r, const struct tensor *x, const struct tensor *y, bool add)
{
	const struct tensor *a = r->in[SCALE_A];

	if (r->device->bytes[MASTER] == sizeof(double))
		*row_f64(y, 0) = *row_f64(a, 0) * *row_f64(x, 0) + (add ? *row_f64(y, 0) : 0);
	else
		*row_f32(y, 0) = *row_f32(a, 0) * *row_f32(x, 0) + (add ? *row_f32(y, 0) : 0);
}

static void scale_forward(const struct op_run *r)
{
	multiply(r, r->in[SCALE_X], r->out[SCALE_Y], false);
}

static void scale_backward(const struct op_run *r)
{
	multiply(r, r->d_out[SCALE_Y], r->d_in[SCALE_X], op_adds(r, SCALE_X));
}

static const struct op_example examples[] = {{.name = "plain", .in = {{1}, {1}}}};

const struct op op_scale = {
	.name = "scale",
	.formula = "y = a x, a a state of the run",
	.semantics = 1,
	.n_in = SCALE_N_IN,
	.n_out = SCALE_N_OUT,
	.in = {
		[SCALE_X] = {"x", IN_MASTER},
		[SCALE_A] = {"a", IN_MASTER | IN_NO_GRADIENT},
	},
	.out = {[SCALE_Y] = {"y", MASTER, false}},
	.shape = scale_shape,
	.cost = scale_cost,
	.backward_reads_in = READS(SCALE_A),
	.forward = {[REF] = scale_forward, [CPU] = scale_forward, [CUDA] = OP_CUDA(scale_forward_cuda)},
	.backward = {[REF] = scale_backward, [CPU] = scale_backward, [CUDA] = OP_CUDA(scale_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
