/*
 * route on the GPU, forward, in four launches:
 *  1. choose: a block takes a tile of 64 tokens: logits, unless tensor cores have made them before,
 *     softmax, argmax, and by units of 32 tokens how many chose each expert, and sums for losses;
 *  2. rank: a warp per group and expert: counts of units become ranks of their first tokens;
 *  3. settle: one block lays out the buffer's segments and makes losses, in float64, and metrics;
 *  4. place: slots, by the rank of a token among those of its unit that chose the same expert.
 * Bytes: x once; p, 4 E a token, once, or twice if logits were made before, mostly in the L2 cache.
 */
#include <limits.h>

#include "op/cuda/route_settle.cuh"

namespace {

enum {
	LOGITS_MOST = 64 << 10,		/* bytes of shared memory for a tile's logits */
};

/* ---- 1. choose ------------------------------------------------------------------------------ */

/* Shared by a block: what the threads of a token have found, then a tile's logits. */
struct choose_shared {
	float tile[TILE_FLOATS];
	float most[SHARES][TILE_SIDE], sum[SHARES][TILE_SIDE], mean[SHARES][TILE_SIDE];
	int best[SHARES][TILE_SIDE];
	float logits[1];
};

/* A tile's logits, by expert and token. */
struct tile_logits {
	float *at;
	long ld;			/* from expert to expert */
};

template <typename real>
__device__ __forceinline__ void make_logits(const route_forward &f, rows<const real> x,
	const route_span &t, const tile_logits &logits, float *shared)
{
	for (int e0 = 0; e0 < f.s.E; e0 += TILE_SIDE) {
		float sum[4][4] = {};
		tile_product<true, true>(
			sum, f.s.D,
			[&](int i, long k) { return i < t.n ? to_float(x[t.at + i][k]) : 0.0f; },
			[&](int j, long k) { return e0 + j < f.s.E ? f.w[e0 + j][k] : 0.0f; },
			shared);
		tile_store(sum, [&](int i, int j, float v) {
			if (i < t.n && e0 + j < f.s.E)
				logits.at[(e0 + j) * logits.ld + i] = v;
		});
	}
	__syncthreads();
}

struct choice {
	float most;
	int expert;
};

/* Argmax of a token's logits, ties to the lowest expert. */
__device__ __forceinline__ choice find_choice(const route_forward &f, const tile_logits &logits,
	bool there, choose_shared *m)
{
	int i = threadIdx.x % TILE_SIDE, share = threadIdx.x / TILE_SIDE;
	choice c = {-INFINITY, INT_MAX};

	for (int e = share; there && e < f.s.E; e += SHARES) {
		float logit = logits.at[e * logits.ld + i];
		if (e == share || logit > c.most)
			c = {logit, e};
	}
	m->most[share][i] = c.most;
	m->best[share][i] = c.expert;
	__syncthreads();
	c = {m->most[0][i], m->best[0][i]};
	for (int k = 1; k < SHARES; k++) {
		choice d = {m->most[k][i], m->best[k][i]};
		if (d.most > c.most || (d.most == c.most && d.expert < c.expert))
			c = d;
	}
	return c;
}

/* Logits become exp(logit - most); returns their sum, and the sum of products with logit - most. */
__device__ __forceinline__ float2 exponentials(const route_forward &f, const tile_logits &logits,
	bool there, float most, choose_shared *m)
{
	int i = threadIdx.x % TILE_SIDE, share = threadIdx.x / TILE_SIDE;
	float2 sums = {0, 0};

	for (int e = share; there && e < f.s.E; e += SHARES) {
		float *at = logits.at + e * logits.ld + i, logit = *at - most, p = expf(logit);
		*at = p;
		sums.x += p;
		sums.y += p * logit;
	}
	m->sum[share][i] = sums.x;
	m->mean[share][i] = sums.y;
	__syncthreads();
	sums = {0, 0};
	for (int k = 0; k < SHARES; k++) {
		sums.x += m->sum[k][i];
		sums.y += m->mean[k][i];
	}
	return sums;
}

/* p of every expert, and over the unit of this warp how many chose it and the sum of p. */
__device__ __forceinline__ void keep_p(const route_forward &f, const tile_logits &logits,
	const route_span &t, float scale, int chosen)
{
	int i = threadIdx.x % TILE_SIDE;
	long units = f.s.tiles * UNITS, unit = (long)blockIdx.x * UNITS + i / UNIT;

	for (int e = threadIdx.x / TILE_SIDE; e < f.s.E; e += SHARES) {
		float p = i < t.n ? logits.at[e * logits.ld + i] * scale : 0;
		if (i < t.n)
			f.p_EN[e * f.s.n + t.at + i] = p;
		float sum = warp_sum(chosen < 0 ? 0 : p);
		unsigned chose = __ballot_sync(0xffffffffu, chosen == e);
		if (i % UNIT == 0) {
			f.room.p_EU[e * units + unit] = sum;
			f.room.rank_EU[e * units + unit] = __popc(chose);
		}
	}
}

__device__ __forceinline__ void clear_tokens(const route_forward &f)
{
	for (long s = (long)blockIdx.x * TILE_THREADS + threadIdx.x; s < f.S;
		s += (long)gridDim.x * TILE_THREADS)
		f.token[s] = -1;
}

template <typename real>
__global__ void __launch_bounds__(TILE_THREADS) choose(route_forward f, rows<const real> x)
{
	choose_shared *m = shared_memory<choose_shared>();
	route_span t = route_tile(f.s, blockIdx.x);
	tile_logits logits = {f.p_EN + t.at, f.s.n};
	int i = threadIdx.x % TILE_SIDE, share = threadIdx.x / TILE_SIDE;
	bool there = i < t.n;

	if (f.logits_shared)
		logits = {m->logits, TILE_SIDE};
	clear_tokens(f);
	if (!f.logits_made)
		make_logits(f, x, t, logits, m->tile);
	else if (f.logits_shared)
		for (int e = share; there && e < f.s.E; e += SHARES)
			logits.at[e * logits.ld + i] = f.p_EN[e * f.s.n + t.at + i];
	choice c = find_choice(f, logits, there, m);
	float2 sums = exponentials(f, logits, there, c.most, m);
	if (!there || (f.mask.at && f.mask[t.at + i] < 0))
		c.expert = -1;
	float log_sum = logf(sums.x), lse = c.most + log_sum;
	float entropy = c.expert < 0 ? 0 : log_sum - sums.y / sums.x;
	keep_p(f, logits, t, 1 / sums.x, c.expert);
	if (share)
		return;
	if (there) {
		f.lse_N[t.at + i] = lse;
		f.expert[t.at + i] = c.expert;
	}
	float z = warp_sum(c.expert < 0 ? 0 : lse * lse);
	entropy = warp_sum(entropy);
	if (i % UNIT == 0) {
		f.room.z_U[(long)blockIdx.x * UNITS + i / UNIT] = z;
		f.room.entropy_U[(long)blockIdx.x * UNITS + i / UNIT] = entropy;
	}
}

/* ---- 2. rank -------------------------------------------------------------------------------- */

/* A warp for each group and expert, and for the losses of each group. */
__global__ void rank(route_forward f)
{
	long i = row_of_warp(), g = i / (f.s.E + 1), units = f.s.group_tiles * UNITS,
		from = g * units;
	int e = (int)(i % (f.s.E + 1));
	bool first_lane = threadIdx.x % WARP_LANES == 0;

	if (g >= f.s.groups)
		return;
	if (e == f.s.E) {
		double z = sum_units(f.room.z_U + from, units);
		double entropy = sum_units(f.room.entropy_U + from, units);
		if (first_lane) {
			f.room.z_G[g] = z;
			f.room.entropy_G[g] = entropy;
		}
		return;
	}
	long at = e * f.s.tiles * UNITS + from;
	double p = sum_units(f.room.p_EU + at, units);
	int count = rank_units(f.room.rank_EU + at, units);
	if (first_lane) {
		f.room.p_GE[g * f.s.E + e] = p;
		f.place.count_GE[g * f.s.E + e] = count;
	}
}

/* ---- 3. settle: route_settle.cuh ------------------------------------------------------------- */

/* ---- 4. place ------------------------------------------------------------------------------- */

/* A warp does a unit. */
__global__ void place(route_forward f)
{
	long unit = row_of_warp(), units = f.s.tiles * UNITS;
	int lane = threadIdx.x % WARP_LANES, slot = -1;

	if (unit >= units)
		return;
	route_span u = route_unit(f.s, unit);
	long t = u.at + lane;
	int e = lane < u.n ? f.expert[t] : -1;
	unsigned same = __match_any_sync(0xffffffffu, e);
	if (e >= 0) {
		int rank = f.room.rank_EU[e * units + unit] + __popc(same & ((1u << lane) - 1));
		if (rank < f.s.capacity)
			slot = f.place.first[e] + f.room.start_EG[e * f.s.groups + u.group] + rank;
	}
	if (lane >= u.n)
		return;
	f.slot[t] = slot;
	f.gate[t] = slot < 0 ? 0 : f.p_EN[e * f.s.n + t];
	if (slot >= 0)
		f.token[slot] = (int)t;
}

/* ---- launching ------------------------------------------------------------------------------ */

inline size_t logits_bytes(const route_sizes &s)
{
	return (size_t)s.E * TILE_SIDE * sizeof(float);
}

inline route_forward forward_of(const struct op_run *r)
{
	const struct tensor *token = r->out[ROUTE_TOKEN_S];
	route_forward f = {};

	f.s = route_sizes_of(r->in[ROUTE_X_BTD], r->in[ROUTE_W_ED], r->attr);
	f.room = room_of(f.s, (char *)r->workspace + router_split_bytes(f.s));
	f.w = rows_of<const float>(r->in[ROUTE_W_ED]);
	f.mask = by_token_of<const int>(r->in[ROUTE_MASK_BT]);
	f.gate = by_token_of<float>(r->out[ROUTE_GATE_BT]);
	f.slot = by_token_of<int>(r->out[ROUTE_SLOT_BT]);
	f.expert = by_token_of<int>(r->out[ROUTE_EXPERT_BT]);
	f.place = {f.s.groups, f.s.E, f.s.capacity, token->n_dims == 2 ? token->dims[1] : 0,
		(int *)r->saved[ROUTE_COUNT_GE]->at, f.room.start_EG,
		(int *)r->out[ROUTE_FIRST_E1]->at, (int *)r->out[ROUTE_COUNT_E]->at};
	f.token = (int *)token->at;
	f.S = tensor_size(token);
	f.p_EN = (float *)r->saved[ROUTE_P_EBT]->at;
	f.lse_N = (float *)r->saved[ROUTE_LSE_BT]->at;
	f.load_E = (float *)r->out[ROUTE_LOAD_E]->at;
	f.balance = (float *)r->out[ROUTE_BALANCE]->at;
	f.z = (float *)r->out[ROUTE_Z]->at;
	f.dropped = (float *)r->out[ROUTE_DROPPED]->at;
	f.entropy = (float *)r->out[ROUTE_ENTROPY]->at;
	f.logits_shared = logits_bytes(f.s) <= LOGITS_MOST;
	f.logits_made = router_serves_mma(r->device, r->in[ROUTE_X_BTD], NULL);
	return f;
}

}  // namespace

