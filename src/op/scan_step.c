#include "op/scan_step.h"

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/vec.h"
#include "op/scan_kernels.h"
#include "op/trial.h"

/* A of each channel */
static void room_cpu(struct op_shapes *s)
{
	s->forward_workspace = (size_t)tensor_size(s->in[SCAN_H_BIN]) * sizeof(float);
}

static void scan_step_cost(const struct op_shapes *s, struct op_cost *c)
{
	scan_cost(s, c);
	c->executed_flops = c->forward_flops;
	c->forward_bytes = op_io_bytes(&op_scan_step, s);
	c->backward_flops = c->backward_bytes = 0;
}

/* s_t of one channel, its states h going on by one token. */
static float step(const struct op_run *r, long row, bool fresh, float dt, float u, const float *a,
	float *h)
{
	long N = tensor_width(r->in[SCAN_B_BTN]);
	const float *B = row_f32(r->in[SCAN_B_BTN], row), *C = row_f32(r->in[SCAN_C_BTN], row);
	float sum = 0;

	#pragma omp simd reduction(+:sum)
	for (long n = 0; n < N; n++) {
		float past = fresh ? 0.0f : vec_exp(dt * a[n]) * h[n];
		h[n] = past + dt * u * B[n];
		sum += h[n] * C[n];
	}
	return sum;
}

static void channel(const struct op_run *r, struct scan_dims d, long b, long i, float *a)
{
	const float *a_log = row_f32(r->in[SCAN_ALOG_IN], i);
	float *h = row_f32(r->in[SCAN_H_BIN], b * d.I + i), D = row_f32(r->in[SCAN_D_I], 0)[i];
	float bias = row_f32(r->in[SCAN_DTBIAS_I], 0)[i];

	for (long n = 0; n < d.N; n++)
		a[n] = -vec_exp(a_log[n]);
	for (long t = 0; t < d.T; t++) {
		long row = b * d.T + t;
		float u = row_f32(r->in[SCAN_U_BTI], row)[i];
		float dt = vec_softplus(row_f32(r->in[SCAN_DTRAW_BTI], row)[i] + bias);
		float s = D * u + step(r, row, begins_document(r->in[SCAN_START_BT], b, t), dt, u, a, h);
		if (r->in[SCAN_Z_BTI]) {
			float z = row_f32(r->in[SCAN_Z_BTI], row)[i];
			s *= z * vec_sigmoid(z);
		}
		row_f32(r->out[SCAN_Y_BTI], row)[i] = s;
	}
}

static void scan_step_forward(const struct op_run *r)
{
	struct scan_dims d = scan_dims(r->in);
	float *a = r->workspace;

	#pragma omp parallel for schedule(static)
	for (long k = 0; k < d.B * d.I; k++)
		channel(r, d, k / d.I, k % d.I, a + k * d.N);
}

#define SHAPES(B, T, I, N) SCAN_SHAPES(B, T, I, N), [SCAN_H_BIN] = {B, I, N}

static const struct op_example examples[] = {
	{.name = "one token", .in = {SHAPES(2, 1, 19, 16), [SCAN_Z_BTI] = {2, 1, 19}}},
	{.name = "some", .in = {SHAPES(2, 7, 37, 5)}},
	{.name = "documents", .prepare = prepare_carried, .in = {SHAPES(3, 21, 5, 7), [SCAN_Z_BTI] = {3, 21, 5},
		[SCAN_START_BT] = {3, 21}}},
};

const struct op op_scan_step = {
	.name = "scan_step",
	.formula = "scan, from the states h that the call before has left",
	.semantics = 1,
	.n_in = SCAN_CARRIED_N_IN,
	.n_out = SCAN_N_OUT,
	.in = {SCAN_INPUTS, [SCAN_H_BIN] = {"h_BIN", IN_MASTER | IN_UPDATED}},
	.out = {[SCAN_Y_BTI] = {"y_BTI", REAL, true}},
	.shape = scan_shape,
	.room = {[CPU] = room_cpu},
	.cost = scan_step_cost,
	.forward = {[REF] = scan_forward_ref, [CPU] = scan_step_forward,
		[CUDA] = OP_CUDA(scan_step_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
