/*
 * route on the GPU, backward, by the formula in op/route.c: dlogit of all tokens, from it dx, and
 * dW by parts of so many tokens that are summed in order. Bytes: x once, dx once or twice, dlogit
 * thrice.
 */
#include "op/cuda/mma_tile.cuh"
#include "op/cuda/route.cuh"

namespace {

enum { THREADS = 256 };

struct route_backward {
	route_sizes s;
	rows<const float> w;
	by_token<const int> slot, expert;
	by_token<const float> d_gate;		/* at NULL: 0 */
	const float *d_balance, *d_z;		/* NULL: 0 */
	const float *p_EN, *lse_N;
	const int *count_GE;
	float *dlogit_EN, *parts, *valid_G, *share_G;
	bf16 *dlogit_2EN;			/* for tensor cores, in place of dlogit_EN */
	float *dw;
	long dw_ld;
	bool add_x, add_w;
};

/* Valid tokens of each group, and 1 / (N M): what one of them weighs in a mean over groups. One
   block. */
__global__ void weigh_groups(route_backward b)
{
	int *groups = shared_memory<int>(), lane = threadIdx.x % WARP_LANES, mine = 0;
	int warp = threadIdx.x / WARP_LANES;

	for (long g = warp; g < b.s.groups; g += ROW_WARPS) {
		int n = 0;
		for (int e = lane; e < b.s.E; e += WARP_LANES)
			n += b.count_GE[g * b.s.E + e];
		n = __shfl_sync(0xffffffffu, warp_running_sum(n), WARP_LANES - 1);
		mine += n > 0;
		if (lane == 0)
			b.valid_G[g] = (float)n;
	}
	if (lane == 0)
		groups[warp] = mine;
	__syncthreads();
	mine = 0;
	for (int k = 0; k < ROW_WARPS; k++)
		mine += groups[k];
	for (long g = threadIdx.x; g < b.s.groups; g += ROW_THREADS)
		b.share_G[g] = b.valid_G[g] > 0 ? 1 / (b.valid_G[g] * (float)mine) : 0;
}

/* What a token's gradient is made of. */
struct token_gradient {
	int chosen;		/* -1: masked */
	float gate, z;		/* d_gate where it is kept; d_z 2 lse / (N M) */
};

__device__ __forceinline__ token_gradient gradient_of(const route_backward &b, long t, float share)
{
	token_gradient g = {b.expert[t], 0, 0};

	if (b.d_gate.at && b.slot[t] >= 0)
		g.gate = b.d_gate[t];
	if (b.d_z)
		g.z = *b.d_z * 2 * share * b.lse_N[t];
	return g;
}

__device__ __forceinline__ void put_dlogit(const route_backward &b, long at, float v)
{
	bf16 part[2];

	if (!b.dlogit_2EN) {
		b.dlogit_EN[at] = v;
		return;
	}
	mma_split(v, part);
	b.dlogit_2EN[at] = part[0];
	b.dlogit_2EN[b.s.E * b.s.n + at] = part[1];
}

/* dlogit of a tile: the threads of a token have every so many-th expert each. */
__global__ void __launch_bounds__(TILE_THREADS) make_dlogit(route_backward b)
{
	float (*means)[TILE_SIDE] = shared_memory<float[TILE_SIDE]>(), mean = 0;
	route_span tile = route_tile(b.s, blockIdx.x);
	int i = threadIdx.x % TILE_SIDE, share = threadIdx.x / TILE_SIDE;
	long t = tile.at + i, N = b.s.n;
	const int *count = b.count_GE + tile.group * b.s.E;
	float weight = b.share_G[tile.group], per_count = 0;
	token_gradient g = {-1, 0, 0};

	if (b.d_balance && weight > 0)
		per_count = *b.d_balance * weight * (float)b.s.E / b.valid_G[tile.group];
	if (i < tile.n)
		g = gradient_of(b, t, weight);
	for (int e = share; g.chosen >= 0 && e < b.s.E; e += SHARES)
		mean += b.p_EN[e * N + t] *
			(per_count * (float)count[e] + (e == g.chosen ? g.gate : 0));
	means[share][i] = mean;
	__syncthreads();
	mean = 0;
	for (int k = 0; k < SHARES; k++)
		mean += means[k][i];
	for (int e = share; i < tile.n && e < b.s.E; e += SHARES) {
		float a = per_count * (float)count[e] + (e == g.chosen ? g.gate : 0);
		put_dlogit(b, e * N + t, g.chosen < 0 ? 0 : b.p_EN[e * N + t] * (a - mean + g.z));
	}
}

/* dx = dlogit^T W: 64 tokens a block of x, 64 columns of y. */
template <typename real>
__global__ void __launch_bounds__(TILE_THREADS) make_dx(route_backward b, rows<real> dx)
{
	long t0 = (long)blockIdx.x * TILE_SIDE, N = b.s.n;
	int d0 = blockIdx.y * TILE_SIDE, D = b.s.D;
	float sum[4][4] = {};

	tile_product<false, false>(sum, b.s.E,
		[&](int i, long e) { return t0 + i < N ? b.dlogit_EN[e * N + t0 + i] : 0.0f; },
		[&](int j, long e) { return d0 + j < D ? b.w[e][d0 + j] : 0.0f; },
		shared_memory<float>());
	tile_store(sum, [&](int i, int j, float v) {
		if (t0 + i >= N || d0 + j >= D)
			return;
		put(dx, t0 + i, d0 + j, b.add_x, v);
	});
}

/* dW over the tokens of part x: 64 columns in y, 64 experts in z. */
template <typename real>
__global__ void __launch_bounds__(TILE_THREADS) make_dw_parts(route_backward b, rows<const real> x)
{
	long t0 = (long)blockIdx.x * ROUTER_MMA_PART, N = b.s.n;
	int d0 = blockIdx.y * TILE_SIDE, e0 = blockIdx.z * TILE_SIDE, D = b.s.D, E = b.s.E;
	float sum[4][4] = {};

	tile_product<true, false>(
		sum, min((long)ROUTER_MMA_PART, N - t0),
		[&](int i, long k) {
			return e0 + i < E ? b.dlogit_EN[(e0 + i) * N + t0 + k] : 0.0f;
		},
		[&](int j, long k) { return d0 + j < D ? to_float(x[t0 + k][d0 + j]) : 0.0f; },
		shared_memory<float>());
	tile_store(sum, [&](int i, int j, float v) {
		if (e0 + i < E && d0 + j < D)
			b.parts[((long)blockIdx.x * E + e0 + i) * D + d0 + j] = v;
	});
}

__global__ void sum_dw_parts(route_backward b, long n_parts)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x, n = (long)b.s.E * b.s.D;
	float sum = 0;

