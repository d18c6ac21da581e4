/*
 * summary_step: summaries of segments that end in the call, then summary.cuh's attention over rows of the call and of
 * what is carried; last a kernel that moves keys, values and summaries there.
 */
extern "C" {
#include "op/document_start.h"
#include "op/summary_step.h"
}
#include "op/cuda/summary.cuh"

namespace {

enum { THREADS = ATTEND_THREADS };

template <typename real>
struct operands {
	rows<const real> q, k, v;
	rows<const int> start;
	rows<real> ring_k, ring_v, y;
	rows<float> keys, values, now_keys, now_values;
	long T, S, N, n_now;	/* N: summaries of a sequence that are carried; n_now: of the call */
	int H, KV, dh;
};

/* Of the call or of a ring, position s as token t at position p sees it. */
template <typename real>
__device__ __forceinline__ const real *token_at(const operands<real> &o, rows<const real> now, rows<real> ring,
	long b, long t, long p, long s)
{
	return p - s <= t ? now[b * o.T + t - (p - s)] : ring[b * o.S + s % o.S];
}

/* A head of keys and values as token t of position p sees them. */
template <typename real>
struct sight {
	const operands<real> &o;
	long b, t, p, n;	/* n: summaries */
	int column;

	__device__ __forceinline__ const float *summary(rows<float> now, rows<float> kept, long i) const
	{
		long end = t - p + (i + 1) * o.S - 1;

		return (end < 0 ? kept[b * o.N + i % o.N] : now[b * o.n_now + end / o.S]) + column;
	}
	__device__ __forceinline__ const real *token(rows<const real> now, rows<real> ring, long j) const
	{
		return token_at(o, now, ring, b, t, p, n * o.S + j - n) + column;
	}
	__device__ __forceinline__ float score(const real *q, long j) const
	{
		return j < n ? moba_dot(q, summary(o.now_keys, o.keys, j), o.dh)
			: moba_dot(q, token(o.k, o.ring_k, j), o.dh);
	}
	__device__ __forceinline__ float value(long j, int i) const
	{
		return j < n ? summary(o.now_values, o.values, j)[i] : to_float(token(o.v, o.ring_v, j)[i]);
	}
};

/* Launched on (tokens, sequences). */
template <typename real>
__global__ void summarise_kernel(operands<real> o)
{
	long t = blockIdx.x, b = blockIdx.y, p = t - o.start[b][t], to = b * o.n_now + t / o.S;

	if (p < 0 || p % o.S != o.S - 1)
		return;
	for (int i = (int)threadIdx.x; i < o.KV * o.dh; i += THREADS) {
		float key = 0, value = 0;
		for (long s = p - o.S + 1; s <= p; s++) {
			key += to_float(token_at(o, o.k, o.ring_k, b, t, p, s)[i]);
			value += to_float(token_at(o, o.v, o.ring_v, b, t, p, s)[i]);
		}
		o.now_keys[to][i] = key / (float)o.S;
		o.now_values[to][i] = value / (float)o.S;
	}
}

/* Launched on (tokens, heads, sequences). */
template <typename real>
__global__ void step_kernel(operands<real> o)
{
	attend_memory *m = shared_memory<attend_memory>();
	float *y = (float *)(m + 1);
	long t = blockIdx.x, b = blockIdx.z, row = b * o.T + t, p = t - o.start[b][t];
	int h = (int)blockIdx.y;
	sight<real> seen = {o, b, t, p, p / o.S, h / (o.H / o.KV) * o.dh};

	if (p >= 0)	/* else the row is not there */
		summary_attend(seen, o.q[row] + h * o.dh, seen.n + p % o.S + 1, o.dh, m, y);
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
		o.y[row][h * o.dh + i] = from_float<real>(p < 0 ? 0.0f : y[i]);
}

/* Launched on (tokens, sequences). */
template <typename real>
__global__ void keep_kernel(operands<real> o)
{
	long t = blockIdx.x, b = blockIdx.y, start = o.start[b][t], p = t - start, n = o.T;
	long row = b * o.S + p % o.S, summary = b * o.N + p / o.S % o.N, now = b * o.n_now + t / o.S;

	while (n > 0 && o.start[b][n - 1] == NOT_THERE)
		n--;
	if (t >= n || start != o.start[b][n - 1])
		return;
	for (int i = (int)threadIdx.x; i < o.KV * o.dh; i += THREADS) {
		if (p % o.S == o.S - 1) {
			o.keys[summary][i] = o.now_keys[now][i];
			o.values[summary][i] = o.now_values[now][i];
		}
		if (t >= n - o.S) {
			o.ring_k[row][i] = o.k[b * o.T + t][i];
			o.ring_v[row][i] = o.v[b * o.T + t][i];
		}
	}
}

}  // namespace

extern "C" void summary_step_forward_cuda(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, (const struct moba_attr *)r->attr);
	unsigned T = (unsigned)d.T, B = (unsigned)d.B;

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = {rows_of<const real>(r->in[MOBA_Q_BTD]), rows_of<const real>(r->in[MOBA_K_BTC]),
			rows_of<const real>(r->in[MOBA_V_BTC]), rows_of<const int>(r->in[MOBA_START_BT]),
			rows_of<real>(r->in[SUMMARY_STEP_RING_K_BSC]), rows_of<real>(r->in[SUMMARY_STEP_RING_V_BSC]),
			rows_of<real>(r->out[MOBA_Y_BTD]), rows_of<float>(r->in[SUMMARY_STEP_KEYS_BNC]),
			rows_of<float>(r->in[SUMMARY_STEP_VALUES_BNC]),
			rows_of<float>(r->saved[SUMMARY_STEP_NOW_KEYS_BNC]),
			rows_of<float>(r->saved[SUMMARY_STEP_NOW_VALUES_BNC]), d.T, d.S,
			r->in[SUMMARY_STEP_KEYS_BNC]->dims[1], ceil_div(d.T, d.S), (int)d.H, (int)d.KV, (int)d.dh};
		launch(r, summarise_kernel<real>, dim3(T, B), THREADS, 0, o);
		launch(r, step_kernel<real>, dim3(T, (unsigned)d.H, B), THREADS,
			sizeof(attend_memory) + (size_t)d.dh * sizeof(float), o);
		launch(r, keep_kernel<real>, dim3(T, B), THREADS, 0, o);
	});
}
