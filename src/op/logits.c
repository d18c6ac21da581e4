#include "op/logits.h"

#include "base/error.h"
#include "op/cuda/gemm.h"
#include "op/kit/gemm.h"
#include "op/kit/rows.h"

static void logits_shape(struct op_shapes *s)
{
	const struct logits_attr *attr = s->attr;
	const struct tensor *x = s->in[LOGITS_X_BTD], *w = s->in[LOGITS_W_VD];
	struct tensor *y = &s->out[LOGITS_Y_BTV];

	CHECK(w->n_dims == 2 && w->dims[1] == tensor_width(x));
	CHECK(attr->n_vocab > 0 && attr->n_vocab <= w->dims[0]);
	*y = *x;
	y->kind = MASTER;
	y->dims[x->n_dims - 1] = y->ld = attr->n_vocab;
	y->at = NULL;
}

static void logits_room_cuda(struct op_shapes *s)
{
	s->forward_workspace = GPU_GEMM_WORKSPACE;
	s->forward_plan = sizeof(struct gpu_gemm_plan);
}

static void logits_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct logits_attr *attr = s->attr;

	c->forward_flops = 2 * (double)tensor_size(s->in[LOGITS_X_BTD]) * (double)attr->n_vocab;
	c->executed_flops = c->forward_flops;
	c->forward_bytes = op_io_bytes(&op_logits, s);
}

static void logits_forward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[LOGITS_X_BTD], *w = r->in[LOGITS_W_VD];
	const struct tensor *y = r->out[LOGITS_Y_BTV];

	for (long t = 0; t < tensor_rows(y); t++)
		for (long v = 0; v < tensor_width(y); v++)
			row_f64(y, t)[v] = row_dot_f64(row_f64(w, v), row_f64(x, t), tensor_width(x));
}

static void logits_forward(const struct op_run *r)
{
	const struct tensor *x = r->in[LOGITS_X_BTD], *w = r->in[LOGITS_W_VD];
	const struct tensor *y = r->out[LOGITS_Y_BTV];

	gemm_tiled(GEMM_N, GEMM_T, tensor_rows(y), tensor_width(y), tensor_width(x), 1, x->at,
		x->ld, w->at, w->ld, 0, y->at, y->ld);
}

static const struct logits_attr example_whole = {.n_vocab = 16}, example_padded = {.n_vocab = 601};

static const struct op_example examples[] = {
	{.name = "whole", .attr = &example_whole, .in = {{1, 1, 8}, {16, 8}}},
	{.name = "padded", .attr = &example_padded, .in = {{2, 3, 37}, {640, 37}}},
};

const struct op op_logits = {
	.name = "logits",
	.formula = "y = x W^T",
	.semantics = 1,
	.n_in = LOGITS_N_IN,
	.n_out = LOGITS_N_OUT,
	.in = {
		[LOGITS_X_BTD] = {"x_BTD", IN_NO_GRADIENT},
		[LOGITS_W_VD] = {"w_VD", IN_NO_GRADIENT | IN_WEIGHT},
	},
	.out = {[LOGITS_Y_BTV] = {"y_BTV", MASTER, true}},
	.shape = logits_shape,
	.room = {[CUDA] = logits_room_cuda},
	.cost = logits_cost,
	.forward = {[REF] = logits_forward_ref, [CPU] = logits_forward,
		[CUDA] = OP_CUDA(logits_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
