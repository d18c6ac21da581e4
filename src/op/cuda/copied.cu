/*
 * copied: what it shares with pointer is in op/cuda/pointer.cuh. Each thread has the tokens of the vocabulary that
 * lie POINTER_THREADS apart, and takes what is copied of them in the order of the places: sums have one order.
 */
extern "C" {
#include "op/copied.h"
#include "op/pointer.h"
}
#include "op/cuda/pointer.cuh"

namespace {

struct memory {
	running all[POINTER_THREADS];
	float q[POINTER_MAX_WIDTH];
};

/* log(e^a + e^b) */
__device__ __forceinline__ float log_add(float a, float b)
{
	return fmaxf(a, b) + log1pf(expf(-fabsf(a - b)));
}

template <typename real>
struct operands {
	rows<const float> logit;
	rows<const real> gate, q, k, keys;	/* keys, tokens: rings, optional */
	rows<const int> token, tokens, start;
	rows<float> y;
	float *score;		/* [tokens, room] */
	int T, L, C, V, room;
};

/* Positions of the document as a token of position p sees them. */
template <typename real>
struct document {
	const operands<real> &o;
	long b;
	int t, p;

	__device__ __forceinline__ const real *key(int s) const
	{
		return p - s <= t ? o.k[b * o.T + t - (p - s)] : o.keys[b * o.L + s % o.L];
	}
	__device__ __forceinline__ int token(int s) const
	{
		return p - s <= t ? o.token[b][t - (p - s)] : o.tokens[b][s % o.L];
	}
};

template <typename real>
__device__ __forceinline__ float score_of(const float *q, const real *k, int width)
{
	float sum = 0;

	for (int i = 0; i < width; i++)
		sum += q[i] * to_float(k[i]);
	return sum / sqrtf((float)width);
}

/* Launched on tokens. */
template <typename real>
__global__ void __launch_bounds__(POINTER_THREADS) copied_kernel(operands<real> o)
{
	memory *m = shared_memory<memory>();
	long row = blockIdx.x, b = row / o.T;
	int t = (int)(row % o.T), p = t - (o.start.at ? o.start[b][t] : 0), own = (int)threadIdx.x;
	int first = o.keys.at ? max(p - o.L, 0) : 0;
	document<real> at = {o, b, t, p};
	float z = to_float(o.gate[row][0]), soft = log1pf(expf(-fabsf(z))), *score = o.score + row * o.room - first;
	running of_v = {-INFINITY, 0}, of_s = of_v;

	load_row(m->q, o.q[row], o.C);
	for (int v = own; v < o.V; v += POINTER_THREADS) {
		of_v.take(o.logit[row][v]);
		o.y[row][v] = 0;
	}
	for (int s = first + own; s < p; s += POINTER_THREADS) {
		score[s] = score_of(m->q, at.key(s), o.C);
		of_s.take(score[s]);
	}
	float lse = block_lse(of_v, m->all), lse_s = block_lse(of_s, m->all);
	for (int s = first; s < p; s++) {
		int v = at.token(s + 1);
		if (v % POINTER_THREADS == own)
			o.y[row][v] += expf(score[s] - lse_s);
	}
	for (int v = own; v < o.V; v += POINTER_THREADS) {
		float mine = (first < p ? fminf(z, 0) - soft : 0) + o.logit[row][v] - lse, copied = o.y[row][v];
		o.y[row][v] = copied > 0 ? log_add(mine, fminf(-z, 0) - soft + logf(copied)) : mine;
	}
}

}

extern "C" void copied_forward_cuda(const struct op_run *r)
{
	const struct tensor *q = r->in[COPIED_Q_BTC], *keys = r->in[COPIED_KEYS_BLC], *y = r->out[COPIED_Y_BTV];
	int T = (int)q->dims[1], L = keys ? (int)keys->dims[1] : 0;

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = {rows_of<const float>(r->in[COPIED_LOGIT_BTV]),
			rows_of<const real>(r->in[COPIED_GATE_BT1]), rows_of<const real>(q),
			rows_of<const real>(r->in[COPIED_K_BTC]), rows_of<const real>(keys),
			rows_of<const int>(r->in[COPIED_TOKEN_BT]), rows_of<const int>(r->in[COPIED_TOKENS_BL]),
			rows_of<const int>(r->in[COPIED_START_BT]), rows_of<float>(y), (float *)r->workspace, T, L,
			(int)q->dims[2], (int)tensor_width(y), L ? L : T};
		launch(r, copied_kernel<real>, dim3((unsigned)tensor_rows(q)), POINTER_THREADS, sizeof(memory), o);
	});
}
