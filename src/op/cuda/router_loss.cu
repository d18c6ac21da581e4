/*
 * router_loss on the GPU. Forward, in three launches: a block takes a tile of 64 tokens of one group and
 * sums over them what the losses are made of; a warp for each group and sum adds the tiles' up, in
 * float64; one block makes the losses. Backward a warp does a token. Bytes: logits and scores once or
 * twice each way.
 */
extern "C" {
#include "op/router_loss.h"
}
#include "op/cuda/moe.cuh"

namespace {

enum { TILE_TOKENS = 64, LOSS_WARPS = 8, LOSS_THREADS = LOSS_WARPS * WARP_LANES };

struct loss_run {
	rows<const float> logit, s;
	rows<const int> expert;
	by_token<const int> mask;	/* at NULL: absent */
	long n, group, groups, group_tiles, tiles;
	int E, K;
	struct units units;
	bool normalise, add_s, add_logit;
	float *sum_IT;			/* [2 E + 3, tiles]: p, choices by expert; z, h_token, tokens */
	double *sum_GI;
	float *f_GE, *p_GE, *share_G;
	float *out[ROUTER_LOSS_N_OUT];
	const float *d_out[ROUTER_LOSS_N_OUT];		/* NULL: 0 */
	rows<float> ds, dlogit;		/* at NULL: not wanted */
};

__device__ __forceinline__ float log_p(float p)
{
	return logf(fmaxf(p, ROUTER_LOSS_TINY));
}

/* 1, or 1 / sum s where scores are normalised; by a warp. */
__device__ __forceinline__ float row_scale(const loss_run &l, long t)
{
	float sum = 0;

	if (!l.normalise)
		return 1;
	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES)
		sum += l.s[t][e];
	return 1 / warp_sum(sum);
}

__device__ __forceinline__ float row_lse(const loss_run &l, long t)
{
	float most = -INFINITY, sum = 0;

	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES)
		most = fmaxf(most, l.logit[t][e]);
	most = warp_max(most);
	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES)
		sum += expf(l.logit[t][e] - most);
	return most + logf(warp_sum(sum));
}

/* By token of a tile: 1 / sum s (0: not there), lse^2, entropy. */
struct tile_shared {
	float scale[TILE_TOKENS], z[TILE_TOKENS], h[TILE_TOKENS];
};

__device__ __forceinline__ void look_at_token(const loss_run &l, long t, tile_shared *m, int i)
{
	float scale = row_scale(l, t), lse = l.logit.at ? row_lse(l, t) : 0, h = 0;

	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES) {
		float p = l.s[t][e] * scale;
		h -= p * log_p(p);
	}
	h = warp_sum(h);
	if (threadIdx.x % WARP_LANES == 0) {
		m->scale[i] = scale;
		m->z[i] = lse * lse;
		m->h[i] = h;
	}
}

/* Sums of p, and of choices, of one expert over the tile's n tokens from t0 on. */
__device__ __forceinline__ float2 sum_expert(const loss_run &l, long t0, int n, int e,
	const tile_shared *m)
{
	float2 sums = {0, 0};

	for (int i = 0; i < n; i++) {
		if (m->scale[i] == 0)
			continue;
		sums.x += l.s[t0 + i][e] * m->scale[i];
		for (int k = 0; k < l.K; k++)
			sums.y += l.expert[t0 + i][k] == e ? 1 : 0;
	}
	return sums;
}

__global__ void __launch_bounds__(LOSS_THREADS) sum_tiles(loss_run l)
{
	tile_shared *m = shared_memory<tile_shared>();
	long tile = blockIdx.x, in_group = tile % l.group_tiles * TILE_TOKENS;
	long t0 = tile / l.group_tiles * l.group + in_group;
	int n = (int)min((long)TILE_TOKENS, l.group - in_group), warp = threadIdx.x / WARP_LANES;

	for (int i = warp; i < TILE_TOKENS; i += LOSS_WARPS) {
		if (i < n && (!l.mask.at || l.mask[t0 + i] >= 0))
			look_at_token(l, t0 + i, m, i);
		else if (threadIdx.x % WARP_LANES == 0)
			m->scale[i] = m->z[i] = m->h[i] = 0;
	}
	__syncthreads();
	for (int e = threadIdx.x; e < l.E; e += LOSS_THREADS) {
		float2 sums = sum_expert(l, t0, n, e, m);
		l.sum_IT[e * l.tiles + tile] = sums.x;
		l.sum_IT[(l.E + e) * l.tiles + tile] = sums.y;
	}
	if (threadIdx.x >= 3)
		return;
	float sum = 0;
	for (int i = 0; i < TILE_TOKENS; i++)
		sum += threadIdx.x == 0 ? m->z[i] : threadIdx.x == 1 ? m->h[i] : m->scale[i] != 0;
	l.sum_IT[(2 * l.E + threadIdx.x) * l.tiles + tile] = sum;
}

