/*
 * moba_step: as moba.cuh has it, over keys and values of the call or of the rings; a thread makes the mean of a
 * segment, channel by channel. A second kernel moves keys and values into the rings.
 */
extern "C" {
#include "op/document_start.h"
#include "op/moba_step.h"
}
#include "op/cuda/moba.cuh"

namespace {

enum { THREADS = ATTEND_THREADS };

template <typename real>
struct operands {
	rows<const real> q, k, v;
	rows<const int> start;
	rows<real> keys, values, y;
	long T, L, S;
	int H, KV, dh, earlier;
};

/* A head of keys and values as token t of position p sees them. */
template <typename real>
struct document {
	const operands<real> &o;
	long b, t, p;
	int column;

	__device__ __forceinline__ const real *at(rows<const real> now, rows<real> ring, long s) const
	{
		return (p - s <= t ? now[b * o.T + t - (p - s)] : ring[b * o.L + s % o.L]) + column;
	}
	__device__ __forceinline__ const real *key(long s) const
	{
		return at(o.k, o.keys, s);
	}
	__device__ __forceinline__ const real *value(long s) const
	{
		return at(o.v, o.values, s);
	}
};

/* Launched on (tokens, heads, sequences). */
template <typename real>
__global__ void step_kernel(operands<real> o)
{
	moba_memory *m = shared_memory<moba_memory>();
	float *y = (float *)(m + 1);
	long t = blockIdx.x, b = blockIdx.z, row = b * o.T + t, p = t - o.start[b][t];
	int h = (int)blockIdx.y;
	const real *q = o.q[row] + h * o.dh;
	document<real> at = {o, b, t, p, h / (o.H / o.KV) * o.dh};
	long own = o.earlier && p >= 0 ? p / o.S : 0;

	for (long i = threadIdx.x; i < own; i += THREADS) {
		float score = 0;
		for (int c = 0; c < o.dh; c++) {
			float sum = 0;
			for (long s = i * o.S; s < (i + 1) * o.S; s++)
				sum += to_float(at.key(s)[c]);
			score += to_float(q[c]) * (sum / (float)o.S);
		}
		m->score[i] = score;
	}
	moba_block_choose(m, own, o.earlier);
	if (p >= 0)	/* else the row is not there */
		moba_attend(at, q, p, o.S, 0, o.dh, m, y);
	for (int i = (int)threadIdx.x; i < o.dh; i += THREADS)
		o.y[row][h * o.dh + i] = from_float<real>(p < 0 ? 0.0f : y[i]);
}

/* Launched on (tokens, sequences). */
template <typename real>
__global__ void keep_kernel(operands<real> o)
{
	long t = blockIdx.x, b = blockIdx.y, start = o.start[b][t], row = b * o.L + (t - start) % o.L, n = o.T;

	while (n > 0 && o.start[b][n - 1] == NOT_THERE)
		n--;
	if (t >= n || t < n - o.L || start != o.start[b][n - 1])
		return;
	for (int i = (int)threadIdx.x; i < o.KV * o.dh; i += THREADS) {
		o.keys[row][i] = o.k[b * o.T + t][i];
		o.values[row][i] = o.v[b * o.T + t][i];
	}
}

}  // namespace

extern "C" void moba_step_forward_cuda(const struct op_run *r)
{
	struct moba_dims d = moba_dims(r->in, (const struct moba_attr *)r->attr);
	const struct tensor *keys = r->in[MOBA_STEP_KEYS_BLC];
	unsigned T = (unsigned)d.T, B = (unsigned)d.B;

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands<real> o = {rows_of<const real>(r->in[MOBA_Q_BTD]), rows_of<const real>(r->in[MOBA_K_BTC]),
			rows_of<const real>(r->in[MOBA_V_BTC]), rows_of<const int>(r->in[MOBA_START_BT]),
			rows_of<real>(keys), rows_of<real>(r->in[MOBA_STEP_VALUES_BLC]),
			rows_of<real>(r->out[MOBA_Y_BTD]), d.T, keys->dims[1], d.S, (int)d.H, (int)d.KV, (int)d.dh,
			(int)d.earlier};
		launch(r, step_kernel<real>, dim3(T, (unsigned)d.H, B), THREADS,
			sizeof(moba_memory) + (size_t)d.dh * sizeof(float), o);
		launch(r, keep_kernel<real>, dim3(T, B), THREADS, 0, o);
	});
}
