/*
 * Products over segments by tensor cores, whichever make the tiles of 128 x 256 (mma_tile.cuh,
 * wgmma_tile.cuh). A block makes one piece of C after the other; while it writes a piece the first
 * chunks of the next are on their way. FLOPs: 2 m n k; bytes: A once for every 256 columns, W once for
 * every 128 rows, mostly from the L2 cache.
 */
#ifndef OP_CUDA_GROUPED_TILE_CUH
#define OP_CUDA_GROUPED_TILE_CUH

#include "op/cuda/grouped.cuh"
#include "op/cuda/mma_tile.cuh"

enum { GROUPED_ROWS = 128, GROUPED_COLUMNS = 256 };

/* A tile of C, its operands and its first row and column; of which expert. */
struct grouped_piece {
	mma_operand a[1], b[1];
	long row;
	int column, e;
};

/* Eight neighbours of C, from element j of row s on. */
template <enum grouped_end end, enum act_fn fn>
__device__ __forceinline__ void grouped_end8(const grouped &g, long s, int j, const raw8<bf16> &raw)
{
	bf16 *c = (bf16 *)g.c + s * g.ldc + j, *h = (bf16 *)g.h + s * g.n + j,
		*act = (bf16 *)g.act + s * g.n + j;
	eight v = eight_of(raw), x = v;

	if (end == END_STORE && !g.add) {
		*(uint4 *)c = raw.part[0];
		return;
	}
	if constexpr (end != END_ACTIVATE) {
		x = load8(end == END_STORE ? c : h);
		#pragma unroll
		for (int k = 0; k < 8; k++)
			v.v[k] = end == END_STORE ? v.v[k] + x.v[k] : v.v[k] * act_slope<fn>(x.v[k]);
		store8(c, v);
	} else if constexpr (fn != ACT_RELU)
		*(uint4 *)h = raw.part[0];
	if constexpr (end == END_ACTIVATE || (end == END_SLOPE && fn != ACT_RELU)) {
		#pragma unroll
		for (int k = 0; k < 8; k++)
			x.v[k] = act_value<fn>(x.v[k]);
		store8(act, x);
	}
}

/* Piece i, columns fastest, then tiles of rows. false: a tile without rows or columns. */
template <bool nt>
__device__ __forceinline__ bool grouped_rows_piece(const grouped &g, int i, grouped_piece *p)
{
	int columns = (g.n + GROUPED_COLUMNS - 1) / GROUPED_COLUMNS;
	grouped_rows r = grouped_tile(g, i / columns, GROUPED_ROWS);
	grouped_part part = grouped_part_of(g, r.e);

	p->row = r.at;
	p->column = i % columns * GROUPED_COLUMNS;
	p->e = r.e;
	p->a[0] = {(const bf16 *)g.a + r.at * g.lda, g.lda, r.n, part.k};
	p->b[0] = {(const bf16 *)g.b + part.at + p->column * (nt ? g.ldb : 1), g.ldb,
		part.n - p->column, part.k};
	return r.n > 0 && p->column < part.n;
}

/* Piece i of BY_EXPERT: columns fastest, then rows, then experts. */
__device__ __forceinline__ bool grouped_expert_piece(const grouped &g, int i, grouped_piece *p)
{
	int columns = (g.n + GROUPED_COLUMNS - 1) / GROUPED_COLUMNS;
	int rows = (g.m + GROUPED_ROWS - 1) / GROUPED_ROWS;

	p->e = i / columns / rows;
	p->row = i / columns % rows * GROUPED_ROWS;
	p->column = i % columns * GROUPED_COLUMNS;
	grouped_part part = grouped_part_of(g, p->e);
	long at = g.first[p->e], n = g.first[p->e + 1] - at;
	p->a[0] = {(const bf16 *)g.a + at * g.lda + p->row, g.lda, part.m - p->row, n};
	p->b[0] = {(const bf16 *)g.b + at * g.ldb + p->column, g.ldb, part.n - p->column, n};
	return p->row < part.m && p->column < part.n;
}