__global__ void sum_groups(loss_run l)
{
	int items = 2 * l.E + 3;
	long i = row_of_warp(), g = i / items, item = i % items;

	if (g >= l.groups)
		return;
	double sum = sum_units(l.sum_IT + item * l.tiles + g * l.group_tiles, l.group_tiles);
	if (threadIdx.x % WARP_LANES == 0)
		l.sum_GI[i] = sum;
}

/* A warp's share of the losses, from its groups in order; in its first lane. */
struct losses {
	double v[ROUTER_LOSS_N_OUT], groups;
};

__device__ __forceinline__ void add_group(const loss_run &l, long g, losses &total)
{
	const double *sum = l.sum_GI + g * (2 * l.E + 3);
	double n = fmax(sum[2 * l.E + 2], 1.0), choices = 0, even = 1.0 / l.E;
	double balance = 0, importance = 0, h = 0;

	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES)
		choices += sum[l.E + e];
	choices = fmax(warp_sum_f64(choices), 1.0);
	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES) {
		double p = sum[e] / n, f = sum[l.E + e] / choices * units_share(&l.units, e);
		l.f_GE[g * l.E + e] = (float)f;
		l.p_GE[g * l.E + e] = (float)p;
		balance += l.E * f * p;
		importance += l.E * (p - even) * (p - even);
		h -= p * log(fmax(p, (double)ROUTER_LOSS_TINY));
	}
	balance = warp_sum_f64(balance);
	importance = warp_sum_f64(importance);
	h = warp_sum_f64(h);
	if (sum[2 * l.E + 2] == 0)
		return;
	total.v[ROUTER_LOSS_BALANCE] += balance;
	total.v[ROUTER_LOSS_IMPORTANCE] += importance;
	total.v[ROUTER_LOSS_H_MEAN] += h;
	total.v[ROUTER_LOSS_Z] += sum[2 * l.E] / n;
	total.v[ROUTER_LOSS_H_TOKEN] += sum[2 * l.E + 1] / n;
	total.groups++;
}

/* One block. */
__global__ void __launch_bounds__(LOSS_THREADS) settle(loss_run l)
{
	losses *of_warp = shared_memory<losses>(), mine = {};
	int warp = threadIdx.x / WARP_LANES;
	double groups = 0;

	for (long g = warp; g < l.groups; g += LOSS_WARPS)
		add_group(l, g, mine);
	if (threadIdx.x % WARP_LANES == 0)
		of_warp[warp] = mine;
	__syncthreads();
	for (int k = 0; k < LOSS_WARPS; k++)
		groups += of_warp[k].groups;
	for (long g = threadIdx.x; g < l.groups; g += LOSS_THREADS) {
		double n = l.sum_GI[g * (2 * l.E + 3) + 2 * l.E + 2];
		l.share_G[g] = n > 0 ? (float)(1 / (n * groups)) : 0;
	}
	if (threadIdx.x >= ROUTER_LOSS_N_OUT)
		return;
	double sum = 0;
	for (int k = 0; k < LOSS_WARPS; k++)
		sum += of_warp[k].v[threadIdx.x];
	*l.out[threadIdx.x] = (float)(sum / fmax(groups, 1.0));
}

__device__ __forceinline__ float d_of(const loss_run &l, int out)
{
	return l.d_out[out] ? *l.d_out[out] : 0;
}

/* dp / share of one expert of group g, whose score of the token is p. */
__device__ __forceinline__ float slope(const loss_run &l, long g, int e, float p)
{
	float sharp = d_of(l, ROUTER_LOSS_H_TOKEN), mean = d_of(l, ROUTER_LOSS_H_MEAN);
	float P = l.p_GE[g * l.E + e];
	float d = d_of(l, ROUTER_LOSS_BALANCE) * l.E * l.f_GE[g * l.E + e];

	d += d_of(l, ROUTER_LOSS_IMPORTANCE) * 2 * (l.E * P - 1);
	d -= mean == 0 ? 0 : mean * (1 + log_p(P));
	return d - (sharp == 0 ? 0 : sharp * (1 + log_p(p)));
}

