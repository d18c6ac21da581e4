#include "op/trapezoid_step.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/vec.h"
#include "op/trial.h"

struct sizes {
	long B, T, H, P, N;
};

static struct sizes sizes_of(const struct tensor *const *in)
{
	const struct tensor *x = in[TRAPEZOID_STEP_X_BTI];
	long H = tensor_width(in[TRAPEZOID_DTRAW_BTH]);

	return (struct sizes){x->dims[0], x->dims[1], H, x->dims[2] / H, tensor_width(in[TRAPEZOID_STEP_B_BTM]) / H};
}

static void trapezoid_step_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[TRAPEZOID_STEP_X_BTI], *b = s->in[TRAPEZOID_STEP_B_BTM];
	const struct tensor *h = s->in[TRAPEZOID_STEP_H_BIN];
	struct sizes d = sizes_of(s->in);

	CHECK(x->n_dims == 3 && d.H * d.P == x->dims[2] && d.H * d.N == tensor_width(b));
	CHECK(tensor_same_shape(b, s->in[TRAPEZOID_STEP_C_BTM]) && tensor_rows(b) == d.B * d.T);
	CHECK(tensor_rows(s->in[TRAPEZOID_DTRAW_BTH]) == d.B * d.T && tensor_size(s->in[TRAPEZOID_STEP_D_H]) == d.H);
	CHECK(h->n_dims == 3 && h->dims[0] == d.B && h->dims[1] == d.H * d.P && h->dims[2] == d.N);
	CHECK(tensor_rows(s->in[TRAPEZOID_STEP_PASTX_BI]) == d.B &&
		tensor_width(s->in[TRAPEZOID_STEP_PASTX_BI]) == d.H * d.P);
	CHECK(tensor_rows(s->in[TRAPEZOID_STEP_PASTB_BM]) == d.B &&
		tensor_width(s->in[TRAPEZOID_STEP_PASTB_BM]) == d.H * d.N);
	s->out[TRAPEZOID_STEP_Y_BTI] = tensor_of(REAL, 3, d.B, d.T, d.H * d.P);
}

/* Per token and state: decay, two products and their sum, C h. */
static void trapezoid_step_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct sizes d = sizes_of(s->in);
	double channels = (double)(d.B * d.T * d.H * d.P);

	*c = (struct op_cost){.forward_flops = channels * (7 * (double)d.N + 4),
		.forward_bytes = op_io_bytes(&op_trapezoid_step, s)};
	c->executed_flops = c->forward_flops;
}

/* Inputs: those of the call's tokens, and the row that an earlier call has left. */
struct before {
	int now, past;
};

static const struct before before_x = {TRAPEZOID_STEP_X_BTI, TRAPEZOID_STEP_PASTX_BI},
	before_B = {TRAPEZOID_STEP_B_BTM, TRAPEZOID_STEP_PASTB_BM};

/* Where the row of token t - 1 is. */
static const struct tensor *row_before(const struct op_run *r, struct before from, long b, long t, long *row)
{
	*row = t > 0 ? b * r->in[from.now]->dims[1] + t - 1 : b;
	return r->in[t > 0 ? from.now : from.past];
}

/* Of the last token, by the bytes of an element. */
static void keep(const struct op_run *r, size_t bytes)
{
	const struct before each[] = {before_x, before_B};

	for (int i = 0; i < 2; i++) {
		const struct tensor *from = r->in[each[i].now], *to = r->in[each[i].past];
		for (long b = 0; b < from->dims[0]; b++)
			memcpy((char *)to->at + (size_t)(b * to->ld) * bytes,
				(char *)from->at + (size_t)(((b + 1) * from->dims[1] - 1) * from->ld) * bytes,
				(size_t)tensor_width(from) * bytes);
	}
}

static void channel_ref(const struct op_run *r, struct sizes d, long b, long i)
{
	long head = i / d.P, row_x, row_b;
	double *h = row_f64(r->in[TRAPEZOID_STEP_H_BIN], b * d.H * d.P + i);

	for (long t = 0, row = b * d.T; t < d.T; t++, row++) {
		bool fresh = begins_document(r->in[TRAPEZOID_START_BT], b, t);
		double dt = softplus_f64(row_f64(r->in[TRAPEZOID_DTRAW_BTH], row)[head] +
			row_f64(r->in[TRAPEZOID_DTBIAS_H], 0)[head]);
		double a = row_f64(r->in[TRAPEZOID_ARAW_BTH], row)[head];
		double rate = fmax(a >= 0 ? 1 + a : 1 / (1 - a), TRAPEZOID_LEAST_RATE);
		double lambda = sigmoid_f64(row_f64(r->in[TRAPEZOID_LRAW_BTH], row)[head]);
		double left = fresh ? 0 : exp(-dt * rate), x = row_f64(r->in[TRAPEZOID_STEP_X_BTI], row)[i];
		const double *B = row_f64(r->in[TRAPEZOID_STEP_B_BTM], row) + head * d.N;
		const double *C = row_f64(r->in[TRAPEZOID_STEP_C_BTM], row) + head * d.N;
		const struct tensor *past_x = row_before(r, before_x, b, t, &row_x);
		const struct tensor *past_b = row_before(r, before_B, b, t, &row_b);
		double y = row_f64(r->in[TRAPEZOID_STEP_D_H], 0)[head] * x;
		for (long n = 0; n < d.N; n++) {
			double before = row_f64(past_x, row_x)[i] * row_f64(past_b, row_b)[head * d.N + n];
			h[n] = left * (h[n] + (1 - lambda) * dt * before) + lambda * dt * x * B[n];
			y += h[n] * C[n];
		}
		row_f64(r->out[TRAPEZOID_STEP_Y_BTI], row)[i] = y;
	}
}

