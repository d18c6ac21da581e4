/*
 * ssd on the GPU, backward: op/cuda/ssd.cuh. dB and dC of a group, 64 states of them, are a block's, which
 * goes over the group's heads; the rest, head by head, another's.
 */
#include "op/cuda/reduce.cuh"
#include "op/cuda/ssd.cuh"

namespace {

enum part { PART_ALOG, PART_D, PART_DTBIAS };

template <typename real>
struct group_memory {
	char tile[chunk_tile<real>::shared_bytes];
	float ds[CHUNK_MATRIX];
	float enters[CHUNK_SIDE], leaves[CHUNK_SIDE];	/* leaves: times dt */
};

template <typename real>
struct group_tiles {
	chunk_tile<real> ds, db, dc;
};

/* A head's share of dB and dC through states, and of the gradient of the scores. */
template <typename real>
__device__ void add_head(const ssd<real> &s, const chunk &k, int h, int n, group_memory<real> *m,
	group_tiles<real> &sum)
{
	const chunk_steps *w = steps_of(s.time, k, h);
	int own = threadIdx.x;
	chunk_tile<real> r;

	__syncthreads();
	if (own < k.n) {
		m->enters[own] = w->enters[own];
		m->leaves[own] = w->leaves[own] * w->dt[own];
	}
	__syncthreads();
	chunk_clear(r);
	r.add(s.P, head_lines<true>(s, k, s.dy, h, 0), head_lines<true>(s, k, s.x, h, 0), m->tile);
	r.each([&](int t, int j, float &v) {
		v = sees(w, k.n, j, t) ? v * decay_between(w, j, t) * (j == t ? w->own[j] : w->dt[j]) : 0;
	});
	#pragma unroll
	for (int i = 0; i < 4; i++)
		#pragma unroll
		for (int j = 0; j < 4; j++)
			sum.ds.sum[i][j] += r.sum[i][j];
	if (k.c || s.begins)
		sum.dc.add(s.P, head_lines<true>(s, k, s.dy, h, 0, m->enters),
			state_lines<true>(s, state_of(s, s.states, k, h), n, 0), m->tile);
	if (k.c < s.time.n_chunks - 1)
		sum.db.add(s.P, head_lines<true>(s, k, s.x, h, 0, m->leaves),
			state_lines<true>(s, state_of(s, s.d_states, k, h), n, 0), m->tile);
}

/* 64 columns of a group's gradient of B or C, from n on. */
template <typename real>
__device__ void put_group(const ssd<real> &s, const chunk &k, const rows<real> &to, int g, int n,
	bool add, chunk_tile<real> &tile)
{
	tile.each([&](int t, int j, float &v) {
		if (t < k.n && n + j < s.N)
			put(to, k.row + t, g * s.N + n + j, add, v);
	});
}

template <typename real>
__global__ void __launch_bounds__(CHUNK_THREADS) group_kernel(ssd<real> s)
{
	group_memory<real> *m = shared_memory<group_memory<real>>();
	int tiles = (int)ceil_div(s.N, CHUNK_SIDE), n = blockIdx.x % tiles * CHUNK_SIDE;
	int g = blockIdx.x / tiles % s.G, heads = s.H / s.G;
	chunk k = chunk_of(s.time, blockIdx.x / tiles / s.G);
	group_tiles<real> sum;

	chunk_clear(sum.ds);
	chunk_clear(sum.db);
	chunk_clear(sum.dc);
	for (int h = g * heads; h < (g + 1) * heads; h++)
		add_head(s, k, h, n, m, sum);
	sum.ds.each([&](int t, int j, float &v) { *chunk_at(m->ds, t, j) = v; });
	sum.dc.add(k.n, chunk_lines<true>(m->ds), group_lines<false>(s, k, s.b, g, n), m->tile);
	sum.db.add(k.n, chunk_lines<false>(m->ds), group_lines<false>(s, k, s.c, g, n), m->tile);
	put_group(s, k, s.dc, g, n, s.add_c, sum.dc);
	put_group(s, k, s.db, g, n, s.add_b, sum.db);
}

template <typename real>
struct head_memory {
	char tile[chunk_tile<real>::shared_bytes];
	float m[CHUNK_MATRIX];	/* as op/ssd.h has it */
	float q[CHUNK_MATRIX];	/* r m / dt, then products that are summed by token */
	chunk_steps w;
	float d_dt[CHUNK_SIDE], d_log[CHUNK_SIDE];	/* by pairs: gradients of dt, but for dt A, and of dt A */
	float entered[CHUNK_SIDE];	/* enters times its gradient */
	float left[CHUNK_SIDE];		/* what leaves times its gradient, by dt */
	float diagonal[CHUNK_SIDE];	/* of r */
	float d_own[CHUNK_SIDE];	/* where weights are given; else part of d_dt */
	float scratch[CHUNK_THREADS];
};

/* m, and what comes by pairs of tokens. */
template <typename real>
__device__ void pairs(const ssd<real> &s, const chunk &k, int h, head_memory<real> *m)
{
	const float *scores = scores_of(s, k, group_of(s, h));
	const chunk_steps *w = &m->w;
	chunk_tile<real> r;

	chunk_clear(r);
	r.add(s.P, head_lines<true>(s, k, s.dy, h, 0), head_lines<true>(s, k, s.x, h, 0), m->tile);
	r.each([&](int i, int j, float &v) {
		float decayed = sees(w, k.n, j, i)
			? scores[i * CHUNK_SIDE + j] * decay_between(w, j, i) : 0;
		*chunk_at(m->m, i, j) = j < k.n ? decayed * (i == j ? w->own[j] : w->dt[j]) : 0;
		*chunk_at(m->q, i, j) = i == j && s.time.decay.at ? 0 : decayed * v;
		if (i == j) {
			m->diagonal[i] = v;
			m->d_own[i] = decayed * v;
		}
	});
	__syncthreads();
	chunk_column_sums(m->d_dt, m->q, m->scratch);
	r.each([&](int i, int j, float &v) {
		*chunk_at(m->q, i, j) = sees(w, k.n, j, i) ? *chunk_at(m->m, i, j) * v : 0;
	});
	__syncthreads();
	chunk_sums_below(m->q, m->scratch);
	float row = chunk_row_sum(m->q);
	if (threadIdx.x % 4 == 0)
		m->d_log[threadIdx.x / 4] = row;
	__syncthreads();
}

/* sums[t] += factor[t] times the sum over n columns of the tile times x. */
template <typename real>
__device__ void add_products(const chunk &k, const rows<const real> &x, int column, int n,
	chunk_tile<real> &tile, head_memory<real> *m, float *sums, const float *factor)
{
	int t = threadIdx.x / 4;

	tile.each([&](int i, int j, float &v) {
		*chunk_at(m->q, i, j) = i < k.n && j < n ? v * to_float(x[k.row + i][column + j]) : 0;
	});
	__syncthreads();
	float row = chunk_row_sum(m->q);
	if (threadIdx.x % 4 == 0 && t < k.n)
		sums[t] += factor[t] * row;
	__syncthreads();
}

/* dx of 64 channels, and what their part of the states says of decays. */
template <typename real>
__device__ void channels(const ssd<real> &s, const chunk &k, int h, int p, head_memory<real> *m)
{
	int g = group_of(s, h), column = h * s.P + p, n = min(s.P - p, (int)CHUNK_SIDE);
	const chunk_steps *w = &m->w;
	chunk_tile<real> tile;

	chunk_clear(tile);
	if (k.c || s.begins) {
		tile.add(s.N, group_lines<true>(s, k, s.c, g, 0),
			state_lines<false>(s, state_of(s, s.states, k, h), 0, p), m->tile);
		add_products(k, s.dy, column, n, tile, m, m->entered, w->enters);
		chunk_clear(tile);
	}
	if (k.c < s.time.n_chunks - 1) {
		tile.add(s.N, group_lines<true>(s, k, s.b, g, 0),
			state_lines<false>(s, state_of(s, s.d_states, k, h), 0, p), m->tile);
		add_products(k, s.x, column, n, tile, m, m->left, w->leaves);
		tile.each([&](int t, int, float &v) { v *= t < k.n ? w->leaves[t] * w->dt[t] : 0; });
	}
	tile.add(k.n, chunk_lines<false>(m->m), head_lines<false>(s, k, s.dy, h, p), m->tile);
	tile.each([&](int t, int j, float &v) {
		if (t < k.n && j < n)
			put(s.dx, k.row + t, column + j, s.add_x,
				v + s.d[h] * to_float(s.dy[k.row + t][column + j]));
	});
	__syncthreads();
}

/* By one thread: gradients of decays and weights that are given. */
template <typename real>
__device__ void given_backward(const ssd<real> &s, const chunk &k, int h, head_memory<real> *m, float carried)
{
	sum_log_decays(k, m->d_log, m->entered, m->left, carried);
	for (int t = 0; t < k.n; t++) {
		long row = k.row + t;
		if (s.d_decay.at)
			s.d_decay[row][h] = m->d_log[t] + (s.add_decay ? s.d_decay[row][h] : 0);
		if (s.d_weight.at)
			s.d_weight[row][h] = m->d_dt[t] + (s.add_weight ? s.d_weight[row][h] : 0);
		if (s.d_own.at)
			s.d_own[row][h] = m->d_own[t] + (s.add_own ? s.d_own[row][h] : 0);
	}
}

template <typename real>
__global__ void __launch_bounds__(CHUNK_THREADS) head_kernel(ssd<real> s)
{
	head_memory<real> *m = shared_memory<head_memory<real>>();
	int h = blockIdx.x % s.H, own = threadIdx.x;
	chunk k = chunk_of(s.time, blockIdx.x / s.H);
	float *parts = s.parts + k.index * 3 * s.H + h, carried = 0;

	load_steps(&m->w, steps_of(s.time, k, h));
	if (threadIdx.x < CHUNK_SIDE)
		m->left[threadIdx.x] = m->entered[threadIdx.x] = 0;
	__syncthreads();
	pairs(s, k, h, m);
	for (int p = 0; p < s.P; p += CHUNK_SIDE)
		channels(s, k, h, p, m);
	if ((k.c || s.begins) && k.c < s.time.n_chunks - 1)
		carried = m->w.enters[k.n - 1] * chunk_dot(state_of(s, s.states, k, h),
			state_of(s, s.d_states, k, h), s.N * s.P, m->scratch);
	if (own < k.n) {
		m->d_dt[own] += m->left[own];
		m->left[own] *= m->w.dt[own];
	}
	__syncthreads();
	if (own == 0) {
		float d_d = 0;
		for (int t = 0; t < k.n; t++)
			d_d += m->diagonal[t];
		parts[PART_D * s.H] = d_d;
		if (s.time.decay.at)
			given_backward(s, k, h, m, carried);
		else
			steps_backward(s.time, k, h, &m->w, m->d_log, m->entered, m->left, carried, m->d_dt, s.ddtraw,
				s.add_dt, parts + PART_ALOG * s.H, parts + PART_DTBIAS * s.H);
	}
}

template <typename real>
void parameter_gradient(const struct op_run *r, const ssd<real> &s, int input, enum part part)
{
	if (r->d_in[input])
		reduce_parts_cuda(r, (float *)r->d_in[input]->at, s.parts + part * s.H,
			s.time.n, s.H, 3L * s.H, op_adds(r, input));
}

}

extern "C" void ssd_backward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		ssd<real> s = ssd_of<real>(r, true);
		long all = s.time.n, tiles = ceil_div(s.N, CHUNK_SIDE);

		ssd_begin(r, s);
		ssd_pass_states(r, s, true);
		if (s.db.at || s.dc.at)
			launch(r, group_kernel<real>, dim3((unsigned)(all * s.G * tiles)), CHUNK_THREADS,
				sizeof(group_memory<real>), s);
		launch(r, head_kernel<real>, dim3((unsigned)(all * s.H)), CHUNK_THREADS,
			sizeof(head_memory<real>), s);
		parameter_gradient(r, s, SSD_ALOG_H, PART_ALOG);
		parameter_gradient(r, s, SSD_D_H, PART_D);
		parameter_gradient(r, s, SSD_DTBIAS_H, PART_DTBIAS);
	});
}