__device__ __forceinline__ void token_ds(const loss_run &l, long t, long g, float share)
{
	float scale = row_scale(l, t), mean = 0;

	for (int e = threadIdx.x % WARP_LANES; l.normalise && e < l.E; e += WARP_LANES) {
		float p = l.s[t][e] * scale;
		mean += p * slope(l, g, e, p);
	}
	mean = warp_sum(mean);
	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES) {
		float d = share * scale * (slope(l, g, e, l.s[t][e] * scale) - mean);
		l.ds[t][e] = d + (l.add_s ? l.ds[t][e] : 0);
	}
}

__global__ void make_gradients(loss_run l)
{
	long t = row_of_warp(), g = t / l.group;

	if (t >= l.n)
		return;
	float share = !l.mask.at || l.mask[t] >= 0 ? l.share_G[g] : 0;
	if (l.ds.at)
		token_ds(l, t, g, share);
	if (!l.dlogit.at)
		return;
	float lse = row_lse(l, t), d = d_of(l, ROUTER_LOSS_Z) * share * 2 * lse;
	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES)
		l.dlogit[t][e] = d * expf(l.logit[t][e] - lse) + (l.add_logit ? l.dlogit[t][e] : 0);
}

loss_run sizes_of(const struct router_loss_attr *attr, const struct tensor *s)
{
	loss_run l = {};

	l.n = tensor_rows(s);
	l.E = (int)tensor_width(s);
	l.group = attr->group_tokens;
	l.groups = l.n / l.group;
	l.group_tiles = ceil_div(l.group, TILE_TOKENS);
	l.tiles = l.groups * l.group_tiles;
	l.normalise = attr->normalise;
	l.units = attr->units;
	return l;
}

loss_run run_of(const struct op_run *r)
{
	loss_run l = sizes_of((const struct router_loss_attr *)r->attr, r->in[ROUTER_LOSS_S_BTE]);

	l.logit = rows_of<const float>(r->in[ROUTER_LOSS_LOGIT_BTE]);
	l.s = rows_of<const float>(r->in[ROUTER_LOSS_S_BTE]);
	l.expert = rows_of<const int>(r->in[ROUTER_LOSS_EXPERT_BTK]);
	l.K = r->in[ROUTER_LOSS_EXPERT_BTK] ? (int)tensor_width(r->in[ROUTER_LOSS_EXPERT_BTK]) : 0;
	l.mask = by_token_of<const int>(r->in[ROUTER_LOSS_MASK_BT]);
	l.sum_GI = (double *)r->workspace;
	l.sum_IT = (float *)(l.sum_GI + l.groups * (2 * l.E + 3));
	l.f_GE = (float *)r->saved[ROUTER_LOSS_F_GE]->at;
	l.p_GE = (float *)r->saved[ROUTER_LOSS_P_GE]->at;
	l.share_G = (float *)r->saved[ROUTER_LOSS_SHARE_G]->at;
	for (int i = 0; i < ROUTER_LOSS_N_OUT; i++) {
		l.out[i] = floats_of(r->out[i]);
		l.d_out[i] = floats_of(r->d_out[i]);
	}
	l.ds = rows_of<float>(r->d_in[ROUTER_LOSS_S_BTE]);
	l.dlogit = rows_of<float>(r->d_in[ROUTER_LOSS_LOGIT_BTE]);
	l.add_s = op_adds(r, ROUTER_LOSS_S_BTE);
	l.add_logit = op_adds(r, ROUTER_LOSS_LOGIT_BTE);
	return l;
}

}  // namespace

extern "C" void router_loss_room_cuda(struct op_shapes *s)
{
	loss_run l = sizes_of((const struct router_loss_attr *)s->attr, s->in[ROUTER_LOSS_S_BTE]);

	s->forward_workspace = (size_t)(2 * l.E + 3) *
		(l.groups * sizeof(double) + l.tiles * sizeof(float));
}

extern "C" void router_loss_forward_cuda(const struct op_run *r)
{
	loss_run l = run_of(r);

	launch(r, sum_tiles, dim3((unsigned)l.tiles), LOSS_THREADS, sizeof(tile_shared), l);
	launch(r, sum_groups, grid_of_rows(l.groups * (2 * l.E + 3)), ROW_THREADS, 0, l);
	launch(r, settle, dim3(1), LOSS_THREADS, LOSS_WARPS * sizeof(losses), l);
}

extern "C" void router_loss_backward_cuda(const struct op_run *r)
{
	loss_run l = run_of(r);

	launch(r, make_gradients, grid_of_rows(l.n), ROW_THREADS, 0, l);
}
