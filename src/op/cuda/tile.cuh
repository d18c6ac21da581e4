/*
 * A tile of a matrix product in float, for what tensor cores do not take: float32, odd widths. 256
 * threads make 64 x 64 elements, 4 x 4 each, over chunks of 16 terms, in order.
 */
#ifndef OP_CUDA_TILE_CUH
#define OP_CUDA_TILE_CUH

#include "op/cuda/kit.cuh"

enum {
	TILE_SIDE = 64,
	TILE_THREADS = 256,
	TILE_CHUNK = 16,
	TILE_PITCH = TILE_SIDE + 4,
	TILE_FLOATS = 2 * TILE_CHUNK * TILE_PITCH,	/* of shared memory */
};

/* Of the tile: the first of a thread's 4 rows, of its 4 columns. */
__device__ __forceinline__ int tile_row()
{
	return threadIdx.x / 16 * 4;
}

__device__ __forceinline__ int tile_column()
{
	return threadIdx.x % 16 * 4;
}

/* One chunk of an operand, to[term][side]. along_k: neighbours in memory are terms, not sides. */
template <bool along_k, typename element>
__device__ __forceinline__ void tile_fetch(float *to, long k0, long n_k, const element &at)
{
	#pragma unroll
	for (int n = threadIdx.x; n < TILE_SIDE * TILE_CHUNK; n += TILE_THREADS) {
		int i = along_k ? n / TILE_CHUNK : n % TILE_SIDE;
		int k = along_k ? n % TILE_CHUNK : n / TILE_SIDE;
		to[k * TILE_PITCH + i] = k0 + k < n_k ? at(i, k0 + k) : 0.0f;
	}
}

/* sum += A B of the thread's elements. a(i, k), b(j, k): operands by row, or column, of the tile
   and term k < n_k; 0 beyond their edges. shared: TILE_FLOATS, of all threads. */
template <bool a_along_k, bool b_along_k, typename left, typename right>
__device__ __forceinline__ void tile_product(float (&sum)[4][4], long n_k, const left &a,
	const right &b, float *shared)
{
	float *a_KI = shared, *b_KJ = shared + TILE_CHUNK * TILE_PITCH;

	for (long k0 = 0; k0 < n_k; k0 += TILE_CHUNK) {
		__syncthreads();
		tile_fetch<a_along_k>(a_KI, k0, n_k, a);
		tile_fetch<b_along_k>(b_KJ, k0, n_k, b);
		__syncthreads();
		#pragma unroll
		for (int k = 0; k < TILE_CHUNK; k++) {
			float4 u = *(const float4 *)(a_KI + k * TILE_PITCH + tile_row());
			float4 v = *(const float4 *)(b_KJ + k * TILE_PITCH + tile_column());
			float x[4] = {u.x, u.y, u.z, u.w}, y[4] = {v.x, v.y, v.z, v.w};
			#pragma unroll
			for (int i = 0; i < 4; i++)
				#pragma unroll
				for (int j = 0; j < 4; j++)
					sum[i][j] += x[i] * y[j];
		}
	}
	__syncthreads();
}

/* put(row, column, value) for the thread's elements. */
template <typename sink>
__device__ __forceinline__ void tile_store(const float (&sum)[4][4], const sink &put)
{
	#pragma unroll
	for (int i = 0; i < 4; i++)
		#pragma unroll
		for (int j = 0; j < 4; j++)
			put(tile_row() + i, tile_column() + j, sum[i][j]);
}

#endif
