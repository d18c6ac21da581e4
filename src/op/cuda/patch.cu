/* patch: a block has a row, twice for its mean and deviation, then once to write. */
extern "C" {
#include "op/patch.h"
}
#include "base/half.h"
#include "op/cuda/kit.cuh"

namespace {

enum { THREADS = 256, WARPS = THREADS / 32 };

/* Of all threads, in the order of warps, for all; `one` has a number for each warp. */
__device__ __forceinline__ float block_sum(float x, float *one)
{
	x = warp_sum(x);
	if (threadIdx.x % 32 == 0)
		one[threadIdx.x / 32] = x;
	__syncthreads();
	x = one[0];
	for (int warp = 1; warp < WARPS; warp++)
		x += one[warp];
	__syncthreads();
	return x;
}

/* Mean and deviation of a row of halves. */
__device__ __forceinline__ float2 moments(const int *id, int T, float *one)
{
	float sum = 0, square = 0, n = 0;

	for (int t = (int)threadIdx.x; t < T; t += THREADS)
		if (!half_is_missing(id[t])) {
			sum += half_value(id[t]);
			n++;
		}
	n = block_sum(n, one);
	sum = block_sum(sum, one);
	if (n == 0)
		return make_float2(0, 1);
	float mean = sum / n;
	for (int t = (int)threadIdx.x; t < T; t += THREADS) {
		float away = half_is_missing(id[t]) ? 0 : half_value(id[t]) - mean;
		square += away * away;
	}
	return make_float2(mean, sqrtf(block_sum(square, one) / n + (float)PATCH_EPS));
}

template <typename real>
__global__ void patch_kernel(rows<real> x, rows<float> scale, rows<int> last, rows<int> asked, rows<const int> token,
	rows<const int> target, int T, int P, bool halves)
{
	long b = blockIdx.x;
	int N = T / P;
	const int *id = token[b];
	float2 of = halves ? moments(id, T, shared_memory<float>()) : make_float2(0, 1);

	for (int t = (int)threadIdx.x; t < T; t += THREADS) {
		bool missing = halves ? half_is_missing(id[t]) : id[t] > 255;
		float v = halves ? (half_value(id[t]) - of.x) / of.y : (float)id[t] / 127.5f - 1;
		real *to = x[b * N + t / P];
		to[t % P] = from_float<real>(missing ? 0 : v);
		if (halves)
			to[P + t % P] = from_float<real>(missing);
	}
	for (int n = (int)threadIdx.x; n < N; n += THREADS) {
		last[b][n] = id[n * P + P - 1];
		asked[b][n] = target.at ? target[b][n * P + P - 1] : -1;
	}
	if (threadIdx.x == 0) {
		scale[b][0] = of.x;
		scale[b][1] = of.y;
	}
}

}

extern "C" void patch_forward_cuda(const struct op_run *r)
{
	const struct patch_attr *a = (const struct patch_attr *)r->attr;
	const struct tensor *token = r->in[PATCH_TOKEN_BT];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, patch_kernel<real>, dim3((unsigned)tensor_rows(token)), THREADS, WARPS * sizeof(float),
			rows_of<real>(r->out[PATCH_X_BNF]), rows_of<float>(r->out[PATCH_SCALE_B2]),
			rows_of<int>(r->out[PATCH_TOKEN_BN]), rows_of<int>(r->out[PATCH_TARGET_BN]),
			rows_of<const int>(token), rows_of<const int>(r->in[PATCH_TARGET_BT]), (int)tensor_width(token),
			(int)a->size, a->halves);
	});
}
