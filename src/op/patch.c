#include "op/patch.h"

#include <math.h>

#include "base/error.h"
#include "base/half.h"
#include "op/kit/host.h"
#include "op/trial.h"

static void patch_shape(struct op_shapes *s)
{
	const struct patch_attr *a = s->attr;
	const struct tensor *token = s->in[PATCH_TOKEN_BT], *target = s->in[PATCH_TARGET_BT];
	long B = token->dims[0], N = token->dims[1] / a->size;

	CHECK(token->n_dims == 2 && N > 0 && token->dims[1] == N * a->size);
	CHECK(!target || tensor_same_shape(target, token));
	s->out[PATCH_X_BNF] = tensor_of(REAL, 3, B, N, a->halves ? 2 * a->size : a->size);
	s->out[PATCH_SCALE_B2] = tensor_of(MASTER, 2, B, 2L);
	s->out[PATCH_TOKEN_BN] = s->out[PATCH_TARGET_BN] = tensor_of(INDEX, 2, B, N);
}

static void patch_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct patch_attr *a = s->attr;
	double n = (a->halves ? 5.0 : 2.0) * (double)tensor_size(s->in[PATCH_TOKEN_BT]);

	*c = (struct op_cost){.forward_flops = n, .executed_flops = n, .forward_bytes = op_io_bytes(&op_patch, s)};
}

/* m and s of a row of halves. */
static void moments(const int *id, long T, double *m, double *s)
{
	double sum = 0, square = 0;
	long n = 0;

	*m = 0;
	*s = 1;
	for (long t = 0; t < T; t++)
		if (!half_is_missing(id[t])) {
			sum += half_value(id[t]);
			n++;
		}
	if (!n)
		return;
	*m = sum / (double)n;
	for (long t = 0; t < T; t++)
		square += half_is_missing(id[t]) ? 0 : pow(half_value(id[t]) - *m, 2);
	*s = sqrt(square / (double)n + PATCH_EPS);
}

static void patch_row(const struct op_run *r, long b)
{
	const struct patch_attr *a = r->attr;
	const struct tensor *token = r->in[PATCH_TOKEN_BT], *target = r->in[PATCH_TARGET_BT];
	const int *id = row_int(token, b);
	long P = a->size, T = tensor_width(token), N = T / P;
	double m = 0, s = 1;

	if (a->halves)
		moments(id, T, &m, &s);
	host_put(r, r->out[PATCH_SCALE_B2], b, 0, m);
	host_put(r, r->out[PATCH_SCALE_B2], b, 1, s);
	for (long t = 0; t < T; t++) {
		bool missing = a->halves ? half_is_missing(id[t]) : id[t] > 255;
		double v = missing ? 0 : a->halves ? (half_value(id[t]) - m) / s : id[t] / 127.5 - 1;
		host_put(r, r->out[PATCH_X_BNF], b * N + t / P, t % P, v);
		if (a->halves)
			host_put(r, r->out[PATCH_X_BNF], b * N + t / P, P + t % P, missing);
	}
	for (long n = 0; n < N; n++) {
		row_int(r->out[PATCH_TOKEN_BN], b)[n] = id[n * P + P - 1];
		row_int(r->out[PATCH_TARGET_BN], b)[n] = target ? row_int(target, b)[n * P + P - 1] : -1;
	}
}

/* For all devices of the host: in float64 up to the rounding of what is stored. */
static void patch_forward(const struct op_run *r)
{
	#pragma omp parallel for schedule(static)
	for (long b = 0; b < tensor_rows(r->in[PATCH_TOKEN_BT]); b++)
		patch_row(r, b);
}

/* Bytes and ids above them; halves of all sizes, infinities and what is missing. */
static void prepare(const struct op_trial *t)
{
	const struct patch_attr *a = t->run.attr;

	for (int k = PATCH_TOKEN_BT; k <= PATCH_TARGET_BT; k++)
		for (long i = 0; t->in[k] && i < tensor_size(t->in[k]); i++) {
			double value = 3 * sin(1.7 * (double)(i + 1)) + (double)(i % 3);
			op_trial_set(t, t->in[k], i, !a->halves ? (double)(i * 37 % 300) : i % 7 == 3 ? HALF_MISSING :
				i % 29 == 11 ? 0x7c00 : half_bits(value));
		}
}

static void prepare_missing(const struct op_trial *t)
{
	for (long i = 0; i < tensor_size(t->in[PATCH_TOKEN_BT]); i++)
		op_trial_set(t, t->in[PATCH_TOKEN_BT], i, HALF_MISSING);
}

static const struct patch_attr bytes4 = {4, false}, bytes1 = {1, false}, halves8 = {8, true}, halves3 = {3, true};

static const struct op_example examples[] = {
	{.name = "bytes", .attr = &bytes4, .in = {{3, 40}, {3, 40}}, .prepare = prepare},
	{.name = "bytes one by one", .attr = &bytes1, .in = {{2, 9}}, .prepare = prepare},
	{.name = "halves", .attr = &halves8, .in = {{3, 640}, {3, 640}}, .prepare = prepare},
	{.name = "three halves", .attr = &halves3, .in = {{2, 21}}, .prepare = prepare},
	{.name = "all missing", .attr = &halves3, .in = {{2, 21}}, .prepare = prepare_missing},
};

const struct op op_patch = {
	.name = "patch",
	.formula = "x = id / 127.5 - 1, or (half(id) - mean) / deviation of the row; P of them a position",
	.semantics = 1,
	.n_in = PATCH_N_IN,
	.n_out = PATCH_N_OUT,
	.in = {
		[PATCH_TOKEN_BT] = {"token_BT", IN_INDEX},
		[PATCH_TARGET_BT] = {"target_BT", IN_OPTIONAL | IN_INDEX},
	},
	.out = {
		[PATCH_X_BNF] = {"x_BNF", REAL, true},
		[PATCH_SCALE_B2] = {"scale_B2", MASTER, true},
		[PATCH_TOKEN_BN] = {"token_BN", INDEX, true},
		[PATCH_TARGET_BN] = {"target_BN", INDEX, true},
	},
	.shape = patch_shape,
	.cost = patch_cost,
	.forward = {[REF] = patch_forward, [CPU] = patch_forward, [CUDA] = OP_CUDA(patch_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
