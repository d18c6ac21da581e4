/*
 * Products over segments by tensor cores (mma.sync m16n8k16, bf16, sums in float32). A block of eight
 * warps makes a tile of 128 x 128, a warp 64 x 32 of it, over chunks of 32 terms; four chunks are on
 * their way to shared memory at a time. Each operand lies there as it lies in device memory, 16 bytes at
 * a time, in places exchanged (`swizzled`) so that the eight rows that a load of a matrix reads together
 * are in different banks. FLOPs: 2 m n k; bytes: A once for every 128 columns, W once for every 128 rows,
 * mostly from the L2 cache.
 */
#include "op/cuda/grouped.cuh"
#include "op/cuda/prim.cuh"

namespace {

enum {
	SIDE = 128,			/* of a tile */
	CHUNK = 32,			/* terms */
	STAGES = 4,
	THREADS = 256,
	PIECE = 8,			/* elements of a copy */
	OPERAND = SIDE * CHUNK,		/* elements of an operand's chunk */
	PITCH = SIDE + PIECE,		/* of the finished tile, in elements */
	WARP_ROWS = 64, WARP_COLUMNS = 32,
};

/* A chunk of an operand in shared memory. */
struct chunk {
	bf16 at[OPERAND];
};

struct stage {
	chunk a, b;
};

/* Where piece j of row i lies: rows of 4 pieces where terms are neighbours, of 16 where sides are. */
template <bool along_k>
__device__ __forceinline__ int swizzled(int i, int j)
{
	return along_k ? (i * 4 + (j ^ i / 2 % 4)) * PIECE : (i * 16 + (j ^ i % 8)) * PIECE;
}

/* An operand as this block sees it: element (side, term) at at + side * ld + term, or, where sides are
   neighbours, at + term * ld + side. There are n_sides and n_k of them. */
struct operand {
	const bf16 *at;
	long ld;
	long n_sides, n_k;
};

/* Enqueues the chunk from term k0 on; beyond the edges zeros. */
template <bool along_k>
__device__ __forceinline__ void fetch(chunk &to, const operand &o, long k0)
{
	constexpr int per_row = (along_k ? CHUNK : SIDE) / PIECE;

	#pragma unroll
	for (int n = threadIdx.x; n < OPERAND / PIECE; n += THREADS) {
		int i = n / per_row, j = n % per_row;
		long side = along_k ? i : j * PIECE, k = k0 + (along_k ? j * PIECE : i);
		bool there = side < o.n_sides && k < o.n_k;
		const bf16 *from = o.at + (along_k ? side * o.ld + k : k * o.ld + side);
		copy_async(to.at + swizzled<along_k>(i, j), there ? from : o.at, there);
	}
}

/* A of 16 rows from i0 and 16 terms from k0. */
template <bool along_k>
__device__ __forceinline__ void load_a(unsigned (&r)[4], const chunk &c, int i0, int k0)
{
	int l = threadIdx.x % 32, row = l % 8, side = l / 8 % 2, half = l / 16;

	if (along_k)
		ldmatrix<4, false>(r, c.at + swizzled<true>(i0 + 8 * side + row, k0 / 8 + half));
	else
		ldmatrix<4, true>(r, c.at + swizzled<false>(k0 + 8 * half + row, i0 / 8 + side));
}

/* B of 16 columns from j0 and 16 terms from k0: two operands of mma. */
template <bool along_k>
__device__ __forceinline__ void load_b(unsigned (&r)[4], const chunk &c, int j0, int k0)
{
	int l = threadIdx.x % 32, row = l % 8, half = l / 8 % 2, side = l / 16;

	if (along_k)
		ldmatrix<4, false>(r, c.at + swizzled<true>(j0 + 8 * side + row, k0 / 8 + half));
	else
		ldmatrix<4, true>(r, c.at + swizzled<false>(k0 + 8 * half + row, j0 / 8 + side));
}

/* A warp's part of the tile: 4 x 4 of mma's results. */
struct sums {
	float at[4][4][4];
};

template <bool a_along_k, bool b_along_k>
__device__ __forceinline__ void multiply(sums &s, const stage &g)
{
	int warp = threadIdx.x / 32, i0 = warp / 4 * WARP_ROWS, j0 = warp % 4 * WARP_COLUMNS;

	#pragma unroll
	for (int k = 0; k < CHUNK; k += 16) {
		unsigned a[4][4], b[2][4];
		#pragma unroll
		for (int i = 0; i < 4; i++)
			load_a<a_along_k>(a[i], g.a, i0 + 16 * i, k);
		#pragma unroll
		for (int j = 0; j < 2; j++)
			load_b<b_along_k>(b[j], g.b, j0 + 16 * j, k);
		#pragma unroll
		for (int i = 0; i < 4; i++)
			#pragma unroll
			for (int j = 0; j < 4; j++) {
				unsigned column[2] = {b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]};
				mma_bf16(s.at[i][j], a[i], column);
			}
	}
}

