/*
 * Products over segments by tensor cores: tiles of 128 x 128. FLOPs: 2 m n k; bytes: A once for
 * every 128 columns, W once for every 128 rows, mostly from the L2 cache.
 */
#include "op/cuda/grouped.cuh"
#include "op/cuda/mma_tile.cuh"

namespace {

enum { SIDE = 128, STAGES = 4 };

template <bool a_row, bool b_row>
using grouped_mma = mma_tile<SIDE, SIDE, 64, 32, STAGES, 1, 1, a_row, b_row, false>;

/* Eight neighbours v of C, from element j of row s on. */
__device__ __forceinline__ void finish(const grouped &g, long s, int j, eight v)
{
	bf16 *c = (bf16 *)g.c + s * g.ldc + j, *h = (bf16 *)g.h + s * g.n + j,
		*act = (bf16 *)g.act + s * g.n + j;
	eight x;

	if (g.end == END_STORE) {
		x = g.add ? load8(c) : eight{};
		#pragma unroll
		for (int k = 0; k < 8; k++)
			v.v[k] += x.v[k];
		store8(c, v);
		return;
	}
	x = g.end == END_SLOPE ? load8(h) : v;
	if (g.end == END_SLOPE) {
		#pragma unroll
		for (int k = 0; k < 8; k++)
			v.v[k] *= grouped_slope(g.fn, x.v[k]);
		store8(c, v);
	} else if (g.fn != ACT_RELU)
		store8(h, v);
	if (g.end == END_SLOPE && g.fn == ACT_RELU)
		return;
	#pragma unroll
	for (int k = 0; k < 8; k++)
		x.v[k] = grouped_act(g.fn, x.v[k]);
	store8(act, x);
}

/* Block: columns of C fastest, then tiles of rows. transposed: W[e] is [n, k]. */
template <bool transposed>
__global__ void __launch_bounds__(MMA_THREADS, 2) rows_product(grouped g, int column_tiles)
{
	typedef grouped_mma<true, transposed> tile;
	typename tile::stage *ring = shared_memory<typename tile::stage>();
	grouped_rows r = grouped_tile(g, blockIdx.x / column_tiles, SIDE);
	int j0 = blockIdx.x % column_tiles * SIDE;
	const bf16 *w = (const bf16 *)g.b + r.e * g.step;
	tile t;

	if (r.n <= 0)
		return;
	mma_operand a[1] = {{(const bf16 *)g.a + r.at * g.lda, g.lda, r.n, g.k}};
	mma_operand b[1] = {{w + (transposed ? j0 * g.ldb : j0), g.ldb, g.n - j0, g.k}};
	t.product(a, b, ring);
	bf16 *c = (bf16 *)ring;
	t.lay_out(c);
	for (int p = threadIdx.x; p < SIDE * SIDE / 8; p += MMA_THREADS) {
		int i = p / (SIDE / 8), j = p % (SIDE / 8) * 8;
		if (i < r.n && j0 + j < g.n)
			finish(g, r.at + i, j0 + j, load8(c + i * tile::pitch + j));
	}
}

/* Block: columns of C, rows of C, experts. */
__global__ void __launch_bounds__(MMA_THREADS, 2) expert_product(grouped g)
{
	typedef grouped_mma<false, false> tile;
	int j0 = blockIdx.x * SIDE, i0 = blockIdx.y * SIDE, e = blockIdx.z;
	long at = g.first[e], n = g.first[e + 1] - at;
	mma_operand a[1] = {{(const bf16 *)g.a + at * g.lda + i0, g.lda, g.m - i0, n}};
	mma_operand b[1] = {{(const bf16 *)g.b + at * g.ldb + j0, g.ldb, g.n - j0, n}};
	float *c = (float *)g.c + e * g.step;
	tile t;

	t.product(a, b, shared_memory<tile::stage>());
	t.each([&](int i, int j, float u, float v) {
		float2 *to = (float2 *)(c + (i0 + i) * g.ldc + j0 + j);
		if (i0 + i >= g.m || j0 + j >= g.n)
			return;
		*to = g.add ? make_float2(to->x + u, to->y + v) : make_float2(u, v);
	});
}

}  // namespace

void grouped_product_mma(const struct op_run *r, const struct grouped *g)
{
	unsigned columns = (unsigned)ceil_div(g->n, SIDE);

	if (g->form == BY_EXPERT)
		launch(r, expert_product,
			dim3(columns, (unsigned)ceil_div(g->m, SIDE), (unsigned)g->E), MMA_THREADS,
			grouped_mma<false, false>::shared_bytes, *g);
	else if (g->form == ROWS_NT)
		launch(r, rows_product<true>, dim3((unsigned)grouped_tiles(g, SIDE) * columns),
			MMA_THREADS, grouped_mma<true, true>::shared_bytes, *g, (int)columns);
	else
		launch(r, rows_product<false>, dim3((unsigned)grouped_tiles(g, SIDE) * columns),
			MMA_THREADS, grouped_mma<true, false>::shared_bytes, *g, (int)columns);
}
