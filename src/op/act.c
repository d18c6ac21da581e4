#include "op/act.h"

#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "base/str.h"
#include "op/kit/gradient.h"

enum act_fn act_fn_find(const char *name)
{
	static const char *const names[] = {"relu", "silu", "gelu"};
	int i = str_index(name, names, ARRAY_SIZE(names));

	if (i < 0)
		BUG("no activation \"%s\"", name);
	return (enum act_fn)i;
}

static void act_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[ACT_X]), bytes = op_io_bytes(&op_act, s);

	c->forward_flops = n;
	c->backward_flops = 2 * n;
	c->executed_flops = 3 * n;
	c->forward_bytes = bytes;
	c->backward_bytes = 1.5 * bytes;
}

static void act_forward_ref(const struct op_run *r)
{
	const struct act_attr *attr = r->attr;
	const struct tensor *x = r->in[ACT_X], *y = r->out[ACT_Y];

	for (long t = 0; t < tensor_rows(x); t++)
		for (long i = 0; i < tensor_width(x); i++)
			row_f64(y, t)[i] = act_f64(attr->fn, row_f64(x, t)[i]);
}

/* dx = f'(x) dy */
static void act_backward_ref(const struct op_run *r)
{
	const struct act_attr *attr = r->attr;
	const struct tensor *x = r->in[ACT_X], *dy = r->d_out[ACT_Y];

	for (long t = 0; t < tensor_rows(x); t++)
		for (long i = 0; i < tensor_width(x); i++)
			put_gradient(r, ACT_X, t, i, act_slope_f64(attr->fn, row_f64(x, t)[i]) * row_f64(dy, t)[i]);
}

static void act_forward(const struct op_run *r)
{
	const struct act_attr *attr = r->attr;
	const struct tensor *x = r->in[ACT_X], *y = r->out[ACT_Y];

	#pragma omp parallel for
	for (long t = 0; t < tensor_rows(x); t++)
		act_row_f32(attr->fn, row_f32(y, t), row_f32(x, t), tensor_width(x));
}

/* Added gradients go by pieces through a buffer, so that the derivatives are written down once. */
static void backward_row(enum act_fn fn, float *dx, const float *x, const float *dy, long n,
	bool add)
{
	enum { PIECE = 256 };
	float piece[PIECE];

	for (long at = 0; at < n; at += PIECE) {
		long m = min_long(n - at, PIECE);
		act_gradient_row_f32(fn, add ? piece : dx + at, x + at, dy + at, m);
		for (long i = 0; add && i < m; i++)
			dx[at + i] += piece[i];
	}
}

static void act_backward(const struct op_run *r)
{
	const struct act_attr *attr = r->attr;
	const struct tensor *x = r->in[ACT_X], *dx = r->d_in[ACT_X], *dy = r->d_out[ACT_Y];

	#pragma omp parallel for
	for (long t = 0; t < tensor_rows(x); t++)
		backward_row(attr->fn, row_f32(dx, t), row_f32(x, t), row_f32(dy, t),
			tensor_width(x), op_adds(r, ACT_X));
}

static const struct act_attr example_relu = {ACT_RELU}, example_silu = {ACT_SILU},
	example_gelu = {ACT_GELU};

static const struct op_example examples[] = {
	{.name = "relu", .attr = &example_relu, .in = {[ACT_X] = {2, 3, 37}}},
	{.name = "silu", .attr = &example_silu, .in = {[ACT_X] = {2, 5, 37}}},
	{.name = "gelu", .attr = &example_gelu, .in = {[ACT_X] = {1, 7, 16}}},
	{.name = "silu in eights", .attr = &example_silu, .in = {[ACT_X] = {3, 2, 24}}},
	{.name = "relu in eights", .attr = &example_relu, .in = {[ACT_X] = {1, 9, 8}}},
};

const struct op op_act = {
	.name = "act",
	.formula = "y = f(x)",
	.semantics = 1,
	.n_in = ACT_N_IN,
	.n_out = ACT_N_OUT,
	.in = {[ACT_X] = {"x", 0}},
	.out = {[ACT_Y] = {"y", REAL, false}},
	.shape = op_shape_same,
	.cost = act_cost,
	.backward_reads_in = READS(ACT_X),
	.d_in_takes = {[ACT_X] = TAKES(ACT_Y)},
	.forward = {[REF] = act_forward_ref, [CPU] = act_forward, [CUDA] = OP_CUDA(act_forward_cuda)},
	.backward = {[REF] = act_backward_ref, [CPU] = act_backward,
		[CUDA] = OP_CUDA(act_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
