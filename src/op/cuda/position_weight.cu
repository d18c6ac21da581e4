extern "C" {
#include "op/position_weight.h"
}
#include "op/cuda/kit.cuh"

enum { THREADS = 256 };

static __global__ void position_weight_kernel(rows<float> to, rows<const int> start, long n, int T, float gain,
	int from, float scale)
{
	long k = (long)blockIdx.x * THREADS + threadIdx.x, b = k / T;
	int t = (int)(k % T);

	if (k >= n)
		return;
	int position = t - (start.at ? start[b][t] : 0);
	to[b][t] = position < from ? 0 : scale * (1 + gain * log2f(1 + (float)position));
}

extern "C" void position_weight_forward_cuda(const struct op_run *r)
{
	const struct position_weight_attr *a = (const struct position_weight_attr *)r->attr;
	const struct tensor *start = r->in[POSITION_WEIGHT_START_BT], *w = r->out[POSITION_WEIGHT_W_BT];
	long n = tensor_size(w), T = tensor_width(w);

	launch(r, position_weight_kernel, dim3((unsigned)ceil_div(n, THREADS)), THREADS, 0, rows_of<float>(w),
		start ? rows_of<const int>(start) : rows<const int>{}, n, (int)T, (float)a->gain, (int)a->from,
		(float)position_weight_scale(a, T));
}
