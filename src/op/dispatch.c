#include "op/dispatch.h"

#include <string.h>

#include "base/error.h"
#include "op/kit/token.h"
#include "op/trial.h"

static void dispatch_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[DISPATCH_X_BTD], *slot = s->in[DISPATCH_SLOT_BTK],
		*token = s->in[DISPATCH_TOKEN_S];

	CHECK(x->n_dims == 3 && (slot->n_dims == 2 || slot->n_dims == 3));
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

static int slot_of(const struct op_run *r, long i)
{
	return *int_at(r->in[DISPATCH_SLOT_BTK], i);
}

/* K, choices of a token, of which there are n. */
static long choices_of(const struct op_run *r, long n)
{
	return tensor_size(r->in[DISPATCH_SLOT_BTK]) / n;
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
	const int *choice = row_int(r->in[DISPATCH_TOKEN_S], 0);
	long K = choices_of(r, tensor_rows(x));

	for (long s = 0; s < rows_used(r); s++)
		for (long i = 0; i < tensor_width(x); i++)
			row_f64(xe, s)[i] = choice[s] < 0 ? 0 : row_f64(x, choice[s] / K)[i];
}

static void dispatch_backward_ref(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[DISPATCH_X_BTD], *dxe = r->d_out[DISPATCH_XE_SD];
	long K = choices_of(r, tensor_rows(dx));

	for (long t = 0; t < tensor_rows(dx); t++)
		for (long i = 0; i < tensor_width(dx); i++) {
			double *d = row_f64(dx, t) + i, sum = op_adds(r, DISPATCH_X_BTD) ? *d : 0;
			for (long k = t * K; k < (t + 1) * K; k++)
				sum += slot_of(r, k) < 0 ? 0 : row_f64(dxe, slot_of(r, k))[i];
			*d = sum;
		}
}

static void dispatch_forward(const struct op_run *r)
{
	const struct tensor *x = r->in[DISPATCH_X_BTD], *xe = r->out[DISPATCH_XE_SD];
	const int *choice = row_int(r->in[DISPATCH_TOKEN_S], 0);
	size_t bytes = (size_t)tensor_width(x) * sizeof(float);
	long n = rows_used(r), K = choices_of(r, tensor_rows(x));

	#pragma omp parallel for schedule(static)
	for (long s = 0; s < n; s++)
		if (choice[s] >= 0)
			memcpy(row_f32(xe, s), row_f32(x, choice[s] / K), bytes);
		else
			memset(row_f32(xe, s), 0, bytes);
}

static void dispatch_backward(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[DISPATCH_X_BTD], *dxe = r->d_out[DISPATCH_XE_SD];
	long D = tensor_width(dx), K = choices_of(r, tensor_rows(dx));

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(dx); t++) {
		bool add = op_adds(r, DISPATCH_X_BTD);
		float *to = row_f32(dx, t);
		for (long k = t * K; k < (t + 1) * K; k++) {
			int slot = slot_of(r, k);
			const float *from = row_f32(dxe, slot < 0 ? 0 : slot);
			if (slot < 0)
				continue;
			#pragma omp simd
			for (long i = 0; i < D; i++)
				to[i] = from[i] + (add ? to[i] : 0);
			add = true;
		}
		if (!add)
			memset(to, 0, (size_t)D * sizeof *to);
	}
}

/* Choices anywhere in the buffer: in all its rows, or with gaps, or with choices that have no row. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *slot = t->in[DISPATCH_SLOT_BTK], *first = t->in[DISPATCH_FIRST_E1],
		*token = t->in[DISPATCH_TOKEN_S];
	long E = tensor_size(first) - 1;

	op_trial_places(t, slot, token);
	for (long e = 0; e <= E; e++)
		op_trial_set(t, first, e, (double)(tensor_size(token) * e / E));
}

static const struct op_example examples[] = {
	{.name = "permutation", .prepare = prepare, .in = {[DISPATCH_X_BTD] = {3, 7, 9},
		[DISPATCH_SLOT_BTK] = {3, 7}, [DISPATCH_FIRST_E1] = {3}, [DISPATCH_TOKEN_S] = {21}}},
	{.name = "gaps, equal segments", .prepare = prepare, .in = {[DISPATCH_X_BTD] = {2, 9, 16},
		[DISPATCH_SLOT_BTK] = {2, 9}, [DISPATCH_FIRST_E1] = {4},
		[DISPATCH_TOKEN_S] = {3, 10}}},
	{.name = "drops, many rows", .prepare = prepare, .in = {[DISPATCH_X_BTD] = {3, 50, 40},
		[DISPATCH_SLOT_BTK] = {3, 50}, [DISPATCH_FIRST_E1] = {2},
		[DISPATCH_TOKEN_S] = {111}}},
	{.name = "three choices, gaps", .prepare = prepare, .in = {[DISPATCH_X_BTD] = {2, 9, 16},
		[DISPATCH_SLOT_BTK] = {2, 9, 3}, [DISPATCH_FIRST_E1] = {4},
		[DISPATCH_TOKEN_S] = {3, 20}}},
	{.name = "two choices, drops", .prepare = prepare, .in = {[DISPATCH_X_BTD] = {3, 50, 39},
		[DISPATCH_SLOT_BTK] = {3, 50, 2}, [DISPATCH_FIRST_E1] = {2},
		[DISPATCH_TOKEN_S] = {111}}},
};

const struct op op_dispatch = {
	.name = "dispatch",
	.formula = "xe[slot[i]] = x[token of choice i]: choices sorted by their expert",
	.semantics = 1,
	.n_in = DISPATCH_N_IN,
	.n_out = DISPATCH_N_OUT,
	.in = {
		[DISPATCH_X_BTD] = {"x", 0},
		[DISPATCH_SLOT_BTK] = {"slot", IN_INDEX},
		[DISPATCH_FIRST_E1] = {"first", IN_INDEX},
		[DISPATCH_TOKEN_S] = {"token", IN_INDEX},
	},
	.out = {[DISPATCH_XE_SD] = {"xe", REAL, false}},
	.shape = dispatch_shape,
	.cost = dispatch_cost,
	.backward_reads_in = READS(DISPATCH_SLOT_BTK),
	.forward = {[REF] = dispatch_forward_ref, [CPU] = dispatch_forward,
		[CUDA] = OP_CUDA(dispatch_forward_cuda)},
	.backward = {[REF] = dispatch_backward_ref, [CPU] = dispatch_backward,
		[CUDA] = OP_CUDA(dispatch_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
