/*
 * moba on the GPU: means of whole segments, then moba.cuh's attention. Backward once over queries for dq and
 * dy . y, once over keys for dk and dv: a block has a key and goes over the queries of its document from it on,
 * of which those count that see its segment; so sums have one order and nobody else writes them.
 */
#include "op/cuda/moba.cuh"

namespace {

enum { THREADS = ATTEND_THREADS };

template <typename real>
struct operands {
	rows<const real> q, k, v, y, dy;
	rows<const int> start;
	rows<float> lse;
	rows<int> segments;
	float *means;		/* [B, segments of a sequence, KV dh] by the first token over S */
	float *delta;		/* [B T, H]: dy . y */
	int T, H, KV, dh, S, earlier, idle, room;	/* room: columns of a head in segments */
	long n_means;		/* of a sequence */
};

/* Of idle rows the first query's counts. */
template <typename real>
__device__ __forceinline__ int start_of(const operands<real> &o, long b, int t)
{
	return o.start.at ? o.start[b][max(t, o.idle)] : 0;
}

/* The first position of its document that a query at position p sees. */
template <typename real>
__device__ __forceinline__ long least_seen(const operands<real> &o, long p)
{
	return o.idle ? max(p - o.idle, 0L) : 0;
}

/* A head of keys and values of a document. */
template <typename real>
struct document {
	const operands<real> &o;
	long first;		/* row of its first token, wherever that is */
	int column;

