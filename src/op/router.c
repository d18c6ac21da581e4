#include "op/router.h"

#include "base/error.h"
#include "base/num.h"
#include "op/kit/gemm.h"
#include "op/kit/gradient.h"
#include "op/kit/reduce.h"
#include "op/kit/rows.h"

enum { TILE = 64 };	/* tokens of one product; divides ROUTER_PART */

static long parts_of(const struct tensor *x)
{
	return ceil_div(tensor_rows(x), ROUTER_PART);
}

static void router_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[ROUTER_X_BTD], *w = s->in[ROUTER_W_ED];

	CHECK(x->n_dims == 3 && w->n_dims == 2 && w->dims[1] == x->dims[2]);
	s->out[ROUTER_LOGIT_BTE] = tensor_of(MASTER, 3, x->dims[0], x->dims[1], w->dims[0]);
}

static void router_room_cpu(struct op_shapes *s)
{
	s->backward_workspace = (size_t)(parts_of(s->in[ROUTER_X_BTD]) *
		tensor_size(s->in[ROUTER_W_ED])) * sizeof(float);
}

static void router_cost(const struct op_shapes *s, struct op_cost *c)
{
	double products = (double)tensor_rows(s->in[ROUTER_X_BTD]) *
		(double)tensor_size(s->in[ROUTER_W_ED]);

	c->forward_flops = 2 * products;
	c->backward_flops = 4 * products;
	c->executed_flops = c->forward_flops + c->backward_flops;
	c->forward_bytes = op_io_bytes(&op_router, s);
	c->backward_bytes = 2 * c->forward_bytes;
}

static void router_forward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[ROUTER_X_BTD], *w = r->in[ROUTER_W_ED],
		*logit = r->out[ROUTER_LOGIT_BTE];

	for (long t = 0; t < tensor_rows(x); t++)
		for (long e = 0; e < w->dims[0]; e++)
			row_f64(logit, t)[e] = row_dot_f64(row_f64(w, e), row_f64(x, t), tensor_width(x));
}

static void router_backward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[ROUTER_X_BTD], *w = r->in[ROUTER_W_ED], *dlogit = r->d_out[ROUTER_LOGIT_BTE];

	clear_gradient(r, ROUTER_X_BTD);
	clear_gradient(r, ROUTER_W_ED);
	for (long t = 0; t < tensor_rows(x); t++)
		for (long e = 0; e < w->dims[0]; e++)
			for (long i = 0; i < tensor_width(x); i++) {
				double d = row_f64(dlogit, t)[e];
				add_gradient(r, ROUTER_X_BTD, t, i, d * row_f64(w, e)[i]);
				add_gradient(r, ROUTER_W_ED, e, i, d * row_f64(x, t)[i]);
			}
}

static void router_forward(const struct op_run *r)
{
	const struct tensor *x = r->in[ROUTER_X_BTD], *w = r->in[ROUTER_W_ED],
		*logit = r->out[ROUTER_LOGIT_BTE];
	long n = tensor_rows(x);

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < n; t += TILE)
		gemm(GEMM_N, GEMM_T, min_long(n - t, TILE), w->dims[0], tensor_width(x), 1,
			row_f32(x, t), x->ld, row_f32(w, 0), w->ld, 0, row_f32(logit, t),
			logit->ld);
}

static void router_backward(const struct op_run *r)
{
	const struct tensor *x = r->in[ROUTER_X_BTD], *w = r->in[ROUTER_W_ED],
		*dx = r->d_in[ROUTER_X_BTD], *dw = r->d_in[ROUTER_W_ED],
		*dlogit = r->d_out[ROUTER_LOGIT_BTE];
	long n = tensor_rows(x), D = tensor_width(x), E = w->dims[0];
	float *parts = r->workspace;

	#pragma omp parallel for schedule(static)
	for (long part = 0; part < parts_of(x); part++) {
		long t = part * ROUTER_PART, m = min_long(n - t, ROUTER_PART);
		if (dx)
			gemm(GEMM_N, GEMM_N, m, D, E, 1, row_f32(dlogit, t), dlogit->ld,
				row_f32(w, 0), w->ld, op_adds(r, ROUTER_X_BTD), row_f32(dx, t),
				dx->ld);
		if (dw)
			gemm(GEMM_T, GEMM_N, E, D, m, 1, row_f32(dlogit, t), dlogit->ld,
				row_f32(x, t), x->ld, 0, parts + part * E * D, D);
	}
	if (dw)
		reduce_parts(dw->at, parts, parts_of(x), E * D, op_adds(r, ROUTER_W_ED));
}

static const struct op_example examples[] = {
	{.name = "plain", .in = {[ROUTER_X_BTD] = {2, 3, 7}, [ROUTER_W_ED] = {4, 7}}},
	{.name = "one expert", .in = {[ROUTER_X_BTD] = {1, 5, 8}, [ROUTER_W_ED] = {1, 8}}},
	{.name = "tiles", .in = {[ROUTER_X_BTD] = {3, 50, 72}, [ROUTER_W_ED] = {70, 72}}},
	{.name = "several parts", .in = {[ROUTER_X_BTD] = {2, 519, 16}, [ROUTER_W_ED] = {3, 16}}},
	{.name = "tensor cores", .in = {[ROUTER_X_BTD] = {3, 360, 40}, [ROUTER_W_ED] = {70, 40}}},
};

const struct op op_router = {
	.name = "router",
	.formula = "logit = W x",
	.semantics = 1,
	.n_in = ROUTER_N_IN,
	.n_out = ROUTER_N_OUT,
	.in = {
		[ROUTER_X_BTD] = {"x", 0},
		[ROUTER_W_ED] = {"w", IN_MASTER},
	},
	.out = {[ROUTER_LOGIT_BTE] = {"logit", MASTER, false}},
	.shape = router_shape,
	.room = {[CPU] = router_room_cpu, [CUDA] = OP_CUDA(router_room_cuda)},
	.cost = router_cost,
	.backward_reads_in = READS(ROUTER_X_BTD) | READS(ROUTER_W_ED),
	.forward = {[REF] = router_forward_ref, [CPU] = router_forward,
		[CUDA] = OP_CUDA(router_forward_cuda)},
	.backward = {[REF] = router_backward_ref, [CPU] = router_backward,
		[CUDA] = OP_CUDA(router_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
