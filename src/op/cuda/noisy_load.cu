/*
 * noisy_load on the GPU. Forward, in three launches: a block sums the loads of a tile of 64 tokens of one
 * group; a warp for each group and expert adds the tiles' up, in float64; one block makes slopes and loss.
 * Backward a warp does a token. A token's bounds are found by rank: each expert counts who is ahead of it.
 */
extern "C" {
#include "op/noisy_load.h"
}
#include "op/cuda/moe.cuh"

namespace {

enum { TILE_TOKENS = 64, LOAD_WARPS = 8, LOAD_THREADS = LOAD_WARPS * WARP_LANES };

struct load_run {
	rows<const float> logit, noisy, width;	/* width.at NULL: absent */
	by_token<const int> mask;
	long n, group, groups, group_tiles, tiles;
	int E, k;
	float scale;
	float *load_ET;			/* [E + 1, tiles]: loads by expert, tokens */
	double *load_GE;		/* [groups, E + 1] */
	float *slope_GE, *loss;
	const float *dloss;
	rows<float> dlogit, dnoisy, dwidth;	/* at NULL: not wanted */
	bool add_logit, add_noisy, add_width;
};

/* The k-th of token t in the order of noisy logits and the one behind it, by a warp; -1: no numbers. */
struct bounds {
	int in, out;
};

__device__ __forceinline__ bool ahead(const float *row, int i, int j)
{
	return row[i] > row[j] || (row[i] == row[j] && i < j);
}

__device__ __forceinline__ bounds find_bounds(const load_run &l, long t)
{
	const float *row = l.noisy[t];
	float in = -1, out = -1;

	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES) {
		int rank = row[e] == row[e] ? 0 : l.E;
		for (int i = 0; i < l.E; i++)
			rank += ahead(row, i, e);
		in = rank == l.k - 1 ? e : in;
		out = rank == l.k ? e : out;
	}
	in = warp_max(in);
	out = warp_max(out);
	return {out < 0 ? -1 : (int)in, (int)out};
}

__device__ __forceinline__ float sigma_of(const load_run &l, long t, int e)
{
	float w = l.width.at ? l.width[t][e] : 0;

	return l.scale * (!l.width.at ? 1 : w > 30 ? w : log1pf(expf(w)));
}

__device__ __forceinline__ int bound_of(const load_run &l, long t, int e, const bounds &b)
{
	return e == b.in || ahead(l.noisy[t], e, b.in) ? b.out : b.in;
}

__device__ __forceinline__ float z_of(const load_run &l, long t, int e, int bound)
{
	return (l.logit[t][e] - l.noisy[t][bound]) / sigma_of(l, t, e);
}

/* Shared: bounds of the tile's tokens, in -2 where none is there. */
__global__ void __launch_bounds__(LOAD_THREADS) sum_tiles(load_run l)
{
	bounds *of_token = shared_memory<bounds>();
	long tile = blockIdx.x, in_group = tile % l.group_tiles * TILE_TOKENS;
	long t0 = tile / l.group_tiles * l.group + in_group;
	int n = (int)min((long)TILE_TOKENS, l.group - in_group), valid = 0;

	for (int i = threadIdx.x / WARP_LANES; i < n; i += LOAD_WARPS) {
		bool there = !l.mask.at || l.mask[t0 + i] >= 0;
		bounds b = there ? find_bounds(l, t0 + i) : bounds{-2, -2};
		if (threadIdx.x % WARP_LANES == 0)
			of_token[i] = b;
	}
	__syncthreads();
	for (int i = 0; i < n; i++)
		valid += of_token[i].in != -2;
	for (int e = threadIdx.x; e < l.E; e += LOAD_THREADS) {
		float sum = 0;
		for (int i = 0; i < n; i++) {
			bounds b = of_token[i];
			if (b.in != -2)
				sum += b.in < 0 ? NAN : erfcf(-z_of(l, t0 + i, e, bound_of(l, t0 + i, e, b)) *
					0.70710678f) / 2;
		}
		l.load_ET[e * l.tiles + tile] = sum;
	}
	if (threadIdx.x == 0)
		l.load_ET[l.E * l.tiles + tile] = (float)valid;
}

__global__ void sum_groups(load_run l)
{
	int items = l.E + 1;
	long i = row_of_warp(), g = i / items, item = i % items;

	if (g >= l.groups)
		return;
	double sum = sum_units(l.load_ET + item * l.tiles + g * l.group_tiles, l.group_tiles);
	if (threadIdx.x % WARP_LANES == 0)
		l.load_GE[i] = sum;
}

/* LOSS of group g by a warp; its slopes times M. */
__device__ __forceinline__ double settle_group(const load_run &l, long g)
{
	const double *load = l.load_GE + g * (l.E + 1);
	double m = 0, V = 0;

	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES)
		m += load[e];
	m = warp_sum_f64(m) / l.E;
	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES)
		V += (load[e] - m) * (load[e] - m);
	V = warp_sum_f64(V) / l.E;
	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES)
		l.slope_GE[g * l.E + e] = load[l.E] > 0 ? (float)(2 * (load[e] - m - V / m) / (l.E * m * m)) : 0;
	return load[l.E] > 0 ? V / (m * m) : 0;
}