/* The router in parts, then forward what the launches hand on, backward dlogit [E, N], the parts of
   dW, and what a token of each group weighs (route_backward.cu). */
extern "C" void route_room_cuda(struct op_shapes *shapes)
{
	route_sizes s =
		route_sizes_of(shapes->in[ROUTE_X_BTD], shapes->in[ROUTE_W_ED], shapes->attr);

	shapes->forward_workspace = router_split_bytes(s) + room_bytes(s);
	shapes->backward_workspace = router_split_bytes(s) + sizeof(float) *
		((size_t)s.E * s.n + (size_t)router_mma_parts(s) * s.E * s.D + 2 * (size_t)s.groups);
}

extern "C" void route_forward_cuda(const struct op_run *r)
{
	route_forward f = forward_of(r);
	size_t shared = sizeof(choose_shared) + (f.logits_shared ? logits_bytes(f.s) : 0);

	if (f.logits_made) {
		router_mma_split(r, f.s, r->in[ROUTE_W_ED], (bf16 *)r->workspace);
		router_mma_logits(r, f.s, r->in[ROUTE_X_BTD], (const bf16 *)r->workspace, f.p_EN, 1, f.s.n);
	}
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, choose<real>, dim3((unsigned)f.s.tiles), TILE_THREADS, shared, f,
			rows_of<const real>(r->in[ROUTE_X_BTD]));
	});
	launch(r, rank, grid_of_rows(f.s.groups * (f.s.E + 1)), ROW_THREADS, 0, f);
	launch(r, settle, dim3(1), SETTLE_THREADS,
		SETTLE_WARPS * sizeof(group_sums) + 2 * f.s.E * sizeof(int), f);
	launch(r, place, grid_of_rows(f.s.tiles * UNITS), ROW_THREADS, 0, f);
}