	__device__ __forceinline__ const real *key(long s) const
	{
		return o.k[first + s] + column;
	}
	__device__ __forceinline__ const real *value(long s) const
	{
		return o.v[first + s] + column;
	}
};

/* Launched on (tokens, sequences): where a whole segment ends, its mean. */
template <typename real>
__global__ void mean_kernel(operands<real> o)
{
	int t = (int)blockIdx.x, first = t - o.S + 1;
	long b = blockIdx.y;

	if ((t - start_of(o, b, t)) % o.S != o.S - 1 || first < max(start_of(o, b, t), 0))
		return;
	for (int i = (int)threadIdx.x; i < o.KV * o.dh; i += THREADS) {
		float sum = 0;
		for (int s = first; s <= t; s++)
			sum += to_float(o.k[b * o.T + s][i]);
		o.means[(b * o.n_means + first / o.S) * o.KV * o.dh + i] = sum / (float)o.S;
	}
}

/* Launched on (tokens, heads, sequences). */
template <typename real>
__global__ void moba_kernel(operands<real> o, rows<real> to)
{
	moba_memory *m = shared_memory<moba_memory>();
	float *y = (float *)(m + 1);
	int t = (int)blockIdx.x, h = (int)blockIdx.y, kv = h / (o.H / o.KV) * o.dh;
	long b = blockIdx.z, start = start_of(o, b, t), row = b * o.T + t, p = t - start;
	long least = least_seen(o, p), earliest = (least + o.S - 1) / o.S, own = o.earlier ? p / o.S - earliest : 0;
	const real *q = o.q[row] + h * o.dh;
	document<real> at = {o, b * o.T + start, kv};

	if (t < o.idle) {
		for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
			to[row][h * o.dh + i] = from_float<real>(0);
		return;
	}
	for (long i = threadIdx.x; i < own; i += THREADS) {
		const float *mean = o.means + (b * o.n_means + (start + (earliest + i) * o.S) / o.S) * o.KV * o.dh + kv;
		float sum = 0;
		for (int c = 0; c < o.dh; c++)
			sum += to_float(q[c]) * mean[c];
		m->score[i] = sum;
	}
	moba_block_choose(m, own, o.earlier);
	if ((int)threadIdx.x < m->n_segments)
		m->segment[threadIdx.x] += (int)earliest;
	__syncthreads();
	for (int i = (int)threadIdx.x; i < o.room; i += THREADS)
		o.segments[row][h * o.room + i] = i < m->n_segments ? m->segment[i] : -1;
	float lse = moba_attend(at, q, p, o.S, least, o.dh, m, y);
	if (threadIdx.x == 0)
		o.lse[row][h] = lse;
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
		to[row][h * o.dh + i] = from_float<real>(y[i]);
}

/* Segments of a query that forward has chosen, to shared memory; all threads wait. */
template <typename real>
__device__ __forceinline__ void load_segments(const operands<real> &o, long row, int h, moba_memory *m)
{
	if (threadIdx.x == 0) {
		const int *from = o.segments[row] + h * o.room;
		m->n_segments = 0;
		while (m->n_segments < o.earlier && from[m->n_segments] >= 0) {
			m->segment[m->n_segments] = from[m->n_segments];
			m->n_segments++;
		}
	}
	__syncthreads();
}

/* dy . y and dq, which is 0 of idle rows. Launched on (tokens, heads, sequences). */
template <typename real>
__global__ void query_kernel(operands<real> o, rows<real> dq, bool add)
{
	moba_memory *m = shared_memory<moba_memory>();
	float *sum = (float *)(m + 1), root = 1 / sqrtf((float)o.dh);
	int t = (int)blockIdx.x, h = (int)blockIdx.y;
	long b = blockIdx.z, start = start_of(o, b, t), row = b * o.T + t, p = t - start, from, to;
	const real *q = o.q[row] + h * o.dh, *dy = o.dy[row] + h * o.dh;
	document<real> at = {o, b * o.T + start, h / (o.H / o.KV) * o.dh};
	float delta = moba_dot(dy, o.y[row] + h * o.dh, o.dh), lse = o.lse[row][h];

	if (threadIdx.x == 0)
		o.delta[row * o.H + h] = delta;
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
		sum[i] = 0;
	if (t >= o.idle)
		load_segments(o, row, h, m);
	for (int range = 0; t >= o.idle && range <= m->n_segments; range++)
		for (moba_range(m->segment, m->n_segments, p, o.S, least_seen(o, p), range, &from, &to); from < to;
			from += THREADS) {
			int n = (int)min((long)THREADS, to - from);
			__syncthreads();
			if ((int)threadIdx.x < n) {
				long s = from + threadIdx.x;
				float weight = vec_exp(moba_dot(q, at.key(s), o.dh) * root - lse);
				m->tile.weight[threadIdx.x] = weight * root * (moba_dot(dy, at.value(s), o.dh) - delta);
			}
			__syncthreads();
			for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
				for (int s = 0; s < n; s++)
					sum[i] += m->tile.weight[s] * to_float(at.key(from + s)[i]);
		}
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
		put(dq, row, h * o.dh + i, add, sum[i]);
}

/* Does the query of token t and head h see the segment? */
template <typename real>
__device__ __forceinline__ bool sees_segment(const operands<real> &o, long row, int h, long own, long segment)
{
	const int *chosen = o.segments[row] + h * o.room;

	for (int i = 0; i < o.earlier; i++)
		if (chosen[i] == segment)
			return true;
	return own == segment;
}

struct key_memory {
	float p[THREADS], ds[THREADS];
};

/* p and ds of one query, a thread's own, for the block's key at place s; 0 where it does not see it. */
template <typename real>
__device__ __forceinline__ void pair_of(const operands<real> &o, long b, int t, int h, int start, int s,
	const real *key, const real *value, key_memory *m)
{
	long row = b * o.T + t;
	float root = 1 / sqrtf((float)o.dh), p = 0, ds = 0;

	if (t < o.T && start_of(o, b, t) == start && s - start >= least_seen(o, t - start) &&
		sees_segment(o, row, h, (t - start) / o.S, (s - start) / o.S)) {
		p = vec_exp(moba_dot(o.q[row] + h * o.dh, key, o.dh) * root - o.lse[row][h]);
		ds = p * root * (moba_dot(o.dy[row] + h * o.dh, value, o.dh) - o.delta[row * o.H + h]);
	}
	m->p[threadIdx.x] = p;
	m->ds[threadIdx.x] = ds;
}

template <typename real>
struct results {
	rows<real> dk, dv;
	bool add_k, add_v;
};

/* Launched on (tokens, heads of keys, sequences), behind query_kernel. */
template <typename real>
__global__ void key_kernel(operands<real> o, results<real> to)
{
	key_memory *m = shared_memory<key_memory>();
	float *dk = (float *)(m + 1), *dv = dk + o.dh;
	int s = (int)blockIdx.x, column = (int)blockIdx.y * o.dh, group = o.H / o.KV;
	long b = blockIdx.z, row = b * o.T + s;
	int start = start_of(o, b, s), end = s < start ? 0 : o.T;	/* an idle row may be of no query's document */

	for (int i = (int)threadIdx.x; i < 2 * o.dh; i += THREADS)
		dk[i] = 0;
	__syncthreads();
	for (int at = max(s, o.idle); at < end && start_of(o, b, at) == start; at += THREADS)
		for (int h = (int)blockIdx.y * group; h < ((int)blockIdx.y + 1) * group; h++) {
			int n = min((int)THREADS, o.T - at);
			__syncthreads();
			pair_of(o, b, at + (int)threadIdx.x, h, start, s, o.k[row] + column, o.v[row] + column, m);
			__syncthreads();
			for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
				for (int j = 0; j < n; j++) {
					if (m->p[j] == 0)
						continue;
					dv[i] += m->p[j] * to_float(o.dy[b * o.T + at + j][h * o.dh + i]);
					dk[i] += m->ds[j] * to_float(o.q[b * o.T + at + j][h * o.dh + i]);
				}
		}
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS) {
		put(to.dk, row, column + i, to.add_k, dk[i]);
		put(to.dv, row, column + i, to.add_v, dv[i]);
	}
}

