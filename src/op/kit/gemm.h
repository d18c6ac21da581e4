/*
 * Matrix products of row-major float32. gemm() is one serial BLAS call, meant to be made from inside
 * an OpenMP loop over fixed tiles (OpenBLAS runs serially there): the tiling decides what runs in
 * parallel, so results do not depend on the number of threads. gemm_tiled() is such a loop; with
 * gemm_grid() an operator writes its own where a tile has more to do.
 */
#ifndef OP_KIT_GEMM_H
#define OP_KIT_GEMM_H

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

/* The tiles of a product: none larger than 512 x 512 elements of C, and at least four where that
   leaves none narrower than 64. They depend on the shape of C alone. */
struct gemm_grid {
	long m, n;		/* of C */
	long tile_m, tile_n;
	long n_tiles;
};

/* Rows [i, i + m) and columns [j, j + n) of C. */
struct gemm_tile {
	long i, j, m, n;
};

struct gemm_grid gemm_grid(long m, long n);
struct gemm_tile gemm_grid_tile(const struct gemm_grid *g, long tile);

/* gemm() of any size, its tiles in parallel. To be called outside of parallel regions. */
void gemm_tiled(enum gemm_op ta, enum gemm_op tb, long m, long n, long k, float alpha,
	const float *a, long lda, const float *b, long ldb, float beta, float *c, long ldc);

#endif