static void trapezoid_step_forward_ref(const struct op_run *r)
{
	struct sizes d = sizes_of(r->in);

	for (long k = 0; k < d.B * d.H * d.P; k++)
		channel_ref(r, d, k / (d.H * d.P), k % (d.H * d.P));
	keep(r, sizeof(double));
}

/* ---- cpu: a task is a channel --------------------------------------------------------------- */

/* y of one channel, its states going on by one token: left (h + before past_B) + now B. */
static float step(float left, float before, const float *past_B, float now, const float *B, const float *C, long N,
	float *h)
{
	float sum = 0;

	#pragma omp simd reduction(+:sum)
	for (long n = 0; n < N; n++) {
		h[n] = left * (h[n] + before * past_B[n]) + now * B[n];
		sum += h[n] * C[n];
	}
	return sum;
}

static void channel(const struct op_run *r, struct sizes d, long b, long i)
{
	long head = i / d.P, first = head * d.N, row_x, row_b;
	float *h = row_f32(r->in[TRAPEZOID_STEP_H_BIN], b * d.H * d.P + i);
	float D = row_f32(r->in[TRAPEZOID_STEP_D_H], 0)[head], bias = row_f32(r->in[TRAPEZOID_DTBIAS_H], 0)[head];

	for (long t = 0, row = b * d.T; t < d.T; t++, row++) {
		float dt = vec_softplus(row_f32(r->in[TRAPEZOID_DTRAW_BTH], row)[head] + bias);
		float a = row_f32(r->in[TRAPEZOID_ARAW_BTH], row)[head], f = a >= 0 ? 1 + a : 1 / (1 - a);
		float rate = f > (float)TRAPEZOID_LEAST_RATE ? f : (float)TRAPEZOID_LEAST_RATE;
		float lambda = vec_sigmoid(row_f32(r->in[TRAPEZOID_LRAW_BTH], row)[head]);
		float left = begins_document(r->in[TRAPEZOID_START_BT], b, t) ? 0 : vec_exp(-dt * rate);
		float x = row_f32(r->in[TRAPEZOID_STEP_X_BTI], row)[i];
		const struct tensor *past_x = row_before(r, before_x, b, t, &row_x);
		const struct tensor *past_b = row_before(r, before_B, b, t, &row_b);
		row_f32(r->out[TRAPEZOID_STEP_Y_BTI], row)[i] = D * x + step(left,
			(1 - lambda) * dt * row_f32(past_x, row_x)[i], row_f32(past_b, row_b) + first,
			lambda * dt * x, row_f32(r->in[TRAPEZOID_STEP_B_BTM], row) + first,
			row_f32(r->in[TRAPEZOID_STEP_C_BTM], row) + first, d.N, h);
	}
}

static void trapezoid_step_forward(const struct op_run *r)
{
	struct sizes d = sizes_of(r->in);

	#pragma omp parallel for schedule(static)
	for (long k = 0; k < d.B * d.H * d.P; k++)
		channel(r, d, k / (d.H * d.P), k % (d.H * d.P));
	keep(r, sizeof(float));
}

#define SHAPES(B, T, H, P, N) TRAPEZOID_SHAPES(B, T, H), [TRAPEZOID_STEP_X_BTI] = {B, T, (H) * (P)}, \
	[TRAPEZOID_STEP_B_BTM] = {B, T, (H) * (N)}, [TRAPEZOID_STEP_C_BTM] = {B, T, (H) * (N)}, \
	[TRAPEZOID_STEP_D_H] = {H}, [TRAPEZOID_STEP_H_BIN] = {B, (H) * (P), N}, \
	[TRAPEZOID_STEP_PASTX_BI] = {B, (H) * (P)}, [TRAPEZOID_STEP_PASTB_BM] = {B, (H) * (N)}

static const struct op_example examples[] = {
	{.name = "one token", .prepare = prepare_carried, .in = {SHAPES(2, 1, 3, 5, 16)}},
	{.name = "some", .prepare = prepare_carried, .in = {SHAPES(2, 7, 2, 3, 6)}},
	{.name = "documents", .prepare = prepare_carried,
		.in = {SHAPES(3, 21, 2, 4, 7), [TRAPEZOID_START_BT] = {3, 21}}},
};

const struct op op_trapezoid_step = {
	.name = "trapezoid_step",
	.formula = "trapezoid and ssd, from the states h and the last x and B that the call before has left",
	.semantics = 1,
	.n_in = TRAPEZOID_STEP_N_IN,
	.n_out = TRAPEZOID_STEP_N_OUT,
	.in = {
		TRAPEZOID_INPUTS,
		[TRAPEZOID_STEP_X_BTI] = {"x_BTI", 0},
		[TRAPEZOID_STEP_B_BTM] = {"B_BTM", 0},
		[TRAPEZOID_STEP_C_BTM] = {"C_BTM", 0},
		[TRAPEZOID_STEP_D_H] = {"D_H", IN_MASTER},
		[TRAPEZOID_STEP_H_BIN] = {"h_BIN", IN_MASTER | IN_UPDATED},
		[TRAPEZOID_STEP_PASTX_BI] = {"past_x_BI", IN_UPDATED},
		[TRAPEZOID_STEP_PASTB_BM] = {"past_B_BM", IN_UPDATED},
	},
	.out = {[TRAPEZOID_STEP_Y_BTI] = {"y_BTI", REAL, true}},
	.shape = trapezoid_step_shape,
	.cost = trapezoid_step_cost,
	.forward = {[REF] = trapezoid_step_forward_ref, [CPU] = trapezoid_step_forward,
		[CUDA] = OP_CUDA(trapezoid_step_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
