/* ssd_step: a thread has a channel of a sequence and walks through tokens and states, as in scan_step.cu. */
extern "C" {
#include "op/ssd_kernels.h"
#include "op/ssd_step.h"
}
#include "op/cuda/kit.cuh"
#include "op/kit/vec.h"

namespace {

enum { THREADS = 64 };

template <typename real>
struct operands {
	rows<const real> x, dtraw, B, C;
	rows<const float> a_log, D, bias;
	rows<const int> start;
	rows<float> h;
	rows<real> y;
	struct ssd_dims n;
};

template <typename real>
__global__ void ssd_step_kernel(operands<real> o)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x, b = blockIdx.y, I = o.n.H * o.n.P;

	if (i >= I)
		return;
	long head = i / o.n.P, first = head / (o.n.H / o.n.G) * o.n.N;
	float *h = o.h[b * I + i], rate = vec_exp(o.a_log[0][head]);
	for (long t = 0; t < o.n.T; t++) {
		long row = b * o.n.T + t;
		float x = to_float(o.x[row][i]), y = o.D[0][head] * x;
		float dt = vec_softplus(to_float(o.dtraw[row][head]) + o.bias[0][head]);
		float keep = vec_exp(-dt * rate);
		bool fresh = o.start.at && o.start[b][t] == t;
		for (long n = 0; n < o.n.N; n++) {
			h[n] = (fresh ? 0.0f : keep * h[n]) + dt * x * to_float(o.B[row][first + n]);
			y += h[n] * to_float(o.C[row][first + n]);
		}
		o.y[row][i] = from_float<real>(y);
	}
}

}

extern "C" void ssd_step_forward_cuda(const struct op_run *r)
{
	struct ssd_dims d = ssd_dims(r->in, (const struct ssd_attr *)r->attr, SSD_MAX_CHUNK);

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = {rows_of<const real>(r->in[SSD_X_BTI]),
			rows_of<const real>(r->in[SSD_DTRAW_BTH]), rows_of<const real>(r->in[SSD_B_BTN]),
			rows_of<const real>(r->in[SSD_C_BTN]), rows_of<const float>(r->in[SSD_ALOG_H]),
			rows_of<const float>(r->in[SSD_D_H]), rows_of<const float>(r->in[SSD_DTBIAS_H]),
			rows_of<const int>(r->in[SSD_START_BT]), rows_of<float>(r->in[SSD_H_BIN]),
			rows_of<real>(r->out[SSD_Y_BTI]), d};
		launch(r, ssd_step_kernel<real>, dim3((unsigned)ceil_div(d.H * d.P, THREADS), (unsigned)d.B),
			THREADS, 0, o);
	});
}
