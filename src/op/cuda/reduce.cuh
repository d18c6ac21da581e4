/*
 * Sums over many rows in two passes: parts, each of a fixed number of rows, then the parts in
 * order.
 */
#ifndef OP_CUDA_REDUCE_CUH
#define OP_CUDA_REDUCE_CUH

#include "op/cuda/kit.cuh"

enum { REDUCE_COLUMNS = 32, REDUCE_WARPS = 32 };

/* sum[i] = parts[0][i] + parts[1][i] + ..., written or added; parts is [n_parts, ld], n columns of
   it. A warp takes a run of parts for 32 columns; then the first one adds the runs up. */
static __global__ void reduce_parts_kernel(float *sum, const float *parts, long n_parts, long n,
	long ld, bool add)
{
	float *run = shared_memory<float>();
	int lane = threadIdx.x % REDUCE_COLUMNS, warp = threadIdx.x / REDUCE_COLUMNS;
	long i = (long)blockIdx.x * REDUCE_COLUMNS + lane, length = ceil_div(n_parts, REDUCE_WARPS);
	long from = warp * length, to = from + length < n_parts ? from + length : n_parts;
	float part = 0;

	if (i < n) {
		#pragma unroll 8
		for (long p = from; p < to; p++)
			part += parts[p * ld + i];
	}
	run[threadIdx.x] = part;
	__syncthreads();
	if (warp || i >= n)
		return;
	part = add ? sum[i] : 0;
	for (int k = 0; k < REDUCE_WARPS; k++)
		part += run[k * REDUCE_COLUMNS + lane];
	sum[i] = part;
}

static inline void reduce_parts_cuda(const struct op_run *r, float *sum, const float *parts,
	long n_parts, long n, long ld, bool add)
{
	launch(r, reduce_parts_kernel, dim3((unsigned)ceil_div(n, REDUCE_COLUMNS)),
		REDUCE_COLUMNS * REDUCE_WARPS, REDUCE_COLUMNS * REDUCE_WARPS * sizeof(float), sum,
		parts, n_parts, n, ld, add);
}

/* `width` neighbours as float: 8, from an address aligned to eight elements, or 1. */
template <int width>
struct few {
	float v[width];
};

template <int width, typename real>
__device__ __forceinline__ few<width> load_few(const real *at)
{
	few<width> x;

	if constexpr (width == 8) {
		eight y = load8(at);
		#pragma unroll
		for (int i = 0; i < 8; i++)
			x.v[i] = y.v[i];
	} else {
		x.v[0] = to_float(*at);
	}
	return x;
}

template <int width, typename real>
__device__ __forceinline__ void store_few(real *at, const few<width> &x)
{
	if constexpr (width == 8) {
		eight y;
		#pragma unroll
		for (int i = 0; i < 8; i++)
			y.v[i] = x.v[i];
		store8(at, y);
	} else {
		*at = from_float<real>(x.v[0]);
	}
}

#endif
