/* A router's products by tensor cores: op/cuda/router_mma.cuh. */
#include "op/cuda/mma_tile.cuh"
#include "op/cuda/router_mma.cuh"

namespace {

enum {
	TOKENS = 256, EXPERTS = 64, DW_COLUMNS = 128, SPLIT_THREADS = 256,
	DX_TOKENS = 64, DX_COLUMNS = 128, DX_PIECES = DX_TOKENS * DX_COLUMNS / 8 / MMA_THREADS,
};

typedef mma_tile<TOKENS, EXPERTS, 32, 64, 32, 3, 1, ROUTER_W_PARTS, true, true, true> logits_tile;
typedef mma_tile<DX_TOKENS, DX_COLUMNS, 32, 32, 32, 3, 1, 1, false, false, false> dx_tile;
typedef mma_tile<EXPERTS, DW_COLUMNS, 16, 64, 32, 4, 2, 1, true, false, false> dw_tile;

/* w in [ROUTER_W_PARTS, E, D]. */
__global__ void split_router(rows<const float> w, bf16 *parts, int E, int D)
{
	long i = (long)blockIdx.x * SPLIT_THREADS + threadIdx.x, n = (long)E * D;
	bf16 part[ROUTER_W_PARTS];

	if (i >= n)
		return;
	mma_split(w[i / D][i % D], part);
	for (int k = 0; k < ROUTER_W_PARTS; k++)
		parts[k * n + i] = part[k];
}

/* Block: TOKENS in x, EXPERTS in y. */
__global__ void __launch_bounds__(MMA_THREADS, 2) make_logits(router_sizes s, rows<const bf16> x,
	const bf16 *w, float *logits, long by_token, long by_expert)
{
	long t0 = (long)blockIdx.x * TOKENS, part = (long)s.E * s.D;
	int e0 = blockIdx.y * EXPERTS;
	mma_operand a[1] = {{x[t0], x.ld, s.n - t0, s.D}}, b[ROUTER_W_PARTS];
	logits_tile t;

	for (int k = 0; k < ROUTER_W_PARTS; k++)
		b[k] = {w + k * part + (long)e0 * s.D, s.D, s.E - e0, s.D};
	t.product(a, b, shared_memory<logits_tile::stage>());
	t.each([&](int i, int j, float u, float v) {
		float *to = logits + (t0 + i) * by_token + (e0 + j) * by_expert;
		if (t0 + i >= s.n)
			return;
		if (e0 + j < s.E)
			*to = u;
		if (e0 + j + 1 < s.E)
			to[by_expert] = v;
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
__global__ void __launch_bounds__(MMA_THREADS, 2) make_dx(router_sizes s, const bf16 *dlogit,
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
__global__ void __launch_bounds__(MMA_THREADS, 2) make_dw_parts(router_sizes s, const bf16 *dlogit,
	rows<const bf16> x, float *parts)
{
	long t0 = (long)blockIdx.x * ROUTER_MMA_PART, n = min((long)ROUTER_MMA_PART, s.n - t0);
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

void router_mma_split(const struct op_run *r, const router_sizes &z, const struct tensor *w_ED, bf16 *to)
{
	launch(r, split_router, dim3((unsigned)ceil_div((long)z.E * z.D, SPLIT_THREADS)), SPLIT_THREADS, 0,
		rows_of<const float>(w_ED), to, z.E, z.D);
}

void router_mma_logits(const struct op_run *r, const router_sizes &z, const struct tensor *x_BTD, const bf16 *w,
	float *to, long by_token, long by_expert)
{
	launch(r, make_logits, dim3((unsigned)ceil_div(z.n, TOKENS), (unsigned)ceil_div(z.E, EXPERTS)), MMA_THREADS,
		logits_tile::shared_bytes, z, rows_of<const bf16>(x_BTD), w, to, by_token, by_expert);
}

void router_mma_dx(const struct op_run *r, const router_sizes &z, const bf16 *dlogit, const bf16 *w,
	const struct tensor *dx_BTD, bool add)
{
	unsigned columns = (unsigned)ceil_div(z.D, DX_COLUMNS);

	launch(r, make_dx, dim3((unsigned)ceil_div(z.n, DX_TOKENS) * columns), MMA_THREADS, dx_tile::shared_bytes, z,
		dlogit, w, rows_of<bf16>(dx_BTD), (int)columns, add);
}

void router_mma_dw_parts(const struct op_run *r, const router_sizes &z, const bf16 *dlogit, const struct tensor *x_BTD,
	float *to)
{
	launch(r, make_dw_parts, dim3((unsigned)router_mma_parts(z), (unsigned)ceil_div(z.D, DW_COLUMNS),
		(unsigned)ceil_div(z.E, EXPERTS)), MMA_THREADS, dw_tile::shared_bytes, z, dlogit,
		rows_of<const bf16>(x_BTD), to);
}
