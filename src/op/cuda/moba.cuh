/*
 * moba on the GPU: what it and moba_step share; op/moba.h has the formula. A block has a token and head. Keys of
 * the segments that it sees come in tiles of MOBA_THREADS: each thread makes one score, then takes its channels of
 * y through the values of the tile. `source` says where keys and values of a document's positions are:
 *	const real *key(long s), *value(long s)		of the head, at position s
 */
#ifndef OP_CUDA_MOBA_CUH
#define OP_CUDA_MOBA_CUH

extern "C" {
#include "op/moba_kernels.h"
}
#include "op/cuda/kit.cuh"

enum { MOBA_THREADS = 128, MOBA_WARPS = MOBA_THREADS / 32 };

/* Shared memory of a block: y of the head behind it. */
struct moba_memory {
	float one[MOBA_WARPS], weight[MOBA_THREADS], score[MOBA_MAX_SEGMENTS];
	int segment[MOBA_MAX_CHOSEN], n_segments;
};

/* The greatest of all threads' numbers, for all. */
static __device__ __forceinline__ float moba_block_max(float x, float *one)
{
	x = warp_max(x);
	__syncthreads();
	if (threadIdx.x % 32 == 0)
		one[threadIdx.x / 32] = x;
	__syncthreads();
	x = one[0];
	for (int w = 1; w < MOBA_WARPS; w++)
		x = fmaxf(x, one[w]);
	return x;
}

/* From scores of n segments in shared memory the chosen ones; all threads wait. */
static __device__ __forceinline__ void moba_block_choose(moba_memory *m, long n, long most)
{
	__syncthreads();
	if (threadIdx.x == 0)
		m->n_segments = moba_choose(m->score, n, most, m->segment);
	__syncthreads();
}

template <typename real, typename other>
__device__ __forceinline__ float moba_dot(const real *a, const other *b, int n)
{
	float sum = 0;

	for (int i = 0; i < n; i++)
		sum += to_float(a[i]) * to_float(b[i]);
	return sum;
}

/* Positions [*from, *to) of the i-th segment that a query at position p sees, of n earlier ones and its own, from
   position `least` on. */
static __device__ __forceinline__ void moba_range(const int *segment, int n, long p, long S, long least, int i,
	long *from, long *to)
{
	*from = max((i < n ? segment[i] : p / S) * S, least);
	*to = i < n ? *from + S : p + 1;
}

/* y of a query at position p over the chosen segments, which all threads know; gives the log-sum-exp. */
template <typename real, typename source>
__device__ float moba_attend(const source &at, const real *q, long p, long S, long least, int dh, moba_memory *m,
	float *y)
{
	float most = -INFINITY, sum = 0, root = 1 / sqrtf((float)dh);
	long from, to;

	for (int i = (int)threadIdx.x; i < dh; i += MOBA_THREADS)
		y[i] = 0;
	for (int range = 0; range <= m->n_segments; range++)
		for (moba_range(m->segment, m->n_segments, p, S, least, range, &from, &to); from < to;
			from += MOBA_THREADS) {
			int n = (int)min((long)MOBA_THREADS, to - from);
			float score = -INFINITY, before = most, scale;
			if ((int)threadIdx.x < n)
				score = moba_dot(q, at.key(from + threadIdx.x), dh) * root;
			most = fmaxf(most, moba_block_max(score, m->one));
			m->weight[threadIdx.x] = (int)threadIdx.x < n ? vec_exp(score - most) : 0.0f;
			scale = vec_exp(before - most);
			sum *= scale;
			__syncthreads();
			for (int s = 0; s < n; s++)
				sum += m->weight[s];
			for (int i = (int)threadIdx.x; i < dh; i += MOBA_THREADS) {
				float of_y = y[i] * scale;
				for (int s = 0; s < n; s++)
					of_y += m->weight[s] * to_float(at.value(from + s)[i]);
				y[i] = of_y;
			}
		}
	for (int i = (int)threadIdx.x; i < dh; i += MOBA_THREADS)
		y[i] /= sum;
	return most + logf(sum);
}

#endif
