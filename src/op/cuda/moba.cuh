/*
 * moba on the GPU: what it and moba_step share; op/moba.h has the formula. A block has a token and head,
 * as in attend.cuh. `source` says where keys and values of a document's positions are:
 *	const real *key(long s), *value(long s)		of the head, at position s
 */
#ifndef OP_CUDA_MOBA_CUH
#define OP_CUDA_MOBA_CUH

extern "C" {
#include "op/moba_kernels.h"
}
#include "op/cuda/attend.cuh"

/* Shared memory of a block: y of the head behind it. */
struct moba_memory {
	attend_memory tile;
	float score[MOBA_MAX_SEGMENTS];
	int segment[MOBA_MAX_CHOSEN], n_segments;
};

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
	float root = 1 / sqrtf((float)dh);
	attended a;
	long from, to;

	attend_begin(y, dh);
	for (int range = 0; range <= m->n_segments; range++)
		for (moba_range(m->segment, m->n_segments, p, S, least, range, &from, &to); from < to;
			from += ATTEND_THREADS) {
			int n = (int)min((long)ATTEND_THREADS, to - from);
			float score = -INFINITY;
			if ((int)threadIdx.x < n)
				score = moba_dot(q, at.key(from + threadIdx.x), dh) * root;
			attend_tile(a, score, n, dh, &m->tile, y, [&](int s, int i) {
				return to_float(at.value(from + s)[i]);
			});
		}
	return attend_end(a, y, dh);
}

#endif
