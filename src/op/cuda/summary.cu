/*
 * summary on the GPU: summaries, then summary.cuh's attention. Backward goes once over queries for dq and dy . y, once
 * over summaries for their gradients and once over tokens for dk and dv: a block has one row and goes over the queries
 * that see it, so sums have one order and nobody else writes them.
 */
extern "C" {
#include "op/summary.h"
}
#include "op/cuda/summary.cuh"

namespace {

enum { THREADS = ATTEND_THREADS };

template <typename real>
struct operands {
	rows<const real> q, k, v, y, dy;
	rows<const int> start;
	rows<float> lse, keys, values;	/* keys, values: summaries */
	float *d_keys, *d_values;	/* gradients of summaries, without gaps */
	float *delta;			/* [B T, H]: dy . y */
	int T, H, KV, dh, S, idle;
	long n_summaries;		/* of a sequence */
};

/* Of idle rows the first query's counts. */
template <typename real>
__device__ __forceinline__ int start_of(const operands<real> &o, long b, int t)
{
	return o.start.at ? o.start[b][max(t, o.idle)] : 0;
}

/* Does a whole segment end with token t? None does behind the last one. */
template <typename real>
__device__ __forceinline__ bool ends_segment(const operands<real> &o, long b, int t)
{
	int start = start_of(o, b, min(t, o.T - 1));

	return t < o.T && (t - start) % o.S == o.S - 1 && t - o.S + 1 >= max(start, 0);
}

/* A head of keys and values of what token t sees, as struct sight of op/cpu/summary.h has it. */
template <typename real>
struct sight {
	const operands<real> &o;
	long summaries, tokens;		/* rows of the first ones */
	int n, n_rows, column;