/* One block; each warp its groups in order. Shared: losses and numbers of groups by warp. */
__global__ void __launch_bounds__(LOAD_THREADS) settle(load_run l)
{
	double2 *of_warp = shared_memory<double2>(), mine = {0, 0};
	int warp = threadIdx.x / WARP_LANES;

	for (long g = warp; g < l.groups; g += LOAD_WARPS) {
		mine.x += settle_group(l, g);
		mine.y += l.load_GE[g * (l.E + 1) + l.E] > 0;
	}
	if (threadIdx.x % WARP_LANES == 0)
		of_warp[warp] = mine;
	__syncthreads();
	mine = {0, 0};
	for (int k = 0; k < LOAD_WARPS; k++) {
		mine.x += of_warp[k].x;
		mine.y += of_warp[k].y;
	}
	mine.y = fmax(mine.y, 1.0);
	for (long i = threadIdx.x; i < l.groups * l.E; i += LOAD_THREADS)
		l.slope_GE[i] = (float)(l.slope_GE[i] / mine.y);
	if (threadIdx.x == 0)
		*l.loss = (float)(mine.x / mine.y);
}

/* Gradient of the place `at`, a bound of token t, by a warp: over all experts that are held against it. */
__device__ __forceinline__ float bound_gradient(const load_run &l, long t, const bounds &b, int at, float d)
{
	float sum = 0;

	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES) {
		int bound = bound_of(l, t, e, b);
		float z = z_of(l, t, e, bound);
		if (bound == at)
			sum -= d * l.slope_GE[t / l.group * l.E + e] * 0.39894228f * expf(-z * z / 2) /
				sigma_of(l, t, e);
	}
	return warp_sum(sum);
}

__global__ void make_gradients(load_run l)
{
	long t = row_of_warp();

	if (t >= l.n)
		return;
	bounds b = !l.mask.at || l.mask[t] >= 0 ? find_bounds(l, t) : bounds{-1, -1};
	float d = b.in < 0 ? 0 : *l.dloss;
	float d_in = b.in < 0 ? 0 : bound_gradient(l, t, b, b.in, d),
		d_out = b.in < 0 ? 0 : bound_gradient(l, t, b, b.out, d);
	for (int e = threadIdx.x % WARP_LANES; e < l.E; e += WARP_LANES) {
		float z = b.in < 0 ? 0 : z_of(l, t, e, bound_of(l, t, e, b));
		float q = b.in < 0 ? 0 : d * l.slope_GE[t / l.group * l.E + e] * 0.39894228f * expf(-z * z / 2) /
			sigma_of(l, t, e);
		if (l.dlogit.at)
			l.dlogit[t][e] = q + (l.add_logit ? l.dlogit[t][e] : 0);
		if (l.dnoisy.at)
			l.dnoisy[t][e] = (e == b.in ? d_in : e == b.out ? d_out : 0) +
				(l.add_noisy ? l.dnoisy[t][e] : 0);
		if (l.dwidth.at)
			l.dwidth[t][e] = -q * z * l.scale / (1 + expf(-l.width[t][e])) +
				(l.add_width ? l.dwidth[t][e] : 0);
	}
}

load_run sizes_of(const struct noisy_load_attr *attr, const struct tensor *logit)
{
	load_run l = {};

	l.n = tensor_rows(logit);
	l.E = (int)tensor_width(logit);
	l.k = (int)attr->k;
	l.scale = (float)attr->scale;
	l.group = attr->group_tokens;
	l.groups = l.n / l.group;
	l.group_tiles = ceil_div(l.group, TILE_TOKENS);
	l.tiles = l.groups * l.group_tiles;
	return l;
}

load_run run_of(const struct op_run *r)
{
	load_run l = sizes_of((const struct noisy_load_attr *)r->attr, r->in[NOISY_LOAD_LOGIT_BTE]);

	l.logit = rows_of<const float>(r->in[NOISY_LOAD_LOGIT_BTE]);
	l.noisy = rows_of<const float>(r->in[NOISY_LOAD_NOISY_BTE]);
	l.width = rows_of<const float>(r->in[NOISY_LOAD_WIDTH_BTE]);
	l.mask = by_token_of<const int>(r->in[NOISY_LOAD_MASK_BT]);
	l.load_GE = (double *)r->workspace;
	l.load_ET = (float *)(l.load_GE + l.groups * (l.E + 1));
	l.slope_GE = (float *)r->saved[NOISY_LOAD_SLOPE_GE]->at;
	l.loss = floats_of(r->out[NOISY_LOAD_LOSS]);
	l.dloss = floats_of(r->d_out[NOISY_LOAD_LOSS]);
	l.dlogit = rows_of<float>(r->d_in[NOISY_LOAD_LOGIT_BTE]);
	l.dnoisy = rows_of<float>(r->d_in[NOISY_LOAD_NOISY_BTE]);
	l.dwidth = rows_of<float>(r->d_in[NOISY_LOAD_WIDTH_BTE]);
	l.add_logit = op_adds(r, NOISY_LOAD_LOGIT_BTE);
	l.add_noisy = op_adds(r, NOISY_LOAD_NOISY_BTE);
	l.add_width = op_adds(r, NOISY_LOAD_WIDTH_BTE);
	return l;
}

}  // namespace

extern "C" void noisy_load_room_cuda(struct op_shapes *s)
{
	load_run l = sizes_of((const struct noisy_load_attr *)s->attr, s->in[NOISY_LOAD_LOGIT_BTE]);

	s->forward_workspace = (size_t)(l.E + 1) * (l.groups * sizeof(double) + l.tiles * sizeof(float));
}

extern "C" void noisy_load_forward_cuda(const struct op_run *r)
{
	load_run l = run_of(r);

	launch(r, sum_tiles, dim3((unsigned)l.tiles), LOAD_THREADS, TILE_TOKENS * sizeof(bounds), l);
	launch(r, sum_groups, grid_of_rows(l.groups * (l.E + 1)), ROW_THREADS, 0, l);
	launch(r, settle, dim3(1), LOAD_THREADS, LOAD_WARPS * sizeof(double2), l);
}

extern "C" void noisy_load_backward_cuda(const struct op_run *r)
{
	load_run l = run_of(r);

	launch(r, make_gradients, grid_of_rows(l.n), ROW_THREADS, 0, l);
}
