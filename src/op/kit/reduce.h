/*
 * Sums over partial results that parallel tiles left behind, in the order of the tiles: the bits do
 * not depend on the number of threads.
 */
#ifndef OP_KIT_REDUCE_H
#define OP_KIT_REDUCE_H

#include <stdbool.h>
#include <string.h>

enum { REDUCE_PIECE = 1024 };

/* sum[i] = parts[0][i] + parts[1][i] + ..., written or added; parts is [n_parts, n], contiguous. */
static inline void reduce_parts(float *sum, const float *parts, long n_parts, long n, bool add)
{
	#pragma omp parallel for schedule(static)
	for (long from = 0; from < n; from += REDUCE_PIECE) {
		long m = n - from < REDUCE_PIECE ? n - from : REDUCE_PIECE;
		if (!add)
			memset(sum + from, 0, (size_t)m * sizeof *sum);
		for (long p = 0; p < n_parts; p++) {
			const float *part = parts + p * n + from;
			#pragma omp simd
			for (long i = 0; i < m; i++)
				sum[from + i] += part[i];
		}
	}
}

#endif
