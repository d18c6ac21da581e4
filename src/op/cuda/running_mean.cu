/* running_mean: a thread has a channel of a sequence and goes through its tokens, one after the other. */
extern "C" {
#include "op/running_mean.h"
}
#include "op/cuda/kit.cuh"

namespace {

enum { THREADS = 128 };

__device__ __forceinline__ int so_far(const rows<const int> &start, long b, int t)
{
	return t + 1 - (start.at ? start[b][t] : 0);
}

template <typename real>
__global__ void forward(rows<real> y, rows<const real> x, rows<const int> start, int T, int D)
{
	long b = blockIdx.x;
	int i = (int)(blockIdx.y * THREADS + threadIdx.x);
	float sum = 0;

	for (int t = 0; i < D && t < T; t++) {
		int n = so_far(start, b, t);
		sum = to_float(x[b * T + t][i]) + (n == 1 ? 0 : sum);
		y[b * T + t][i] = from_float<real>(sum / (float)n);
	}
}

template <typename real>
__global__ void backward(rows<real> dx, rows<const real> dy, rows<const int> start, int T, int D, bool add)
{
	long b = blockIdx.x;
	int i = (int)(blockIdx.y * THREADS + threadIdx.x);
	float sum = 0;

	for (int t = T - 1; i < D && t >= 0; t--) {
		int n = so_far(start, b, t);
		sum += to_float(dy[b * T + t][i]) / (float)n;
		dx[b * T + t][i] = from_float<real>(sum + (add ? to_float(dx[b * T + t][i]) : 0));
		if (n == 1)
			sum = 0;
	}
}

dim3 grid_of(const struct tensor *x)
{
	return dim3((unsigned)x->dims[0], (unsigned)ceil_div(x->dims[2], THREADS));
}

}

extern "C" void running_mean_forward_cuda(const struct op_run *r)
{
	const struct tensor *y = r->out[RUNNING_MEAN_Y_BTD];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, forward<real>, grid_of(y), THREADS, 0, rows_of<real>(y),
			rows_of<const real>(r->in[RUNNING_MEAN_X_BTD]),
			rows_of<const int>(r->in[RUNNING_MEAN_START_BT]), (int)y->dims[1], (int)y->dims[2]);
	});
}

extern "C" void running_mean_backward_cuda(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[RUNNING_MEAN_X_BTD];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, backward<real>, grid_of(dx), THREADS, 0, rows_of<real>(dx),
			rows_of<const real>(r->d_out[RUNNING_MEAN_Y_BTD]),
			rows_of<const int>(r->in[RUNNING_MEAN_START_BT]), (int)dx->dims[1], (int)dx->dims[2],
			op_adds(r, RUNNING_MEAN_X_BTD));
	});
}