/* This block's pieces of n in turn: find(i, &piece), then put(tile, piece) with the sums. */
template <typename tile, typename finder, typename sink>
__device__ __forceinline__ void each_piece(int n, const finder &find, const sink &put)
{
	typename tile::stage *ring = tile::shared_ring();
	grouped_piece next;
	int i = blockIdx.x;
	tile t;

	while (i < n && !find(i, &next))
		i += gridDim.x;
	if (i < n)
		t.begin(next.a, next.b, ring);
	while (i < n) {
		grouped_piece p = next;
		i += gridDim.x;
		while (i < n && !find(i, &next))
			i += gridDim.x;
		t.finish((int)p.a[0].n_terms, GROUPED_COLUMNS, ring);
		if (i < n)
			t.begin(next.a, next.b, ring);
		put(t, p);
	}
}

template <typename tile, bool nt, enum grouped_end end, enum act_fn fn>
__global__ void __launch_bounds__(MMA_THREADS) rows_product(grouped g, int n)
{
	each_piece<tile>(n,
		[&](int i, grouped_piece *p) { return grouped_rows_piece<nt>(g, i, p); },
		[&](const tile &t, const grouped_piece &p) {
			t.each8([&](int i, int j, const raw8<bf16> &v) {
				if (i < p.a[0].n_sides && j < p.b[0].n_sides)
					grouped_end8<end, fn>(g, p.row + i, p.column + j, v);
			});
		});
}

template <typename tile>
__global__ void __launch_bounds__(MMA_THREADS) expert_product(grouped g, int n)
{
	each_piece<tile>(n,
		[&](int i, grouped_piece *p) { return grouped_expert_piece(g, i, p); },
		[&](const tile &t, const grouped_piece &p) {
			float *c = (float *)g.c + grouped_part_of(g, p.e).at + p.row * g.ldc + p.column;
			t.each([&](int i, int j, float u, float v) {
				float2 *to = (float2 *)(c + i * g.ldc + j);
				if (i >= p.a[0].n_sides || j >= p.b[0].n_sides)
					return;
				*to = g.add ? make_float2(to->x + u, to->y + v) : make_float2(u, v);
			});
		});
}

/* As many blocks as run at once, for n pieces. */
template <typename tile, typename kernel>
void launch_pieces(const struct op_run *r, const kernel &k, const struct grouped *g, long n)
{
	long most = r->queue->n_multiprocessors;

	launch(r, k, dim3((unsigned)(n < most ? n : most)), MMA_THREADS, tile::shared_bytes, *g, (int)n);
}

template <typename tile, bool nt>
void launch_rows(const struct op_run *r, const struct grouped *g)
{
	long n = grouped_tiles(g, GROUPED_ROWS) * ceil_div(g->n, GROUPED_COLUMNS);

	if (g->end == END_STORE)
		launch_pieces<tile>(r, rows_product<tile, nt, END_STORE, ACT_RELU>, g, n);
	else
		with_act(g->fn, [&](auto f) {
			launch_pieces<tile>(r, rows_product<tile, nt, nt ? END_ACTIVATE : END_SLOPE,
				decltype(f)::value>, g, n);
		});
}

/* tile<terms are neighbours in A, in B>. */
template <template <bool, bool> class tile>
void grouped_launch(const struct op_run *r, const struct grouped *g)
{
	if (g->form == ROWS_NT)
		launch_rows<tile<true, true>, true>(r, g);
	else if (g->form == ROWS_NN)
		launch_rows<tile<true, false>, false>(r, g);
	else
		launch_pieces<tile<false, false>>(r, expert_product<tile<false, false>>, g,
			ceil_div(g->n, GROUPED_COLUMNS) * ceil_div(g->m, GROUPED_ROWS) * g->E);
}

#endif