/* s = A B over all terms. */
template <bool a_along_k, bool b_along_k>
__device__ __forceinline__ void product(sums &s, const operand &a, const operand &b, stage *ring)
{
	long n = (a.n_k + CHUNK - 1) / CHUNK;

	#pragma unroll
	for (int c = 0; c < STAGES - 1; c++) {
		if (c < n) {
			fetch<a_along_k>(ring[c].a, a, c * CHUNK);
			fetch<b_along_k>(ring[c].b, b, c * CHUNK);
		}
		__pipeline_commit();
	}
	for (long c = 0; c < n; c++) {
		long next = c + STAGES - 1;
		__pipeline_wait_prior(STAGES - 2);
		__syncthreads();
		if (next < n) {
			fetch<a_along_k>(ring[next % STAGES].a, a, next * CHUNK);
			fetch<b_along_k>(ring[next % STAGES].b, b, next * CHUNK);
		}
		__pipeline_commit();
		multiply<a_along_k, b_along_k>(s, ring[c % STAGES]);
	}
	__pipeline_wait_prior(0);
	__syncthreads();
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* The tile as bf16, to[row * PITCH + column]. */
__device__ __forceinline__ void lay_out(bf16 *to, const sums &s)
{
	int warp = threadIdx.x / 32, l = threadIdx.x % 32;
	int row = warp / 4 * WARP_ROWS + l / 4, column = warp % 4 * WARP_COLUMNS + l % 4 * 2;

	#pragma unroll
	for (int i = 0; i < 4; i++)
		#pragma unroll
		for (int j = 0; j < 4; j++)
			#pragma unroll
			for (int half = 0; half < 2; half++)
				*(unsigned *)(to + (row + 16 * i + 8 * half) * PITCH + column + 8 * j) =
					bf16_pair(s.at[i][j][2 * half], s.at[i][j][2 * half + 1]);
	__syncthreads();
}

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
__global__ void __launch_bounds__(THREADS, 2) rows_product(grouped g, int column_tiles)
{
	stage *ring = shared_memory<stage>();
	grouped_rows r = grouped_tile(g, blockIdx.x / column_tiles, SIDE);
	int j0 = blockIdx.x % column_tiles * SIDE;
	const bf16 *w = (const bf16 *)g.b + r.e * g.step;
	sums s = {};

	if (r.n <= 0)
		return;
	operand a = {(const bf16 *)g.a + r.at * g.lda, g.lda, r.n, g.k};
	operand b = {w + (transposed ? j0 * g.ldb : j0), g.ldb, g.n - j0, g.k};
	product<true, transposed>(s, a, b, ring);
	bf16 *tile = (bf16 *)ring;
	lay_out(tile, s);
	for (int n = threadIdx.x; n < SIDE * SIDE / PIECE; n += THREADS) {
		int i = n / (SIDE / PIECE), j = n % (SIDE / PIECE) * PIECE;
		if (i < r.n && j0 + j < g.n)
			finish(g, r.at + i, j0 + j, load8(tile + i * PITCH + j));
	}
}

/* ---- by expert ------------------------------------------------------------------------------ */

/* Block: columns of C, rows of C, experts. */
__global__ void __launch_bounds__(THREADS, 2) expert_product(grouped g)
{
	stage *ring = shared_memory<stage>();
	int j0 = blockIdx.x * SIDE, i0 = blockIdx.y * SIDE, e = blockIdx.z;
	int warp = threadIdx.x / 32, l = threadIdx.x % 32;
	long at = g.first[e], n = g.first[e + 1] - at;
	operand a = {(const bf16 *)g.a + at * g.lda + i0, g.lda, g.m - i0, n};
	operand b = {(const bf16 *)g.b + at * g.ldb + j0, g.ldb, g.n - j0, n};
	sums s = {};

	product<false, false>(s, a, b, ring);
	int row = i0 + warp / 4 * WARP_ROWS + l / 4, column = j0 + warp % 4 * WARP_COLUMNS + l % 4 * 2;
	float *c = (float *)g.c + e * g.step;
	#pragma unroll
	for (int i = 0; i < 8; i++)
		#pragma unroll
		for (int j = 0; j < 4; j++) {
			float2 v = {s.at[i / 2][j][i % 2 * 2], s.at[i / 2][j][i % 2 * 2 + 1]};
			float2 *to = (float2 *)(c + (row + 8 * i) * g.ldc + column + 8 * j);
			if (row + 8 * i >= g.m || column + 8 * j >= g.n)
				continue;
			if (g.add) {
				v.x += to->x;
				v.y += to->y;
			}
			*to = v;
		}
}

}  // namespace

void grouped_product_mma(const struct op_run *r, const struct grouped *g)
{
	unsigned columns = (unsigned)ceil_div(g->n, SIDE);
	size_t shared = STAGES * sizeof(stage);

	if (g->form == BY_EXPERT) {
		launch(r, expert_product, dim3(columns, (unsigned)ceil_div(g->m, SIDE), (unsigned)g->E),
			THREADS, shared, *g);
		return;
	}
	launch(r, g->form == ROWS_NT ? rows_product<true> : rows_product<false>,
		dim3((unsigned)grouped_tiles(g, SIDE) * columns), THREADS, shared, *g, (int)columns);
}