	__device__ sight(const operands<real> &of, long b, int t, int h) : o(of)
	{
		int start = start_of(o, b, t), least = max(start, o.idle ? t - o.idle : 0);
		int earliest = (least - start + o.S - 1) / o.S, own = (t - start) / o.S;

		summaries = b * o.n_summaries + (start + earliest * o.S) / o.S;
		tokens = b * o.T + max(start + own * o.S, least);
		n = max(own - earliest, 0);
		n_rows = n + (int)(b * o.T + t + 1 - tokens);
		column = h / (o.H / o.KV) * o.dh;
	}
	template <typename any>
	__device__ __forceinline__ float product(const any *q, rows<float> of_summaries, rows<const real> of_tokens,
		long j) const
	{
		return j < n ? moba_dot(q, of_summaries[summaries + j] + column, o.dh)
			: moba_dot(q, of_tokens[tokens + j - n] + column, o.dh);
	}
	__device__ __forceinline__ float score(const real *q, long j) const
	{
		return product(q, o.keys, o.k, j);
	}
	__device__ __forceinline__ float with_value(const real *dy, long j) const
	{
		return product(dy, o.values, o.v, j);
	}
	__device__ __forceinline__ float key(long j, int i) const
	{
		return j < n ? o.keys[summaries + j][column + i] : to_float(o.k[tokens + j - n][column + i]);
	}
	__device__ __forceinline__ float value(long j, int i) const
	{
		return j < n ? o.values[summaries + j][column + i] : to_float(o.v[tokens + j - n][column + i]);
	}
};

/* Launched on (tokens, sequences). */
template <typename real>
__global__ void summarise_kernel(operands<real> o)
{
	int t = (int)blockIdx.x, first = t - o.S + 1;
	long b = blockIdx.y, to = b * o.n_summaries + first / o.S;

	if (!ends_segment(o, b, t))
		return;
	for (int i = (int)threadIdx.x; i < o.KV * o.dh; i += THREADS) {
		float key = 0, value = 0;
		for (long s = b * o.T + first; s <= b * o.T + t; s++) {
			key += to_float(o.k[s][i]);
			value += to_float(o.v[s][i]);
		}
		o.keys[to][i] = key / (float)o.S;
		o.values[to][i] = value / (float)o.S;
	}
}

/* Launched on (tokens, heads, sequences). */
template <typename real>
__global__ void attend_kernel(operands<real> o, rows<real> to)
{
	attend_memory *m = shared_memory<attend_memory>();
	float *y = (float *)(m + 1);
	int t = (int)blockIdx.x, h = (int)blockIdx.y;
	long b = blockIdx.z, row = b * o.T + t;

	if (t < o.idle) {
		for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
			to[row][h * o.dh + i] = from_float<real>(0);
		return;
	}
	sight<real> seen(o, b, t, h);
	float lse = summary_attend(seen, o.q[row] + h * o.dh, seen.n_rows, o.dh, m, y);
	if (threadIdx.x == 0)
		o.lse[row][h] = lse;
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
		to[row][h * o.dh + i] = from_float<real>(y[i]);
}

/* dy . y and dq, which is 0 of idle rows. Launched on (tokens, heads, sequences). */
template <typename real>
__global__ void query_kernel(operands<real> o, rows<real> dq, bool add)
{
	attend_memory *m = shared_memory<attend_memory>();
	float *sum = (float *)(m + 1), root = 1 / sqrtf((float)o.dh);
	int t = (int)blockIdx.x, h = (int)blockIdx.y;
	long b = blockIdx.z, row = b * o.T + t;
	const real *q = o.q[row] + h * o.dh, *dy = o.dy[row] + h * o.dh;
	sight<real> seen(o, b, max(t, o.idle), h);
	float delta = moba_dot(dy, o.y[row] + h * o.dh, o.dh), lse = o.lse[row][h];

	if (threadIdx.x == 0)
		o.delta[row * o.H + h] = delta;
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
		sum[i] = 0;
	for (long from = 0; t >= o.idle && from < seen.n_rows; from += THREADS) {
		int n = (int)min((long)THREADS, seen.n_rows - from);
		__syncthreads();
		if ((int)threadIdx.x < n) {
			float p = vec_exp(seen.score(q, from + threadIdx.x) * root - lse);
			m->weight[threadIdx.x] = p * root * (seen.with_value(dy, from + threadIdx.x) - delta);
		}
		__syncthreads();
		for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
			for (int j = 0; j < n; j++)
				sum[i] += m->weight[j] * seen.key(from + j, i);
	}
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
		put(dq, row, h * o.dh + i, add, sum[i]);
}

/* Shared memory of a block with a row: dk and dv of the head behind it. */
struct row_memory {
	float p[THREADS], ds[THREADS];
};

/* dk and dv of a row with key and value from queries [from, to), as far as they are of the document. */
template <typename real, typename any>
__device__ void gradient_of(const operands<real> &o, long b, int kv, int start, int from, int to, const any *key,
	const any *value, row_memory *m, float *dk, float *dv)
{
	int group = o.H / o.KV;
	float root = 1 / sqrtf((float)o.dh);

	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
		dk[i] = dv[i] = 0;
	for (int at = from; at < to && start_of(o, b, at) == start; at += THREADS)
		for (int h = kv * group; h < (kv + 1) * group; h++) {
			int n = min((int)THREADS, to - at), t = at + (int)threadIdx.x;
			long row = b * o.T + t;
			bool sees = t < to && start_of(o, b, t) == start;
			float p = 0, ds = 0;
			if (sees) {
				p = vec_exp(moba_dot(o.q[row] + h * o.dh, key, o.dh) * root - o.lse[row][h]);
				ds = p * root * (moba_dot(o.dy[row] + h * o.dh, value, o.dh) - o.delta[row * o.H + h]);
			}
			__syncthreads();
			m->p[threadIdx.x] = p;
			m->ds[threadIdx.x] = ds;
			__syncthreads();
			for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
				for (int j = 0; j < n; j++) {
					if (m->p[j] == 0)
						continue;
					dv[i] += m->p[j] * to_float(o.dy[b * o.T + at + j][h * o.dh + i]);
					dk[i] += m->ds[j] * to_float(o.q[b * o.T + at + j][h * o.dh + i]);
				}
		}
}

/* Behind the last query that may see a row whose first token is given. */
template <typename real>
__device__ __forceinline__ int end_of_sight(const operands<real> &o, int first)
{
	return o.idle ? min(o.T, first + o.idle + 1) : o.T;
}

/* Launched on (tokens, heads of keys, sequences), behind query_kernel. */
template <typename real>
__global__ void summary_kernel(operands<real> o)
{
	row_memory *m = shared_memory<row_memory>();
	float *dk = (float *)(m + 1), *dv = dk + o.dh;
	int t = (int)blockIdx.x, kv = (int)blockIdx.y, first = t - o.S + 1;
	long b = blockIdx.z, row = b * o.n_summaries + first / o.S;

	if (!ends_segment(o, b, t))
		return;
	gradient_of(o, b, kv, start_of(o, b, t), max(t + 1, o.idle), end_of_sight(o, first),
		(const float *)o.keys[row] + kv * o.dh, (const float *)o.values[row] + kv * o.dh, m, dk, dv);
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS) {
		o.d_keys[(row * o.KV + kv) * o.dh + i] = dk[i];
		o.d_values[(row * o.KV + kv) * o.dh + i] = dv[i];
	}
}

