/*
 * Products over segments by tensor cores: tiles of 128 x 256. FLOPs: 2 m n k; bytes: A once for
 * every 256 columns, W once for every 128 rows, mostly from the L2 cache.
 */
#include "op/cuda/grouped.cuh"
#include "op/cuda/mma_tile.cuh"

namespace {

enum { ROWS = 128, COLUMNS = 256, CHUNK = 64, STAGES = 4 };

template <bool a_row, bool b_row>
using grouped_mma = mma_tile<ROWS, COLUMNS, 64, 64, CHUNK, STAGES, 1, 1, a_row, b_row, false>;

/* Eight neighbours v of C, from element j of row s on. */
template <enum grouped_end end, enum act_fn fn>
__device__ __forceinline__ void finish(const grouped &g, long s, int j, eight v)
{
	bf16 *c = (bf16 *)g.c + s * g.ldc + j, *h = (bf16 *)g.h + s * g.n + j,
		*act = (bf16 *)g.act + s * g.n + j;
	eight x = v;

	if constexpr (end == END_STORE) {
		x = g.add ? load8(c) : eight{};
		#pragma unroll
		for (int k = 0; k < 8; k++)
			v.v[k] += x.v[k];
	}
	if constexpr (end == END_SLOPE) {
		x = load8(h);
		#pragma unroll
		for (int k = 0; k < 8; k++)
			v.v[k] *= act_slope<fn>(x.v[k]);
	}
	if constexpr (end != END_ACTIVATE)
		store8(c, v);
	else if constexpr (fn != ACT_RELU)
		store8(h, v);
	if constexpr (end == END_ACTIVATE || (end == END_SLOPE && fn != ACT_RELU)) {
		#pragma unroll
		for (int k = 0; k < 8; k++)
			x.v[k] = act_value<fn>(x.v[k]);
		store8(act, x);
	}
}

/* Block: columns of C fastest, then tiles of rows. nt: ROWS_NT, else ROWS_NN. */
template <bool nt, enum grouped_end end, enum act_fn fn>
__global__ void __launch_bounds__(MMA_THREADS) rows_product(grouped g, int column_tiles)
{
	typedef grouped_mma<true, nt> tile;
	grouped_rows r = grouped_tile(g, blockIdx.x / column_tiles, ROWS);
	int j0 = blockIdx.x % column_tiles * COLUMNS;
	const bf16 *w = (const bf16 *)g.b + r.e * g.step + (nt ? j0 * g.ldb : j0);
	tile t;

	if (r.n <= 0)
		return;
	mma_operand a[1] = {{(const bf16 *)g.a + r.at * g.lda, g.lda, r.n, g.k}};
	mma_operand b[1] = {{w, g.ldb, g.n - j0, g.k}};
	t.product(a, b, shared_memory<typename tile::stage>());
	t.each8([&](int i, int j, const eight &v) {
		if (i < r.n && j0 + j < g.n)
			finish<end, fn>(g, r.at + i, j0 + j, v);
	});
}

/* Block: columns of C, rows of C, experts. */
__global__ void __launch_bounds__(MMA_THREADS) expert_product(grouped g)
{
	typedef grouped_mma<false, false> tile;
	int j0 = blockIdx.x * COLUMNS, i0 = blockIdx.y * ROWS, e = blockIdx.z;
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

template <bool nt, enum grouped_end end, enum act_fn fn>
void launch_rows(const struct op_run *r, const struct grouped *g)
{
	unsigned columns = (unsigned)ceil_div(g->n, COLUMNS);

	launch(r, rows_product<nt, end, fn>, dim3((unsigned)grouped_tiles(g, ROWS) * columns),
		MMA_THREADS, grouped_mma<true, nt>::shared_bytes, *g, (int)columns);
}

template <bool nt>
void launch_end(const struct op_run *r, const struct grouped *g)
{
	if (g->end == END_STORE)
		launch_rows<nt, END_STORE, ACT_RELU>(r, g);
	else
		with_act(g->fn, [&](auto f) {
			launch_rows<nt, nt ? END_ACTIVATE : END_SLOPE, decltype(f)::value>(r, g);
		});
}

}  // namespace

void grouped_product_mma(const struct op_run *r, const struct grouped *g)
{
	if (g->form == ROWS_NT)
		launch_end<true>(r, g);
	else if (g->form == ROWS_NN)
		launch_end<false>(r, g);
	else
		launch(r, expert_product, dim3((unsigned)ceil_div(g->n, COLUMNS),
			(unsigned)ceil_div(g->m, ROWS), (unsigned)g->E), MMA_THREADS,
			grouped_mma<false, false>::shared_bytes, *g);
}
