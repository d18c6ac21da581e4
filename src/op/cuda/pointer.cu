/* pointer: op/cuda/pointer.cuh. Backward a block has one token's dq, and another one place's dk. */
extern "C" {
#include "op/pointer.h"
}
#include "op/cuda/pointer.cuh"

namespace {

struct forward_memory {
	running all[POINTER_THREADS];
	float q[POINTER_MAX_WIDTH];
};

template <typename real>
__global__ void __launch_bounds__(POINTER_THREADS) pointer_kernel(pointer<real> p, rows<float> log_c,
	rows<float> lse)
{
	forward_memory *m = shared_memory<forward_memory>();
	long row = blockIdx.x, b = row / p.T;
	int t = (int)(row % p.T);
	running all = {-INFINITY, 0}, hit = all;

	load_row(m->q, p.q[row], p.C);
	for (int s = p.first(b, t) + (int)threadIdx.x; s < p.n + t; s += POINTER_THREADS) {
		float score = p.score(m->q, p.k[b * p.S + s]);
		all.take(score);
		if (p.hits(b, t, s))
			hit.take(score);
	}
	float of_all = block_lse(all, m->all), of_hits = block_lse(hit, m->all);
	if (threadIdx.x)
		return;
	lse[row][0] = of_all;
	lse[row][1] = of_hits;
	log_c[b][t] = p.target[b][t] < 0 || of_all == -INFINITY ? 1 : fmaxf(fminf(of_hits - of_all, 0), (float)POINTER_MISS);
}

/* d score / sqrt(C) of token t and place s. */
template <typename real>
__device__ __forceinline__ float d_score(const pointer<real> &p, long b, int t, int s, float score,
	const rows<const float> &lse, const rows<const float> &d)
{
	const float *own = lse[b * p.T + t];

	if (p.target[b][t] < 0 || own[1] == -INFINITY)
		return 0;
	return p.scale * d[b][t] * ((p.hits(b, t, s) ? expf(score - own[1]) : 0) - expf(score - own[0]));
}

struct backward_memory {
	float x[POINTER_MAX_WIDTH], sum[POINTER_MAX_WIDTH];	/* the block's row; its gradient */
	float ds[POINTER_THREADS];
};

/* sum += ds[j] y[first + j] of n rows. */
template <typename real>
__device__ void add_rows(backward_memory *m, const rows<const real> &y, long first, int n, int width)
{
	__syncthreads();
	for (int i = threadIdx.x; i < width; i += POINTER_THREADS)
		for (int j = 0; j < n; j++)
			m->sum[i] += m->ds[j] * to_float(y[first + j][i]);
	__syncthreads();
}

template <typename real>
__device__ void begin(backward_memory *m, const real *x, int width)
{
	for (int i = threadIdx.x; i < width; i += POINTER_THREADS)
		m->sum[i] = 0;
	load_row(m->x, x, width);
}

template <typename real>
__device__ void finish(const backward_memory *m, real *to, int width, bool add)
{
	for (int i = threadIdx.x; i < width; i += POINTER_THREADS)
		to[i] = from_float<real>(m->sum[i] + (add ? to_float(to[i]) : 0));
}

template <typename real>
__global__ void __launch_bounds__(POINTER_THREADS) pointer_dq_kernel(pointer<real> p, rows<const float> lse,
	rows<const float> d, rows<real> dq, bool add)
{
	backward_memory *m = shared_memory<backward_memory>();
	long row = blockIdx.x, b = row / p.T;
	int t = (int)(row % p.T), own = (int)threadIdx.x;

	begin(m, p.q[row], p.C);
	for (int s0 = p.first(b, t); s0 < p.n + t; s0 += POINTER_THREADS) {
		int n = min((int)POINTER_THREADS, p.n + t - s0), s = s0 + own;
		if (own < n)
			m->ds[own] = d_score(p, b, t, s, p.score(m->x, p.k[b * p.S + s]), lse, d);
		add_rows(m, p.k, b * p.S + s0, n, p.C);
	}
	finish(m, dq[row], p.C, add);
}

template <typename real>
__global__ void __launch_bounds__(POINTER_THREADS) pointer_dk_kernel(pointer<real> p, rows<const float> lse,
	rows<const float> d, rows<real> dk, bool add)
{
	backward_memory *m = shared_memory<backward_memory>();
	long row = blockIdx.x, b = row / p.S;
	int s = (int)(row % p.S), own = (int)threadIdx.x;

	begin(m, p.k[row], p.C);
	for (int t0 = max(s + 1 - p.n, 0); t0 < p.T && p.first(b, t0) <= s; t0 += POINTER_THREADS) {
		int n = min((int)POINTER_THREADS, p.T - t0), t = t0 + own;
		if (own < n)
			m->ds[own] = p.first(b, t) > s ? 0
				: d_score(p, b, t, s, p.score(m->x, p.q[b * p.T + t]), lse, d);
		add_rows(m, p.q, b * p.T + t0, n, p.C);
	}
	finish(m, dk[row], p.C, add);
}

template <typename real>
pointer<real> pointer_of(const struct op_run *r)
{
	return pointer_of<real>(r->in[POINTER_Q_BTC], r->in[POINTER_K_BSC], r->in[POINTER_TOKEN_BS],
		r->in[POINTER_TARGET_BT], r->in[POINTER_START_BS]);
}

}

extern "C" void pointer_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, pointer_kernel<real>, dim3((unsigned)tensor_rows(r->in[POINTER_Q_BTC])), POINTER_THREADS,
			sizeof(forward_memory), pointer_of<real>(r), rows_of<float>(r->out[POINTER_LOGC_BT]),
			rows_of<float>(r->saved[POINTER_LSE_BT2]));
	});
}

extern "C" void pointer_backward_cuda(const struct op_run *r)
{
	const struct tensor *dq = r->d_in[POINTER_Q_BTC], *dk = r->d_in[POINTER_K_BSC];
	rows<const float> lse = rows_of<const float>(r->saved[POINTER_LSE_BT2]);
	rows<const float> d = rows_of<const float>(r->d_out[POINTER_LOGC_BT]);

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		pointer<real> p = pointer_of<real>(r);
		if (dq)
			launch(r, pointer_dq_kernel<real>, dim3((unsigned)tensor_rows(dq)), POINTER_THREADS,
				sizeof(backward_memory), p, lse, d, rows_of<real>(dq), op_adds(r, POINTER_Q_BTC));
		if (dk)
			launch(r, pointer_dk_kernel<real>, dim3((unsigned)tensor_rows(dk)), POINTER_THREADS,
				sizeof(backward_memory), p, lse, d, rows_of<real>(dk), op_adds(r, POINTER_K_BSC));
	});
}