	if (i >= n)
		return;
	#pragma unroll 8
	for (long k = 0; k < n_parts; k++)
		sum += b.parts[k * n + i];
	float *to = b.dw + i / b.s.D * b.dw_ld + i % b.s.D;
	*to = b.add_w ? *to + sum : sum;
}

inline route_backward backward_of(const struct op_run *r)
{
	const struct tensor *d_balance = r->d_out[ROUTE_BALANCE], *d_z = r->d_out[ROUTE_Z];
	const struct tensor *dw = r->d_in[ROUTE_W_ED];
	route_backward b = {};

	b.s = route_sizes_of(r->in[ROUTE_X_BTD], r->in[ROUTE_W_ED], r->attr);
	b.w = rows_of<const float>(r->in[ROUTE_W_ED]);
	b.slot = by_token_of<const int>(r->out[ROUTE_SLOT_BT]);
	b.expert = by_token_of<const int>(r->out[ROUTE_EXPERT_BT]);
	b.d_gate = by_token_of<const float>(r->d_out[ROUTE_GATE_BT]);
	b.d_balance = floats_of(d_balance);
	b.d_z = floats_of(d_z);
	b.p_EN = (const float *)r->saved[ROUTE_P_EBT]->at;
	b.lse_N = (const float *)r->saved[ROUTE_LSE_BT]->at;
	b.count_GE = (const int *)r->saved[ROUTE_COUNT_GE]->at;
	b.dlogit_EN = (float *)((char *)r->workspace + router_split_bytes(b.s));
	if (router_serves_mma(r->device, r->in[ROUTE_X_BTD], r->d_in[ROUTE_X_BTD]))
		b.dlogit_2EN = (bf16 *)b.dlogit_EN;
	b.parts = b.dlogit_EN + b.s.E * b.s.n;
	b.valid_G = b.parts + router_mma_parts(b.s) * b.s.E * b.s.D;
	b.share_G = b.valid_G + b.s.groups;
	b.dw = floats_of(dw);
	b.dw_ld = dw ? dw->ld : 0;
	b.add_x = op_adds(r, ROUTE_X_BTD);
	b.add_w = op_adds(r, ROUTE_W_ED);
	return b;
}

}  // namespace

/* dx and the parts of dW, by tiles in float. */
static void products_plain(const struct op_run *r, const route_backward &b)
{
	unsigned columns = (unsigned)ceil_div(b.s.D, TILE_SIDE),
			experts = (unsigned)ceil_div(b.s.E, TILE_SIDE);
	size_t shared = TILE_FLOATS * sizeof(float);

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		if (r->d_in[ROUTE_X_BTD])
			launch(r, make_dx<real>,
				dim3((unsigned)ceil_div(b.s.n, TILE_SIDE), columns), TILE_THREADS,
				shared, b, rows_of<real>(r->d_in[ROUTE_X_BTD]));
		if (b.dw)
			launch(r, make_dw_parts<real>,
				dim3((unsigned)router_mma_parts(b.s), columns, experts), TILE_THREADS,
				shared, b, rows_of<const real>(r->in[ROUTE_X_BTD]));
	});
}

static void products_mma(const struct op_run *r, const route_backward &b)
{
	bf16 *w = (bf16 *)r->workspace;

	if (r->d_in[ROUTE_X_BTD]) {
		router_mma_split(r, b.s, r->in[ROUTE_W_ED], w);
		router_mma_dx(r, b.s, b.dlogit_2EN, w, r->d_in[ROUTE_X_BTD], op_adds(r, ROUTE_X_BTD));
	}
	if (b.dw)
		router_mma_dw_parts(r, b.s, b.dlogit_2EN, r->in[ROUTE_X_BTD], b.parts);
}

extern "C" void route_backward_cuda(const struct op_run *r)
{
	route_backward b = backward_of(r);

	launch(r, weigh_groups, dim3(1), ROW_THREADS, ROW_WARPS * sizeof(int), b);
	launch(r, make_dlogit, dim3((unsigned)b.s.tiles), TILE_THREADS,
		SHARES * TILE_SIDE * sizeof(float), b);
	if (b.dlogit_2EN)
		products_mma(r, b);
	else
		products_plain(r, b);
	if (b.dw)
		launch(r, sum_dw_parts, dim3((unsigned)ceil_div((long)b.s.E * b.s.D, THREADS)),
			THREADS, 0, b, router_mma_parts(b.s));
}
