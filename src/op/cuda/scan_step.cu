/*
 * scan_step: a thread has a channel of a sequence and walks through tokens and states, which stay where
 * they are. Bytes: those of the states, twice, and of the inputs, once.
 */
extern "C" {
#include "op/scan_kernels.h"
#include "op/scan_step.h"
}
#include "op/cuda/kit.cuh"
#include "op/kit/vec.h"

namespace {

enum { THREADS = 64 };

template <typename real>
struct operands {
	rows<const real> u, dtraw, B, C, z;
	rows<const float> a_log, D, bias;
	rows<const int> start;
	rows<float> h;
	rows<real> y;
	long I, T;
	int N;
};

template <typename real>
__global__ void scan_step_kernel(operands<real> o)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x, b = blockIdx.y;

	if (i >= o.I)
		return;
	float *h = o.h[b * o.I + i];
	for (long t = 0; t < o.T; t++) {
		long row = b * o.T + t;
		float u = to_float(o.u[row][i]), s = o.D[0][i] * u;
		float dt = vec_softplus(to_float(o.dtraw[row][i]) + o.bias[0][i]);
		bool fresh = o.start.at && o.start[b][t] == t;
		for (int n = 0; n < o.N; n++) {
			float past = fresh ? 0.0f : vec_exp(-dt * vec_exp(o.a_log[i][n])) * h[n];
			h[n] = past + dt * u * to_float(o.B[row][n]);
			s += h[n] * to_float(o.C[row][n]);
		}
		if (o.z.at) {
			float z = to_float(o.z[row][i]);
			s *= z * vec_sigmoid(z);
		}
		o.y[row][i] = from_float<real>(s);
	}
}

}

extern "C" void scan_step_forward_cuda(const struct op_run *r)
{
	const struct tensor *u = r->in[SCAN_U_BTI];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = {rows_of<const real>(u), rows_of<const real>(r->in[SCAN_DTRAW_BTI]),
			rows_of<const real>(r->in[SCAN_B_BTN]), rows_of<const real>(r->in[SCAN_C_BTN]),
			rows_of<const real>(r->in[SCAN_Z_BTI]), rows_of<const float>(r->in[SCAN_ALOG_IN]),
			rows_of<const float>(r->in[SCAN_D_I]), rows_of<const float>(r->in[SCAN_DTBIAS_I]),
			rows_of<const int>(r->in[SCAN_START_BT]), rows_of<float>(r->in[SCAN_H_BIN]),
			rows_of<real>(r->out[SCAN_Y_BTI]), u->dims[2], u->dims[1],
			(int)tensor_width(r->in[SCAN_B_BTN])};
		launch(r, scan_step_kernel<real>, dim3((unsigned)ceil_div(o.I, THREADS),
			(unsigned)u->dims[0]), THREADS, 0, o);
	});
}
