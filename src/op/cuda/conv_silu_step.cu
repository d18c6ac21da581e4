/* conv_silu_step: a thread has a channel of a sequence and walks through its tokens. */
extern "C" {
#include "op/conv_silu_step.h"
}
#include "op/cuda/kit.cuh"
#include "op/kit/vec.h"

namespace {

enum { THREADS = 64 };

template <typename real>
struct operands {
	rows<const real> x;
	rows<const float> w, bias;
	rows<const int> start;
	rows<real> past, y;
	long I;
	int T, K;

	/* Row t of x, which may be one of an earlier call. */
	__device__ __forceinline__ real at(long b, int t, long i) const
	{
		return t < 0 ? past[b * (K - 1) + K - 1 + t][i] : x[b * T + t][i];
	}
};

template <typename real>
__global__ void conv_silu_step_kernel(operands<real> o)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x, b = blockIdx.y;

	if (i >= o.I)
		return;
	for (int t = 0; t < o.T; t++) {
		int first = o.start.at ? o.start[b][t] : 0, from = t - (o.K - 1);
		float s = o.bias.at ? o.bias[0][i] : 0;
		for (int k = from < first ? first - from : 0; k < o.K; k++)
			s += o.w[i][k] * to_float(o.at(b, from + k, i));
		o.y[b * o.T + t][i] = from_float<real>(s * vec_sigmoid(s));
	}
	for (int m = 0; m < o.K - 1; m++)
		o.past[b * (o.K - 1) + m][i] = o.at(b, o.T - (o.K - 1) + m, i);
}

}

extern "C" void conv_silu_step_forward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[CONV_SILU_X_BTI], *w = r->in[CONV_SILU_W_IK];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = {rows_of<const real>(x), rows_of<const float>(w),
			rows_of<const float>(r->in[CONV_SILU_BIAS_I]),
			rows_of<const int>(r->in[CONV_SILU_START_BT]),
			rows_of<real>(r->in[CONV_SILU_STEP_PAST_BKI]),
			rows_of<real>(r->out[CONV_SILU_Y_BTI]), x->dims[2], (int)x->dims[1],
			(int)tensor_width(w)};
		launch(r, conv_silu_step_kernel<real>, dim3((unsigned)ceil_div(o.I, THREADS),
			(unsigned)x->dims[0]), THREADS, 0, o);
	});
}