template <typename real>
struct results {
	rows<real> dk, dv;
	bool add_k, add_v;
};

/* Launched on (tokens, heads of keys, sequences), behind summary_kernel. */
template <typename real>
__global__ void token_kernel(operands<real> o, results<real> to)
{
	row_memory *m = shared_memory<row_memory>();
	float *dk = (float *)(m + 1), *dv = dk + o.dh;
	int s = (int)blockIdx.x, kv = (int)blockIdx.y, column = kv * o.dh, start = start_of(o, blockIdx.z, s);
	long b = blockIdx.z, row = b * o.T + s;
	bool seen = s >= start;		/* an idle row may be of no query's document */
	int last = start + ((s - start) / o.S + 1) * o.S - 1, first = last - o.S + 1;
	bool whole = seen && ends_segment(o, b, last);
	long summary = (b * o.n_summaries + first / o.S) * o.KV + kv;

	gradient_of(o, b, kv, start, max(s, o.idle), seen ? min(last + 1, end_of_sight(o, s)) : 0, o.k[row] + column,
		o.v[row] + column, m, dk, dv);
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS) {
		float more_k = whole ? o.d_keys[summary * o.dh + i] / (float)o.S : 0.0f;
		float more_v = whole ? o.d_values[summary * o.dh + i] / (float)o.S : 0.0f;
		put(to.dk, row, column + i, to.add_k, dk[i] + more_k);
		put(to.dv, row, column + i, to.add_v, dv[i] + more_v);
	}
}

template <typename real>
operands<real> operands_of(const struct op_run *r, bool backward)
{
	struct moba_dims d = moba_dims(r->in, (const struct moba_attr *)r->attr);
	long n = ceil_div(d.T, d.S), size = d.B * n * d.KV * d.dh;
	float *room = (float *)r->workspace;

	return {rows_of<const real>(r->in[MOBA_Q_BTD]), rows_of<const real>(r->in[MOBA_K_BTC]),
		rows_of<const real>(r->in[MOBA_V_BTC]), rows_of<const real>(r->out[MOBA_Y_BTD]),
		rows_of<const real>(backward ? r->d_out[MOBA_Y_BTD] : NULL), rows_of<const int>(r->in[MOBA_START_BT]),
		rows_of<float>(r->saved[SUMMARY_LSE_BTH]), rows_of<float>(r->saved[SUMMARY_KEYS_BNC]),
		rows_of<float>(r->saved[SUMMARY_VALUES_BNC]), room, room + size, room + 2 * size, (int)d.T, (int)d.H,
		(int)d.KV, (int)d.dh, (int)d.S, (int)d.idle, n};
}

}  // namespace

extern "C" void summary_forward_cuda(const struct op_run *r)
{
	unsigned B = (unsigned)r->in[MOBA_Q_BTD]->dims[0];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r, false);
		launch(r, summarise_kernel<real>, dim3((unsigned)o.T, B), THREADS, 0, o);
		launch(r, attend_kernel<real>, dim3((unsigned)o.T, (unsigned)o.H, B), THREADS,
			sizeof(attend_memory) + (size_t)o.dh * sizeof(float), o, rows_of<real>(r->out[MOBA_Y_BTD]));
	});
}

extern "C" void summary_backward_cuda(const struct op_run *r)
{
	unsigned B = (unsigned)r->in[MOBA_Q_BTD]->dims[0];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r, true);
		results<real> to = {rows_of<real>(r->d_in[MOBA_K_BTC]), rows_of<real>(r->d_in[MOBA_V_BTC]),
			op_adds(r, MOBA_K_BTC), op_adds(r, MOBA_V_BTC)};
		dim3 grid((unsigned)o.T, (unsigned)o.KV, B);
		size_t shared = sizeof(row_memory) + 2 * (size_t)o.dh * sizeof(float);
		launch(r, query_kernel<real>, dim3((unsigned)o.T, (unsigned)o.H, B), THREADS,
			sizeof(attend_memory) + (size_t)o.dh * sizeof(float), o, rows_of<real>(r->d_in[MOBA_Q_BTD]),
			op_adds(r, MOBA_Q_BTD));
		launch(r, summary_kernel<real>, grid, THREADS, shared, o);
		launch(r, token_kernel<real>, grid, THREADS, shared, o, to);
	});
}
