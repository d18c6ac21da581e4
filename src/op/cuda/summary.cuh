/*
 * summary on the GPU: what it and summary_step share; op/summary.h has the formula. A block has a token and head and
 * goes over the rows that its query sees in tiles of MOBA_THREADS, as in moba.cuh: each thread makes one score, then
 * takes its channels of y through the tile. `source` says what row j is, of n_rows, summaries first:
 *	float score(const real *q, long j)	q . key
 *	float value(long j, int i)		channel i of the value
 */
#ifndef OP_CUDA_SUMMARY_CUH
#define OP_CUDA_SUMMARY_CUH

#include "op/cuda/moba.cuh"

/* Shared memory of a block: y of the head behind it. */
struct summary_memory {
	float one[MOBA_WARPS], weight[MOBA_THREADS];
};

/* y of a query; gives the log-sum-exp. */
template <typename real, typename source>
__device__ float summary_attend(const source &rows, const real *q, long n_rows, int dh, summary_memory *m, float *y)
{
	float most = -INFINITY, sum = 0, root = 1 / sqrtf((float)dh);

	for (int i = (int)threadIdx.x; i < dh; i += MOBA_THREADS)
		y[i] = 0;
	for (long from = 0; from < n_rows; from += MOBA_THREADS) {
		int n = (int)min((long)MOBA_THREADS, n_rows - from);
		float score = -INFINITY, before = most, scale;
		if ((int)threadIdx.x < n)
			score = rows.score(q, from + threadIdx.x) * root;
		most = fmaxf(most, moba_block_max(score, m->one));
		m->weight[threadIdx.x] = (int)threadIdx.x < n ? vec_exp(score - most) : 0.0f;
		scale = vec_exp(before - most);
		sum *= scale;
		__syncthreads();
		for (int j = 0; j < n; j++)
			sum += m->weight[j];
		for (int i = (int)threadIdx.x; i < dh; i += MOBA_THREADS) {
			float of_y = y[i] * scale;
			for (int j = 0; j < n; j++)
				of_y += m->weight[j] * rows.value(from + j, i);
			y[i] = of_y;
		}
	}
	for (int i = (int)threadIdx.x; i < dh; i += MOBA_THREADS)
		y[i] /= sum;
	return most + logf(sum);
}

#endif
