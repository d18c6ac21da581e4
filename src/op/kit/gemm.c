#include "op/kit/gemm.h"

#include "base/num.h"

enum { LARGEST = 512, NARROWEST = 64, ENOUGH_TILES = 4, ROUND = 16 };

/* Half of a side, in whole vectors. */
static long half(long side)
{
	return ceil_div(ceil_div(side, 2), ROUND) * ROUND;
}

struct gemm_grid gemm_grid(long m, long n)
{
	struct gemm_grid g = {.m = m, .n = n, .tile_m = min_long(m, LARGEST),
		.tile_n = min_long(n, LARGEST)};

	for (;;) {
		long *longer = g.tile_m >= g.tile_n ? &g.tile_m : &g.tile_n;
		g.n_tiles = ceil_div(m, g.tile_m) * ceil_div(n, g.tile_n);
		if (g.n_tiles >= ENOUGH_TILES || *longer < 2 * NARROWEST)
			return g;
		*longer = half(*longer);
	}
}

struct gemm_tile gemm_grid_tile(const struct gemm_grid *g, long tile)
{
	long columns = ceil_div(g->n, g->tile_n);
	long i = tile / columns * g->tile_m, j = tile % columns * g->tile_n;

	return (struct gemm_tile){i, j, min_long(g->tile_m, g->m - i), min_long(g->tile_n, g->n - j)};
}

void gemm_tiled(enum gemm_op ta, enum gemm_op tb, long m, long n, long k, float alpha,
	const float *a, long lda, const float *b, long ldb, float beta, float *c, long ldc)
{
	struct gemm_grid g = gemm_grid(m, n);

	#pragma omp parallel for schedule(static)
	for (long tile = 0; tile < g.n_tiles; tile++) {
		struct gemm_tile t = gemm_grid_tile(&g, tile);
		gemm(ta, tb, t.m, t.n, k, alpha, a + (ta == GEMM_T ? t.i : t.i * lda), lda,
			b + (tb == GEMM_T ? t.j * ldb : t.j), ldb, beta, c + t.i * ldc + t.j, ldc);
	}
}
