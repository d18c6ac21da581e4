/*
 * attention_step: a block has a token and head. Keys come in tiles of THREADS: each thread makes one score,
 * then takes its channels of y through the values of the tile; maximum and sum run on from tile to tile.
 * A second kernel moves keys and values into the rings. Bytes: keys and values seen, once.
 */
extern "C" {
#include "op/attention_step.h"
#include "op/document_start.h"
}
#include "op/cuda/kit.cuh"
#include "op/kit/vec.h"

namespace {

enum { THREADS = 128, WARPS = THREADS / 32 };

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

/* Over the block, for all threads; `one` has a number for each warp. */
__device__ __forceinline__ float block_max(float x, float *one)
{
	x = warp_max(x);
	__syncthreads();
	if (threadIdx.x % 32 == 0)
		one[threadIdx.x / 32] = x;
	__syncthreads();
	x = one[0];
	for (int w = 1; w < WARPS; w++)
		x = fmaxf(x, one[w]);
	return x;
}

/* Launched on (tokens, heads, sequences). Shared: one of each warp, a tile of weights, y of the head. */
template <typename real>
__global__ void attend_kernel(operands<real> o)
{
	float *one = shared_memory<float>(), *weight = one + WARPS, *y = weight + THREADS;
	long t = blockIdx.x, b = blockIdx.z, p = t - o.start[b][t], first = p > o.L ? p - o.L : 0;
	int channel = (int)blockIdx.y * o.dh, shared = (int)blockIdx.y / o.group * o.dh;
	const real *q = o.q[b * o.T + t] + channel;
	float most = -INFINITY, sum = 0;

	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
		y[i] = 0;
	for (long at = first; at <= p; at += THREADS) {
		int n = (int)min((long)THREADS, p + 1 - at);
		float score = -INFINITY, before = most, scale;
		if ((int)threadIdx.x < n) {
			const real *k = o.at(o.k, o.keys, b, t, p, at + threadIdx.x) + shared;
			score = 0;
			for (int i = 0; i < o.dh; i++)
				score += to_float(q[i]) * to_float(k[i]);
			score /= sqrtf((float)o.dh);
		}
		most = fmaxf(most, block_max(score, one));
		weight[threadIdx.x] = (int)threadIdx.x < n ? vec_exp(score - most) : 0.0f;
		scale = vec_exp(before - most);
		sum *= scale;
		__syncthreads();
		for (int s = 0; s < n; s++)
			sum += weight[s];
		for (int i = (int)threadIdx.x; i < o.dh; i += THREADS) {
			float of_y = y[i] * scale;
			for (int s = 0; s < n; s++)
				of_y += weight[s] * to_float(o.at(o.v, o.values, b, t, p, at + s)[shared + i]);
			y[i] = of_y;
		}
	}
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)	/* p < 0: the row is not there */
		o.y[b * o.T + t][channel + i] = from_float<real>(p < 0 ? 0.0f : y[i] / sum);
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
			(size_t)(WARPS + THREADS + o.dh) * sizeof(float), o);
		launch(r, keep_kernel<real>, dim3(T, B), THREADS, 0, o, (int)tensor_width(k));
	});
}
