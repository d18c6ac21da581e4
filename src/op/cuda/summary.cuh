/*
 * summary on the GPU: what it and summary_step share; op/summary.h has the formula. A block has a token and head and
 * goes over the rows that its query sees as in attend.cuh. `source` says what row j is, of n_rows, summaries first:
 *	float score(const real *q, long j)	q . key
 *	float value(long j, int i)		channel i of the value
 */
#ifndef OP_CUDA_SUMMARY_CUH
#define OP_CUDA_SUMMARY_CUH

#include "op/cuda/moba.cuh"

/* y of a query; gives the log-sum-exp. */
template <typename real, typename source>
__device__ float summary_attend(const source &rows, const real *q, long n_rows, int dh, attend_memory *m, float *y)
{
	float root = 1 / sqrtf((float)dh);
	attended a;

	attend_begin(y, dh);
	for (long from = 0; from < n_rows; from += ATTEND_THREADS) {
		int n = (int)min((long)ATTEND_THREADS, n_rows - from);
		float score = -INFINITY;
		if ((int)threadIdx.x < n)
			score = rows.score(q, from + threadIdx.x) * root;
		attend_tile(a, score, n, dh, m, y, [&](int j, int i) {
			return rows.value(from + j, i);
		});
	}
	return attend_end(a, y, dh);
}

#endif
