/*
 * Matrix products on row-major float32 tiles. gemm() is one serial BLAS call, meant to be made from
 * inside an OpenMP loop over fixed tiles (OpenBLAS runs serially there); the caller's tiling decides
 * the parallelism, so results do not depend on the number of threads.
 */
#ifndef OP_GEMM_H
#define OP_GEMM_H

#include <cblas.h>

enum gemm_op { GEMM_N = CblasNoTrans, GEMM_T = CblasTrans };

/* C[m, n] = alpha op(A)[m, k] op(B)[k, n] + beta C; leading dimensions in elements. beta 0 writes C
   whatever it held. */
static inline void gemm(enum gemm_op ta, enum gemm_op tb, long m, long n, long k, float alpha,
	const float *a, long lda, const float *b, long ldb, float beta, float *c, long ldc)
{
	if (m == 0 || n == 0)
		return;
	cblas_sgemm(CblasRowMajor, (CBLAS_TRANSPOSE)ta, (CBLAS_TRANSPOSE)tb, (blasint)m, (blasint)n,
		(blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}

#endif
