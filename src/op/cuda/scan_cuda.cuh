/* What the scan's forward and backward kernels share. */
#ifndef OP_SCAN_CUDA_CUH
#define OP_SCAN_CUDA_CUH

#include "op/cuda/cuda.h"
#include "op/cuda/prim.cuh"
#include "op/cuda/scan_cuda.h"
#include "op/vec.h"

enum {
	TILE = 16,			/* tokens that blocks fetch at once */
	STATES = 16,			/* of one launch */
};

__device__ __forceinline__ float softplus(float x)
{
	return fmaxf(x, 0.0f) + vec_log1p_unit(exp2_fast(-fabsf(x) * LOG2E));
}

__device__ __forceinline__ float sigmoid(float x)
{
	return __fdividef(1.0f, 1.0f + exp2_fast(-x * LOG2E));
}

/* A log2(e) of a channel's state; beyond the last state 0, which keeps a state at 0. */
__device__ __forceinline__ float decay_rate(const scan_cuda &s, int i, int n)
{
	return i < s.I && n < s.N ? -exp2f(s.a_log.at[i * s.a_log.ld + n] * LOG2E) * LOG2E : 0.0f;
}

/* Four kept states from 4 * quad of channel i, in front of token `kept` * SCAN_KEPT. */
__device__ __forceinline__ float4 *kept_states(const scan_cuda &s, int b, int kept, int quad, int i)
{
	long n_kept = (s.T + SCAN_KEPT - 1) / SCAN_KEPT, n_quads = (s.N + 3) / 4;

	return (float4 *)s.states + ((b * n_kept + kept) * n_quads + quad) * s.I + i;
}

__device__ __forceinline__ void put(const scan_rows &x, long row, int i, float v, bool add)
{
	if (x.at) {
		float *to = x.at + row * x.ld + i;
		*to = add || x.add ? *to + v : v;
	}
}

/* The block's dynamic shared memory. */
template <typename memory>
__device__ __forceinline__ memory *shared_memory()
{
	extern __shared__ float4 shared[];

	return (memory *)shared;
}

/* Enqueues the copy of columns from .. from + wide (below `end`) of n_tokens rows, all threads of
   the block together. `whole`: is_whole(), TILE rows of `wide` columns, four columns at once. */
template <int wide, int threads, bool whole, int pitch>
__device__ __forceinline__ void fetch(float (*to)[pitch], const scan_rows &x, long row,
	int n_tokens, int from, int end)
{
	constexpr int each = whole ? 4 : 1, per_row = wide / each, step = threads / per_row;
	int t = threadIdx.x / per_row, j = threadIdx.x % per_row * each;
	const float *at = x.at + (row + t) * x.ld + from + j;

	if (!x.at || (!whole && from + j >= end))
		return;
	#pragma unroll
	for (int k = 0; k < TILE; k += step, t += step, at += step * x.ld)
		if (t < (whole ? TILE : n_tokens))
			__pipeline_memcpy_async(&to[t][j], at, each * sizeof(float));
}

inline long ceil_div(long n, long d)
{
	return (n + d - 1) / d;
}

/* May rows be moved four columns at once? */
inline bool rows_aligned(const scan_rows &x)
{
	return !x.at || ((size_t)x.at % 16 == 0 && x.ld % 4 == 0);
}

/* Are all tiles full, in time, channels (`wide` a block) and states, and all rows aligned? Then
   nothing need be checked on the way. */
inline bool is_whole(const scan_cuda &s, int wide)
{
	const scan_rows *rows[] = {&s.u, &s.dtraw, &s.b, &s.c, &s.z, &s.ungated, &s.dy, &s.du,
		&s.ddtraw, &s.dz};

	for (const scan_rows *x : rows)
		if (!rows_aligned(*x))
			return false;
	return s.T % TILE == 0 && s.I % wide == 0 && s.N % STATES == 0;
}

template <typename kernel>
void allow_shared(kernel *k, size_t bytes)
{
	cuda_check(cudaFuncSetAttribute(k, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes),
		"scan: shared memory of the GPU");
}

/* kernel<<<grid, threads, shared, stream>>>(args...) in words that any C++ compiler reads. */
template <typename... parameters, typename... arguments>
void launch(void (*kernel)(parameters...), dim3 grid, unsigned threads, size_t shared,
	void *stream, const arguments &...args)
{
	cudaLaunchConfig_t config = {};

	config.gridDim = grid;
	config.blockDim = dim3(threads);
	config.dynamicSmemBytes = shared;
	config.stream = (cudaStream_t)stream;
	cuda_check(cudaLaunchKernelEx(&config, kernel, args...), "scan: launch on the GPU");
}

#endif
