/*
 * trapezoid_step: a thread has a channel of a sequence and walks through tokens and states, as in ssd_step.cu;
 * then another kernel keeps x and B of the last token.
 */
extern "C" {
#include "op/trapezoid_step.h"
}
#include "op/cuda/kit.cuh"
#include "op/kit/vec.h"

namespace {

enum { THREADS = 64 };

template <typename real>
struct operands {
	rows<const real> dtraw, araw, lraw, x, B, C;
	rows<const float> bias, D;
	rows<const int> start;
	rows<float> h;
	rows<real> past_x, past_B, y;
	long T, H, P, N;
};

template <typename real>
__global__ void step_kernel(operands<real> o)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x, b = blockIdx.y, I = o.H * o.P;

	if (i >= I)
		return;
	long head = i / o.P, first = head * o.N;
	float *h = o.h[b * I + i];
	for (long t = 0; t < o.T; t++) {
		long row = b * o.T + t;
		float dt = vec_softplus(to_float(o.dtraw[row][head]) + o.bias[0][head]);
		float a = to_float(o.araw[row][head]), f = a >= 0 ? 1 + a : 1 / (1 - a);
		float lambda = vec_sigmoid(to_float(o.lraw[row][head]));
		bool fresh = o.start.at && o.start[b][t] == t;
		float left = fresh ? 0.0f : vec_exp(-dt * fmaxf(f, (float)TRAPEZOID_LEAST_RATE));
		float x = to_float(o.x[row][i]), y = o.D[0][head] * x;
		const real *past_B = (t ? o.B[row - 1] : o.past_B[b]) + first;
		float before = (1 - lambda) * dt * to_float(t ? o.x[row - 1][i] : o.past_x[b][i]);
		for (long n = 0; n < o.N; n++) {
			h[n] = left * (h[n] + before * to_float(past_B[n])) +
				lambda * dt * x * to_float(o.B[row][first + n]);
			y += h[n] * to_float(o.C[row][first + n]);
		}
		o.y[row][i] = from_float<real>(y);
	}
}

/* Launched on sequences. */
template <typename real>
__global__ void keep_kernel(operands<real> o)
{
	long b = blockIdx.x, last = (b + 1) * o.T - 1;

	for (long i = threadIdx.x; i < o.H * o.P; i += THREADS)
		o.past_x[b][i] = o.x[last][i];
	for (long i = threadIdx.x; i < o.H * o.N; i += THREADS)
		o.past_B[b][i] = o.B[last][i];
}

}  // namespace

extern "C" void trapezoid_step_forward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[TRAPEZOID_STEP_X_BTI], *B = r->in[TRAPEZOID_STEP_B_BTM];
	long H = tensor_width(r->in[TRAPEZOID_DTRAW_BTH]);

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = {rows_of<const real>(r->in[TRAPEZOID_DTRAW_BTH]),
			rows_of<const real>(r->in[TRAPEZOID_ARAW_BTH]),
			rows_of<const real>(r->in[TRAPEZOID_LRAW_BTH]), rows_of<const real>(x),
			rows_of<const real>(B), rows_of<const real>(r->in[TRAPEZOID_STEP_C_BTM]),
			rows_of<const float>(r->in[TRAPEZOID_DTBIAS_H]),
			rows_of<const float>(r->in[TRAPEZOID_STEP_D_H]),
			rows_of<const int>(r->in[TRAPEZOID_START_BT]),
			rows_of<float>(r->in[TRAPEZOID_STEP_H_BIN]),
			rows_of<real>(r->in[TRAPEZOID_STEP_PASTX_BI]),
			rows_of<real>(r->in[TRAPEZOID_STEP_PASTB_BM]),
			rows_of<real>(r->out[TRAPEZOID_STEP_Y_BTI]), x->dims[1], H, x->dims[2] / H,
			tensor_width(B) / H};
		launch(r, step_kernel<real>, dim3((unsigned)ceil_div(x->dims[2], THREADS),
			(unsigned)x->dims[0]), THREADS, 0, o);
		launch(r, keep_kernel<real>, dim3((unsigned)x->dims[0]), THREADS, 0, o);
	});
}
