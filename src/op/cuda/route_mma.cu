/*
 * route's three products by tensor cores. x is bf16; the router and dlogit are float32, so they
 * come in parts of bf16 (mma_tile.cuh): W in three for the logits, which are then as exact as those
 * of float32 products, dlogit in two for dW, 2^-17; for dx, which is bf16, one part of both. FLOPs
 * a token, expert and channel: 6 for the logits, 2 for dx, 4 for dW. Bytes: x once for the logits,
 * once for dW, dx once, or twice where it is added to.
 */
#include "op/cuda/mma_tile.cuh"
#include "op/cuda/route.cuh"

namespace {

enum {
	TOKENS = 256, EXPERTS = 64, DW_COLUMNS = 128, SPLIT_THREADS = 256,
	DX_TOKENS = 64, DX_COLUMNS = 128, DX_PIECES = DX_TOKENS * DX_COLUMNS / 8 / MMA_THREADS,
};

typedef mma_tile<TOKENS, EXPERTS, 32, 64, 32, 3, 1, ROUTE_W_PARTS, true, true, true> logits_tile;
typedef mma_tile<DX_TOKENS, DX_COLUMNS, 32, 32, 32, 3, 1, 1, false, false, false> dx_tile;
typedef mma_tile<EXPERTS, DW_COLUMNS, 16, 64, 32, 4, 2, 1, true, false, false> dw_tile;

/* w in [ROUTE_W_PARTS, E, D]. */
__global__ void split_router(rows<const float> w, bf16 *parts, int E, int D)
{
	long i = (long)blockIdx.x * SPLIT_THREADS + threadIdx.x, n = (long)E * D;
	bf16 part[ROUTE_W_PARTS];

	if (i >= n)
		return;
	mma_split(w[i / D][i % D], part);
	for (int k = 0; k < ROUTE_W_PARTS; k++)
		parts[k * n + i] = part[k];
}

/* Block: TOKENS in x, EXPERTS in y. */
__global__ void __launch_bounds__(MMA_THREADS, 2) make_logits(route_sizes s, rows<const bf16> x,
	const bf16 *w, float *logits_EN)
{
	long t0 = (long)blockIdx.x * TOKENS, part = (long)s.E * s.D;
	int e0 = blockIdx.y * EXPERTS;
	mma_operand a[1] = {{x[t0], x.ld, s.n - t0, s.D}}, b[ROUTE_W_PARTS];
	logits_tile t;

	for (int k = 0; k < ROUTE_W_PARTS; k++)
		b[k] = {w + k * part + (long)e0 * s.D, s.D, s.E - e0, s.D};
	t.product(a, b, shared_memory<logits_tile::stage>());
	t.each([&](int i, int j, float u, float v) {
		float *to = logits_EN + (e0 + j) * s.n + t0 + i;
		if (t0 + i >= s.n)
			return;
		if (e0 + j < s.E)
			*to = u;
		if (e0 + j + 1 < s.E)
			to[s.n] = v;
	});
}

/* Piece q of this thread in the tile of dx. */
__device__ __forceinline__ void dx_piece(int q, int *row, int *column)
{
	int p = threadIdx.x + q * MMA_THREADS;

	*row = p / (DX_COLUMNS / 8);
	*column = p % (DX_COLUMNS / 8) * 8;
}

/* dx = dlogit^T W. Block: columns fastest, then tokens. What is added to is on its way
   meanwhile. */
__global__ void __launch_bounds__(MMA_THREADS, 2) make_dx(route_sizes s, const bf16 *dlogit,
	const bf16 *w, rows<bf16> dx, int column_tiles, bool add)
{
	long t0 = blockIdx.x / column_tiles * (long)DX_TOKENS;
	int d0 = blockIdx.x % column_tiles * DX_COLUMNS, row, column;
	dx_tile::stage *ring = shared_memory<dx_tile::stage>();
	mma_operand a[1] = {{dlogit + t0, s.n, s.n - t0, s.E}};
	mma_operand b[1] = {{w + d0, s.D, s.D - d0, s.E}};
	uint4 old[DX_PIECES];
	dx_tile t;

	#pragma unroll
	for (int q = 0; q < DX_PIECES; q++) {
		dx_piece(q, &row, &column);
		old[q] = make_uint4(0, 0, 0, 0);
		if (add && t0 + row < s.n && d0 + column < s.D)
			old[q] = *(const uint4 *)(dx[t0 + row] + d0 + column);
	}
	t.product(a, b, ring);
	bf16 *c = (bf16 *)ring;
	t.lay_out(c);
	#pragma unroll
	for (int q = 0; q < DX_PIECES; q++) {
		dx_piece(q, &row, &column);
		eight v = load8(c + row * dx_tile::pitch + column);
		eight u = load8((const bf16 *)&old[q]);
		#pragma unroll
		for (int k = 0; k < 8; k++)
			v.v[k] += u.v[k];
		if (t0 + row < s.n && d0 + column < s.D)
			store8(dx[t0 + row] + d0 + column, v);
	}
}

/* dW over the tokens of a part. Block: parts in x, columns in y, experts in z. */
__global__ void __launch_bounds__(MMA_THREADS, 2) make_dw_parts(route_sizes s, const bf16 *dlogit,
	rows<const bf16> x, float *parts)
{
	long t0 = (long)blockIdx.x * ROUTE_PART, n = min((long)ROUTE_PART, s.n - t0);
	int d0 = blockIdx.y * DW_COLUMNS, e0 = blockIdx.z * EXPERTS;
	mma_operand a[2], b[1] = {{x[t0] + d0, x.ld, s.D - d0, n}};
	dw_tile t;

	for (int k = 0; k < 2; k++)
		a[k] = {dlogit + (k * s.E + e0) * s.n + t0, s.n, s.E - e0, n};
	t.product(a, b, shared_memory<dw_tile::stage>());
	t.each([&](int i, int j, float u, float v) {
		float2 *to = (float2 *)(parts + ((long)blockIdx.x * s.E + e0 + i) * s.D + d0 + j);
		if (e0 + i < s.E && d0 + j < s.D)
			*to = make_float2(u, v);
	});
}

}  // namespace

