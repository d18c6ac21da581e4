/*
 * Attention of one query by a block, as in op/kit/attend.h: rows come in tiles of ATTEND_THREADS, each thread makes
 * one score, then takes its channels of y through the values of the tile.
 */
#ifndef OP_CUDA_ATTEND_CUH
#define OP_CUDA_ATTEND_CUH

#include "op/cuda/kit.cuh"
#include "op/kit/vec.h"

enum { ATTEND_THREADS = 128, ATTEND_WARPS = ATTEND_THREADS / 32 };

/* Shared memory of a block: y of the head behind it. */
struct attend_memory {
	float one[ATTEND_WARPS], weight[ATTEND_THREADS];
};

/* The greatest of all threads' numbers, for all; `one` has a number for each warp. */
static __device__ __forceinline__ float attend_block_max(float x, float *one)
{
	x = warp_max(x);
	__syncthreads();
	if (threadIdx.x % 32 == 0)
		one[threadIdx.x / 32] = x;
	__syncthreads();
	x = one[0];
	for (int w = 1; w < ATTEND_WARPS; w++)
		x = fmaxf(x, one[w]);
	return x;
}

/* Where a query is, in each thread: the largest score so far, and the sum of the weights. */
struct attended {
	float most = -INFINITY, sum = 0;
};

static __device__ __forceinline__ void attend_begin(float *y, int dh)
{
	for (int i = (int)threadIdx.x; i < dh; i += ATTEND_THREADS)
		y[i] = 0;
}

/* n rows, with the thread's score, or -INFINITY for those behind the first n. value(j, i): channel i of row j. */
template <typename function>
__device__ __forceinline__ void attend_tile(attended &a, float score, int n, int dh, attend_memory *m, float *y,
	const function &value)
{
	float before = a.most, scale;

	a.most = fmaxf(a.most, attend_block_max(score, m->one));
	m->weight[threadIdx.x] = (int)threadIdx.x < n ? vec_exp(score - a.most) : 0.0f;
	scale = vec_exp(before - a.most);
	a.sum *= scale;
	__syncthreads();
	for (int j = 0; j < n; j++)
		a.sum += m->weight[j];
	for (int i = (int)threadIdx.x; i < dh; i += ATTEND_THREADS) {
		float of_y = y[i] * scale;
		for (int j = 0; j < n; j++)
			of_y += m->weight[j] * value(j, i);
		y[i] = of_y;
	}
}

/* Divides y; gives the log-sum-exp of the scores. */
static __device__ __forceinline__ float attend_end(const attended &a, float *y, int dh)
{
	for (int i = (int)threadIdx.x; i < dh; i += ATTEND_THREADS)
		y[i] /= a.sum;
	return a.most + logf(a.sum);
}

#endif
