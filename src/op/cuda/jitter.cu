/* jitter on the GPU: a thread does the four channels of a block of random numbers. */
extern "C" {
#include "op/jitter.h"
#include "op/noise_rule.h"
}
#include "op/cuda/moe.cuh"

namespace {

template <typename real>
__global__ void scale_channels(jitter_attr attr, const step_state *state, rows<const real> x, rows<real> y,
	long n, int D, bool add)
{
	long blocks = (D + 3) / 4, at = (long)blockIdx.x * ROW_THREADS + threadIdx.x, t = at / blocks;
	int i0 = (int)(at % blocks) * 4;
	float scale = (float)attr.scale;

	if (t >= n)
		return;
	struct rng_block b = noise_block(state, attr.stream, (uint64_t)((state->micro * n + t) * blocks + i0 / 4));
	#pragma unroll
	for (int k = 0; k < 4; k++) {
		int i = i0 + k;
		if (i >= D)
			continue;
		float v = to_float(x[t][i]) * (1 + scale * noise_symmetric(b, k));
		y[t][i] = from_float<real>(v + (add ? to_float(y[t][i]) : 0));
	}
}

void run(const struct op_run *r, const struct tensor *x, const struct tensor *y, bool add)
{
	const struct jitter_attr *attr = (const struct jitter_attr *)r->attr;
	long n = tensor_rows(x), D = tensor_width(x);
	dim3 grid((unsigned)ceil_div(n * ((D + 3) / 4), ROW_THREADS));

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, scale_channels<real>, grid, ROW_THREADS, 0, *attr, r->state,
			rows_of<const real>(x), rows_of<real>(y), n, (int)D, add);
	});
}

}  // namespace

extern "C" void jitter_forward_cuda(const struct op_run *r)
{
	run(r, r->in[JITTER_X_BTD], r->out[JITTER_Y_BTD], false);
}

extern "C" void jitter_backward_cuda(const struct op_run *r)
{
	run(r, r->d_out[JITTER_Y_BTD], r->d_in[JITTER_X_BTD], op_adds(r, JITTER_X_BTD));
}
