#include "op/conv_silu_step.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/document_start.h"
#include "op/kit/vec.h"
#include "op/trial.h"

enum { SPAN = 128 };	/* channels of a task */

struct conv {
	const struct tensor *x, *past, *w, *bias, *start, *y;
	long B, T, I, K;
};

static struct conv conv_of(const struct tensor *const *in, const struct tensor *y)
{
	const struct tensor *x = in[CONV_SILU_X_BTI], *w = in[CONV_SILU_W_IK];

	return (struct conv){x, in[CONV_SILU_STEP_PAST_BKI], w, in[CONV_SILU_BIAS_I],
		in[CONV_SILU_START_BT], y, x->dims[0], x->dims[1], x->dims[2], tensor_width(w)};
}

static void conv_silu_step_shape(struct op_shapes *s)
{
	struct conv c = conv_of(s->in, NULL);

	CHECK(c.x->n_dims == 3 && tensor_rows(c.w) == c.I && (!c.bias || tensor_size(c.bias) == c.I));
	CHECK(c.K > 1 && c.K <= CONV_SILU_MAX_TAPS && c.past->n_dims == 3);
	CHECK(c.past->dims[0] == c.B && c.past->dims[1] == c.K - 1 && c.past->dims[2] == c.I);
	op_shape_same(s);
}

static void conv_silu_step_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[CONV_SILU_X_BTI]);
	double taps = (double)tensor_width(s->in[CONV_SILU_W_IK]);

	*c = (struct op_cost){.forward_flops = n * (2 * taps + 4), .executed_flops = n * (2 * taps + 4),
		.forward_bytes = op_io_bytes(&op_conv_silu_step, s)};
}

/* Where the row of token t is, which may be one of an earlier call. */
static const struct tensor *row_of(const struct conv *c, long b, long t, long *row)
{
	*row = t < 0 ? b * (c->K - 1) + c->K - 1 + t : b * c->T + t;
	return t < 0 ? c->past : c->x;
}

static void conv_silu_step_forward_ref(const struct op_run *r)
{
	struct conv c = conv_of(r->in, r->out[CONV_SILU_Y_BTI]);
	long row;

	for (long b = 0; b < c.B; b++)
		for (long i = 0; i < c.I; i++) {
			for (long t = 0; t < c.T; t++) {
				double s = c.bias ? row_f64(c.bias, 0)[i] : 0;
				for (long k = 0; k < c.K; k++) {
					const struct tensor *x = row_of(&c, b, t - (c.K - 1) + k, &row);
					if (t - (c.K - 1) + k >= first_seen(c.start, b, t))
						s += row_f64(c.w, i)[k] * row_f64(x, row)[i];
				}
				row_f64(c.y, b * c.T + t)[i] = s / (1 + exp(-s));
			}
			for (long m = 0; m < c.K - 1; m++) {
				const struct tensor *x = row_of(&c, b, c.T - (c.K - 1) + m, &row);
				row_f64(c.past, b * (c.K - 1) + m)[i] = row_f64(x, row)[i];
			}
		}
}

/* One token's channels i to i + n. */
static void token(const struct conv *c, long b, long t, long i, long n)
{
	const float *w = row_f32(c->w, i);
	float *y = row_f32(c->y, b * c->T + t) + i, s[SPAN];
	long row, ld = c->w->ld;

	if (c->bias)
		memcpy(s, row_f32(c->bias, 0) + i, (size_t)n * sizeof *s);
	else
		memset(s, 0, sizeof s);
	for (long k = 0; k < c->K; k++) {
		const struct tensor *x = row_of(c, b, t - (c->K - 1) + k, &row);
		const float *from = row_f32(x, row) + i;
		if (t - (c->K - 1) + k < first_seen(c->start, b, t))
			continue;
		#pragma omp simd
		for (long j = 0; j < n; j++)
			s[j] += w[j * ld + k] * from[j];
	}
	#pragma omp simd
	for (long j = 0; j < n; j++)
		y[j] = s[j] * vec_sigmoid(s[j]);
}

/* Rows are moved up, so none is overwritten before it has been moved. */
static void keep(const struct conv *c, long b, long i, long n)
{
	for (long m = 0; m < c->K - 1; m++) {
		long row;
		const struct tensor *x = row_of(c, b, c->T - (c->K - 1) + m, &row);
		memcpy(row_f32(c->past, b * (c->K - 1) + m) + i, row_f32(x, row) + i,
			(size_t)n * sizeof(float));
	}
}

static void conv_silu_step_forward(const struct op_run *r)
{
	struct conv c = conv_of(r->in, r->out[CONV_SILU_Y_BTI]);
	long n_spans = ceil_div(c.I, SPAN);

	#pragma omp parallel for schedule(static)
	for (long task = 0; task < c.B * n_spans; task++) {
		long b = task / n_spans, i = task % n_spans * SPAN, n = min_long(c.I - i, SPAN);
		for (long t = 0; t < c.T; t++)
			token(&c, b, t, i, n);
		keep(&c, b, i, n);
	}
}

#define SHAPES(B, T, I, K, K1) [CONV_SILU_X_BTI] = {B, T, I}, [CONV_SILU_W_IK] = {I, K}, \
	[CONV_SILU_BIAS_I] = {I}, [CONV_SILU_STEP_PAST_BKI] = {B, K1, I}

static const struct op_example examples[] = {
	{.name = "one token", .in = {SHAPES(2, 1, 131, 4, 3)}},
	{.name = "fewer than taps", .in = {SHAPES(2, 2, 5, 4, 3)}},
	{.name = "two taps", .in = {SHAPES(1, 3, 4, 2, 1)}},
	{.name = "no bias", .in = {[CONV_SILU_X_BTI] = {2, 3, 9}, [CONV_SILU_W_IK] = {9, 4},
		[CONV_SILU_STEP_PAST_BKI] = {2, 3, 9}}},
	{.name = "documents", .prepare = prepare_carried, .in = {SHAPES(3, 21, 19, 5, 4),
		[CONV_SILU_START_BT] = {3, 21}}},
};

const struct op op_conv_silu_step = {
	.name = "conv_silu_step",
	.formula = "conv_silu, over the K - 1 rows that the call before has left, and x",
	.semantics = 1,
	.n_in = CONV_SILU_STEP_N_IN,
	.n_out = CONV_SILU_N_OUT,
	.in = {CONV_SILU_INPUTS, [CONV_SILU_STEP_PAST_BKI] = {"past_BKI", IN_UPDATED}},
	.out = {[CONV_SILU_Y_BTI] = {"y_BTI", REAL, true}},
	.shape = conv_silu_step_shape,
	.cost = conv_silu_step_cost,
	.forward = {[REF] = conv_silu_step_forward_ref, [CPU] = conv_silu_step_forward,
		[CUDA] = OP_CUDA(conv_silu_step_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
