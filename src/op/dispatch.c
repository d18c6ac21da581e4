#include "op/dispatch.h"

#include <string.h>

#include "base/error.h"
#include "op/route.h"
#include "op/trial.h"

static void dispatch_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[DISPATCH_X_BTD], *slot = s->in[DISPATCH_SLOT_BT],
		*token = s->in[DISPATCH_TOKEN_S];

	CHECK(x->n_dims == 3 && slot->n_dims == 2);
	CHECK(slot->dims[0] == x->dims[0] && slot->dims[1] == x->dims[1]);
	CHECK(token->n_dims <= 2 && token->ld == tensor_width(token));
	if (token->n_dims == 1)
		s->out[DISPATCH_XE_SD] = tensor_of(REAL, 2, token->dims[0], tensor_width(x));
	else
		s->out[DISPATCH_XE_SD] = tensor_of(REAL, 3, token->dims[0], token->dims[1],
			tensor_width(x));
}

static void dispatch_cost(const struct op_shapes *s, struct op_cost *c)
{
	*c = (struct op_cost){.forward_bytes = op_io_bytes(&op_dispatch, s),
		.backward_bytes = op_io_bytes(&op_dispatch, s)};
}

static int slot_of(const struct op_run *r, long t)
{
	const struct tensor *slot = r->in[DISPATCH_SLOT_BT];

	return ((int *)slot->at)[route_at(slot, t)];
}

/* Of the buffer. */
static long rows_used(const struct op_run *r)
{
	const struct tensor *first = r->in[DISPATCH_FIRST_E1];

	return row_int(first, 0)[tensor_width(first) - 1];
}

static void dispatch_forward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[DISPATCH_X_BTD], *xe = r->out[DISPATCH_XE_SD];

	const int *token = row_int(r->in[DISPATCH_TOKEN_S], 0);

	for (long s = 0; s < rows_used(r); s++)
		for (long i = 0; i < tensor_width(x); i++)
			row_f64(xe, s)[i] = token[s] < 0 ? 0 : row_f64(x, token[s])[i];
}

static void dispatch_backward_ref(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[DISPATCH_X_BTD], *dxe = r->d_out[DISPATCH_XE_SD];

	for (long t = 0; t < tensor_rows(dx); t++)
		for (long i = 0; i < tensor_width(dx); i++) {
			double *d = row_f64(dx, t) + i;
			*d = (slot_of(r, t) < 0 ? 0 : row_f64(dxe, slot_of(r, t))[i]) +
				(op_adds(r, DISPATCH_X_BTD) ? *d : 0);
		}
}

static void dispatch_forward(const struct op_run *r)
{
	const struct tensor *x = r->in[DISPATCH_X_BTD], *xe = r->out[DISPATCH_XE_SD];
	const int *token = row_int(r->in[DISPATCH_TOKEN_S], 0);
	size_t bytes = (size_t)tensor_width(x) * sizeof(float);
	long n = rows_used(r);

	#pragma omp parallel for schedule(static)
	for (long s = 0; s < n; s++)
		if (token[s] >= 0)
			memcpy(row_f32(xe, s), row_f32(x, token[s]), bytes);
		else
			memset(row_f32(xe, s), 0, bytes);
}

static void dispatch_backward(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[DISPATCH_X_BTD], *dxe = r->d_out[DISPATCH_XE_SD];
	bool add = op_adds(r, DISPATCH_X_BTD);
	long D = tensor_width(dx);

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(dx); t++) {
		int slot = slot_of(r, t);
		float *to = row_f32(dx, t);
		const float *from = row_f32(dxe, slot < 0 ? 0 : slot);
		if (slot < 0 && !add)
			memset(to, 0, (size_t)D * sizeof *to);
		if (slot < 0)
			continue;
		#pragma omp simd
		for (long i = 0; i < D; i++)
			to[i] = from[i] + (add ? to[i] : 0);
	}
}

/* Tokens anywhere in the buffer: in all its rows, or with gaps, or with tokens that have no row. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *slot = t->in[DISPATCH_SLOT_BT], *first = t->in[DISPATCH_FIRST_E1],
		*token = t->in[DISPATCH_TOKEN_S];
	long E = tensor_size(first) - 1;

	op_trial_places(t, slot, token);
	for (long e = 0; e <= E; e++)
		op_trial_set(t, first, e, (double)(tensor_size(token) * e / E));
}

static const struct op_example examples[] = {
	{.name = "permutation", .prepare = prepare, .in = {[DISPATCH_X_BTD] = {3, 7, 9},
		[DISPATCH_SLOT_BT] = {3, 7}, [DISPATCH_FIRST_E1] = {3}, [DISPATCH_TOKEN_S] = {21}}},
	{.name = "gaps, equal segments", .prepare = prepare, .in = {[DISPATCH_X_BTD] = {2, 9, 16},
		[DISPATCH_SLOT_BT] = {2, 9}, [DISPATCH_FIRST_E1] = {4},
		[DISPATCH_TOKEN_S] = {3, 10}}},
	{.name = "drops, many rows", .prepare = prepare, .in = {[DISPATCH_X_BTD] = {3, 50, 40},
		[DISPATCH_SLOT_BT] = {3, 50}, [DISPATCH_FIRST_E1] = {2},
		[DISPATCH_TOKEN_S] = {111}}},
};

const struct op op_dispatch = {
	.name = "dispatch",
	.formula = "xe[slot[t]] = x[t]: tokens sorted by their expert",
	.semantics = 1,
	.n_in = DISPATCH_N_IN,
	.n_out = DISPATCH_N_OUT,
	.in = {
		[DISPATCH_X_BTD] = {"x", 0},
		[DISPATCH_SLOT_BT] = {"slot", IN_INDEX},
		[DISPATCH_FIRST_E1] = {"first", IN_INDEX},
		[DISPATCH_TOKEN_S] = {"token", IN_INDEX},
	},
	.out = {[DISPATCH_XE_SD] = {"xe", REAL, false}},
	.shape = dispatch_shape,
	.cost = dispatch_cost,
	.backward_reads_in = READS(DISPATCH_SLOT_BT),
	.forward = {[REF] = dispatch_forward_ref, [CPU] = dispatch_forward,
		[CUDA] = OP_CUDA(dispatch_forward_cuda)},
	.backward = {[REF] = dispatch_backward_ref, [CPU] = dispatch_backward,
		[CUDA] = OP_CUDA(dispatch_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
