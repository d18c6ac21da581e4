/*
 * attention_step: a block has a token and head, as in attend.cuh. A second kernel moves keys and values into the
 * rings. Bytes: keys and values seen, once.
 */
extern "C" {
#include "op/attention_step.h"
#include "op/document_start.h"
}
#include "op/cuda/attend.cuh"

namespace {

enum { THREADS = ATTEND_THREADS };

template <typename real>
struct operands {
	rows<const real> q, k, v;
	rows<const int> start;
	rows<real> keys, values, y;
	long T, L;
	int H, dh, group;

	/* Of k (or v) and its ring, position s of the document as token t of position p sees it. */
	__device__ __forceinline__ const real *at(rows<const real> now, rows<real> ring, long b, long t,
		long p, long s) const
	{
		return p - s <= t ? now[b * T + t - (p - s)] : ring[b * L + s % L];
	}
};

/* Launched on (tokens, heads, sequences). */
template <typename real>
__global__ void attend_kernel(operands<real> o)
{
	attend_memory *m = shared_memory<attend_memory>();
	float *y = (float *)(m + 1);
	long t = blockIdx.x, b = blockIdx.z, p = t - o.start[b][t], first = p > o.L ? p - o.L : 0;
	int channel = (int)blockIdx.y * o.dh, shared = (int)blockIdx.y / o.group * o.dh;
	const real *q = o.q[b * o.T + t] + channel;
	attended a;

	attend_begin(y, o.dh);
	for (long at = first; at <= p; at += THREADS) {
		int n = (int)min((long)THREADS, p + 1 - at);
		float score = -INFINITY;
		if ((int)threadIdx.x < n) {
			const real *k = o.at(o.k, o.keys, b, t, p, at + threadIdx.x) + shared;
			score = 0;
			for (int i = 0; i < o.dh; i++)
				score += to_float(q[i]) * to_float(k[i]);
			score /= sqrtf((float)o.dh);
		}
		attend_tile(a, score, n, o.dh, m, y, [&](int s, int i) {
			return to_float(o.at(o.v, o.values, b, t, p, at + s)[shared + i]);
		});
	}
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)	/* p < 0: the row is not there */
		o.y[b * o.T + t][channel + i] = from_float<real>(p < 0 ? 0.0f : y[i] / a.sum);
}

/* Launched on (tokens, sequences). */
template <typename real>
__global__ void keep_kernel(operands<real> o, int width)
{
	long t = blockIdx.x, b = blockIdx.y, start = o.start[b][t], row = b * o.L + (t - start) % o.L, n = o.T;

	while (n > 0 && o.start[b][n - 1] == NOT_THERE)
		n--;
	if (t >= n || t < n - o.L || start != o.start[b][n - 1])
		return;
	for (int i = (int)threadIdx.x; i < width; i += THREADS) {
		o.keys[row][i] = o.k[b * o.T + t][i];
		o.values[row][i] = o.v[b * o.T + t][i];
	}
}

}

extern "C" void attention_step_forward_cuda(const struct op_run *r)
{
	const struct attention_attr *attr = (const struct attention_attr *)r->attr;
	const struct tensor *q = r->in[ATTENTION_Q_BTD], *k = r->in[ATTENTION_K_BTC];
	const struct tensor *keys = r->in[ATTENTION_STEP_KEYS_BLC];
	unsigned B = (unsigned)q->dims[0], T = (unsigned)q->dims[1];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = {rows_of<const real>(q), rows_of<const real>(k),
			rows_of<const real>(r->in[ATTENTION_V_BTC]), rows_of<const int>(r->in[ATTENTION_START_BT]),
			rows_of<real>(keys), rows_of<real>(r->in[ATTENTION_STEP_VALUES_BLC]),
			rows_of<real>(r->out[ATTENTION_Y_BTD]), q->dims[1], keys->dims[1], attr->n_heads,
			(int)(tensor_width(q) / attr->n_heads), (int)attention_group(attr)};
		launch(r, attend_kernel<real>, dim3(T, (unsigned)o.H, B), THREADS,
			sizeof(attend_memory) + (size_t)o.dh * sizeof(float), o);
		launch(r, keep_kernel<real>, dim3(T, B), THREADS, 0, o, (int)tensor_width(k));
	});
}
