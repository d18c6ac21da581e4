/* squared_error: a block has a row; then one adds up the sums of all rows, in their order. */
extern "C" {
#include "op/squared_error.h"
}
#include "base/half.h"
#include "op/cuda/kit.cuh"

namespace {

enum { THREADS = 256, WARPS = THREADS / 32 };

template <typename real>
struct forecast {
	rows<const real> y;
	rows<const int> target;
	rows<const float> scale;
	int T, P;

	/* Of value t of row b; 0: it is not asked for. */
	__device__ __forceinline__ float error(long b, int t, bool *asked) const
	{
		int id = target[b][t];

		*asked = id >= 0 && !half_is_missing(id);
		return *asked ? scale[b][0] + scale[b][1] * to_float(y[b * (T / P) + t / P][t % P]) - half_value(id)
			: 0;
	}
};

template <typename real>
forecast<real> forecast_of(const struct op_run *r)
{
	const struct tensor *y = r->in[SQUARED_ERROR_Y_BNP];

	return {rows_of<const real>(y), rows_of<const int>(r->in[SQUARED_ERROR_TARGET_BT]),
		rows_of<const float>(r->in[SQUARED_ERROR_SCALE_B2]), (int)(y->dims[1] * y->dims[2]), (int)y->dims[2]};
}

/* Of all threads of the block in the first one: by warps, then in their order. */
__device__ __forceinline__ float2 block_sum(float2 x, float2 *one)
{
	x = make_float2(warp_sum(x.x), warp_sum(x.y));
	if (threadIdx.x % 32 == 0)
		one[threadIdx.x / 32] = x;
	__syncthreads();
	for (int warp = 1; threadIdx.x == 0 && warp < WARPS; warp++) {
		x.x += one[warp].x;
		x.y += one[warp].y;
	}
	return x;
}

template <typename real>
__global__ void errors(const forecast<real> f, rows<float> square, rows<float> error, float2 *parts)
{
	long b = blockIdx.x;
	float2 sum = make_float2(0, 0);

	for (int t = (int)threadIdx.x; t < f.T; t += THREADS) {
		bool asked;
		float e = f.error(b, t, &asked);
		square[b][t] = e * e;
		error[b][t] = fabsf(e);
		sum.x += e * e;
		sum.y += asked;
	}
	sum = block_sum(sum, shared_memory<float2>());
	if (threadIdx.x == 0)
		parts[b] = sum;
}

__global__ void total(float *loss, float *mean, float *share, const float2 *parts, long B)
{
	float2 sum = make_float2(0, 0);

	for (long b = threadIdx.x; b < B; b += THREADS) {
		sum.x += parts[b].x;
		sum.y += parts[b].y;
	}
	sum = block_sum(sum, shared_memory<float2>());
	if (threadIdx.x)
		return;
	*share = sum.y > 0 ? 1 / sum.y : 0;
	*loss = *mean = sum.y > 0 ? sum.x / sum.y : 0;
}

template <typename real>
__global__ void gradient(const forecast<real> f, rows<real> dy, const float *d_loss, const float *share, long n,
	bool add)
{
	long k = (long)blockIdx.x * THREADS + threadIdx.x, b = k / f.T;
	int t = (int)(k % f.T);
	bool asked;

	if (k >= n)
		return;
	float d = 2 * *d_loss * *share * f.scale[b][1] * f.error(b, t, &asked);
	put(dy, b * (f.T / f.P) + t / f.P, t % f.P, add, d);
}

}

extern "C" void squared_error_forward_cuda(const struct op_run *r)
{
	float2 *parts = (float2 *)r->workspace;
	long B = r->in[SQUARED_ERROR_Y_BNP]->dims[0];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, errors<real>, dim3((unsigned)B), THREADS, WARPS * sizeof(float2), forecast_of<real>(r),
			rows_of<float>(r->out[SQUARED_ERROR_SQUARE_BT]),
			rows_of<float>(r->out[SQUARED_ERROR_ERROR_BT]), parts);
	});
	launch(r, total, dim3(1), THREADS, WARPS * sizeof(float2), (float *)r->out[SQUARED_ERROR_LOSS]->at,
		(float *)r->out[SQUARED_ERROR_MEAN]->at, (float *)r->saved[SQUARED_ERROR_SHARE]->at,
		(const float2 *)parts, B);
}

extern "C" void squared_error_backward_cuda(const struct op_run *r)
{
	long n = tensor_size(r->in[SQUARED_ERROR_TARGET_BT]);

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, gradient<real>, dim3((unsigned)ceil_div(n, THREADS)), THREADS, 0, forecast_of<real>(r),
			rows_of<real>(r->d_in[SQUARED_ERROR_Y_BNP]), (const float *)r->d_out[SQUARED_ERROR_LOSS]->at,
			(const float *)r->saved[SQUARED_ERROR_SHARE]->at, n, op_adds(r, SQUARED_ERROR_Y_BNP));
	});
}
