/* cross_entropy on the GPU: what is known of a row of logits, and what a copy head makes of it. */
#ifndef OP_CUDA_CROSS_ENTROPY_CUH
#define OP_CUDA_CROSS_ENTROPY_CUH

extern "C" {
#include "op/cross_entropy.h"
}
#include "op/cuda/gemm.h"
#include "op/cuda/prim.cuh"
#include "op/cuda/reduce.cuh"

enum {
	EACH = 8,		/* logits that a thread takes at once */
	MOST_THREADS = 512,
	ONE_BLOCK = 1024,
	N_PARTS = 4,		/* of a row on its way into shared memory */
	MOST_WARPS = MOST_THREADS / 32,
	LOGITS = 0, INPUT, WEIGHT, N_PRODUCTS,
};

template <typename real, typename logit>
struct head {
	rows<logit> logits;		/* of the chunk */
	rows<real> x, w;
	rows<int> target, correct;
	rows<float> nll, weight;	/* weight: address NULL where all tokens weigh 1 */
	rows<real> gate;		/* this and what follows: of a copy head, else NULL */
	rows<float> log_c, mass, d_gate, d_log_c;
	rows<int> token;
	const int *n_valid;
	long from;			/* first row of the chunk */
	long t_width, d, in_front;	/* in_front: places of mass in front of the first token's */
	int n_vocab, n_columns;
};

/* What a thread, a warp and the block know of a row. */
struct softmax {
	float most, sum;		/* sum of exp(logit - most) */
	float own;			/* the target's logit, in parts: a sum over threads */
	float beaten;			/* 1: another logit is larger, or equal and in front */
};

/* exp(a - b) where a <= b; b -inf: 0 */
__device__ __forceinline__ float exp_below(float a, float b)
{
	return b == -INFINITY ? 0 : exp2_fast((a - b) * LOG2E);
}

/* Of two parts, in the order of the arguments. */
__device__ __forceinline__ softmax join(const softmax &a, const softmax &b)
{
	float most = fmaxf(a.most, b.most);

	return {most, a.sum * exp_below(a.most, most) + b.sum * exp_below(b.most, most),
		a.own + b.own, fmaxf(a.beaten, b.beaten)};
}

/* Of the whole block, for all its threads. */
__device__ __forceinline__ softmax join_block(softmax s, softmax *of_warp)
{
	#pragma unroll
	for (int step = 16; step; step /= 2) {
		softmax other = {__shfl_xor_sync(0xffffffffu, s.most, step),
			__shfl_xor_sync(0xffffffffu, s.sum, step),
			__shfl_xor_sync(0xffffffffu, s.own, step),
			__shfl_xor_sync(0xffffffffu, s.beaten, step)};
		s = join(s, other);
	}
	if (threadIdx.x % 32 == 0)
		of_warp[threadIdx.x / 32] = s;
	__syncthreads();
	s = of_warp[0];
	for (int k = 1; k < (int)(blockDim.x / 32); k++)
		s = join(s, of_warp[k]);
	return s;
}

/* ---- copies: op/cross_entropy.h ------------------------------------------------------------- */

struct mixture {
	float nll, g, c;		/* c: copied share of the target */
	float share;			/* the vocabulary's, of the target's probability; 1 without */

	/* The probability of a token of which the vocabulary says p. One formula for all: ties are ties. */
	__device__ __forceinline__ float of(float p, float copied) const
	{
		return g * p + (1 - g) * copied;
	}
};

template <typename real, typename logit>
__device__ __forceinline__ mixture mixture_of(const head<real, logit> &h, long t, long b, long i, float nll_v)
{
	float c = h.log_c[b][i], z = to_float(*h.gate[t]), soft = log1pf(expf(-fabsf(z)));
	float own = -fmaxf(-z, 0) - soft - nll_v, copied = c - fmaxf(z, 0) - soft;
	float sum = fmaxf(own, copied) + log1pf(expf(-fabsf(own - copied)));

	if (c > 0)
		return {nll_v, 1, 0, 1};
	return {-sum, 1 / (1 + expf(-z)), expf(c), expf(own - sum)};
}

/* Is another token than the target as probable (a later one: more)? For all threads of the block. */
template <typename real, typename logit>
__device__ bool beaten_by_other(const head<real, logit> &h, const logit *row, long t, long b, long i, float lse,
	int target, const mixture &m, softmax *of_warp)
{
	softmax s = {-INFINITY, 0, 0, 0};
	float p = m.of(expf(to_float(row[target]) - lse), m.c);

	for (int v = threadIdx.x; v < h.n_vocab; v += blockDim.x) {
		float other = v == target ? 0 : m.of(expf(to_float(row[v]) - lse), 0);
		if (other > p || (other == p && v < target))
			s.beaten = 1;
	}
	for (int k = threadIdx.x; h.mass.at && k < h.in_front + i; k += blockDim.x) {
		int v = h.token[b][k + 1];
		float other = v == target ? 0 : m.of(expf(to_float(row[v]) - lse), h.mass[t][k]);
		if (other > p || (other == p && v < target))
			s.beaten = 1;
	}
	__syncthreads();
	return join_block(s, of_warp).beaten != 0;
}

template <typename real, typename logit>
__device__ __forceinline__ void keep(const head<real, logit> &h, long b, long i, const mixture &m, float weight)
{
	if (threadIdx.x == 0 && h.d_gate.at) {
		h.d_gate[b][i] = weight * (m.g - m.share);
		h.d_log_c[b][i] = weight * (m.share - 1);
	}
}

#endif
