#include "op/constant.h"

#include "base/error.h"

static void constant_shape(struct op_shapes *s)
{
	const struct constant_attr *attr = s->attr;

	s->out[CONSTANT_Y] = attr->shape;
	s->out[CONSTANT_Y].ld = tensor_width(&attr->shape);
}

static void constant_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = op_io_bytes(&op_constant, s);
}

static void constant_forward_ref(const struct op_run *r)
{
	const struct constant_attr *attr = r->attr;
	const struct tensor *y = r->out[CONSTANT_Y];

	for (long t = 0; t < tensor_rows(y); t++)
		for (long i = 0; i < tensor_width(y); i++)
			row_f64(y, t)[i] = attr->value;
}

static void constant_forward_cpu(const struct op_run *r)
{
	const struct constant_attr *attr = r->attr;
	const struct tensor *y = r->out[CONSTANT_Y];
	long rows = tensor_rows(y), width = tensor_width(y);
	float value = (float)attr->value;

	#pragma omp parallel for if (rows > 64)
	for (long t = 0; t < rows; t++) {
		float *row = row_f32(y, t);
		for (long i = 0; i < width; i++)
			row[i] = value;
	}
}

static const struct constant_attr example = {0.25, {.kind = REAL, .n_dims = 2, .dims = {3, 7}}};
static const struct op_example examples[] = {{.name = "matrix", .attr = &example}};

const struct op op_constant = {
	.name = "constant",
	.formula = "y = a constant",
	.semantics = 1,
	.n_out = CONSTANT_N_OUT,
	.out = {[CONSTANT_Y] = {"y", REAL, false}},
	.shape = constant_shape,
	.cost = constant_cost,
	.forward = {[REF] = constant_forward_ref, [CPU] = constant_forward_cpu,
		[CUDA] = OP_CUDA(constant_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