void route_split_router(const struct op_run *r, const route_sizes &s, bf16 *parts)
{
	launch(r, split_router, dim3((unsigned)ceil_div((long)s.E * s.D, SPLIT_THREADS)),
		SPLIT_THREADS, 0, rows_of<const float>(r->in[ROUTE_W_ED]), parts, s.E, s.D);
}

void route_mma_logits(const struct op_run *r, const route_sizes &s, const bf16 *w, float *logits_EN)
{
	launch(r, make_logits,
		dim3((unsigned)ceil_div(s.n, TOKENS), (unsigned)ceil_div(s.E, EXPERTS)),
		MMA_THREADS, logits_tile::shared_bytes, s, rows_of<const bf16>(r->in[ROUTE_X_BTD]),
		w, logits_EN);
}

void route_mma_dx(const struct op_run *r, const route_sizes &s, const bf16 *dlogit, const bf16 *w)
{
	unsigned columns = (unsigned)ceil_div(s.D, DX_COLUMNS);

	launch(r, make_dx, dim3((unsigned)ceil_div(s.n, DX_TOKENS) * columns), MMA_THREADS,
		dx_tile::shared_bytes, s, dlogit, w, rows_of<bf16>(r->d_in[ROUTE_X_BTD]),
		(int)columns, op_adds(r, ROUTE_X_BTD));
}

void route_mma_dw_parts(const struct op_run *r, const route_sizes &s, const bf16 *dlogit,
	float *parts)
{
	launch(r, make_dw_parts, dim3((unsigned)route_parts(s), (unsigned)ceil_div(s.D, DW_COLUMNS),
		(unsigned)ceil_div(s.E, EXPERTS)), MMA_THREADS, dw_tile::shared_bytes, s, dlogit,
		rows_of<const bf16>(r->in[ROUTE_X_BTD]), parts);
}