template <typename real>
operands<real> operands_of(const struct op_run *r, bool backward)
{
	struct moba_dims d = moba_dims(r->in, (const struct moba_attr *)r->attr);

	return {rows_of<const real>(r->in[MOBA_Q_BTD]), rows_of<const real>(r->in[MOBA_K_BTC]),
		rows_of<const real>(r->in[MOBA_V_BTC]), rows_of<const real>(r->out[MOBA_Y_BTD]),
		rows_of<const real>(backward ? r->d_out[MOBA_Y_BTD] : NULL), rows_of<const int>(r->in[MOBA_START_BT]),
		rows_of<float>(r->saved[MOBA_LSE_BTH]), rows_of<int>(r->saved[MOBA_SEGMENTS_BTM]),
		(float *)r->workspace, (float *)r->workspace, (int)d.T, (int)d.H, (int)d.KV, (int)d.dh, (int)d.S,
		(int)d.earlier, (int)d.idle, (int)(d.earlier ? d.earlier : 1), ceil_div(d.T, d.S)};
}

}  // namespace

extern "C" void moba_forward_cuda(const struct op_run *r)
{
	unsigned B = (unsigned)r->in[MOBA_Q_BTD]->dims[0];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r, false);
		if (o.earlier)
			launch(r, mean_kernel<real>, dim3((unsigned)o.T, B), THREADS, 0, o);
		launch(r, moba_kernel<real>, dim3((unsigned)o.T, (unsigned)o.H, B), THREADS,
			sizeof(moba_memory) + (size_t)o.dh * sizeof(float), o, rows_of<real>(r->out[MOBA_Y_BTD]));
	});
}

extern "C" void moba_backward_cuda(const struct op_run *r)
{
	unsigned B = (unsigned)r->in[MOBA_Q_BTD]->dims[0];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = operands_of<real>(r, true);
		results<real> to = {rows_of<real>(r->d_in[MOBA_K_BTC]), rows_of<real>(r->d_in[MOBA_V_BTC]),
			op_adds(r, MOBA_K_BTC), op_adds(r, MOBA_V_BTC)};
		launch(r, query_kernel<real>, dim3((unsigned)o.T, (unsigned)o.H, B), THREADS,
			sizeof(moba_memory) + (size_t)o.dh * sizeof(float), o, rows_of<real>(r->d_in[MOBA_Q_BTD]),
			op_adds(r, MOBA_Q_BTD));
		launch(r, key_kernel<real>, dim3((unsigned)o.T, (unsigned)o.KV, B), THREADS,
			sizeof(key_memory) + 2 * (size_t)o.dh * sizeof(float), o, to);
	});
}
