/* What pointer and pointed (op/pointer.h) share on the GPU: a block has one token and goes over the places. */
#ifndef OP_CUDA_POINTER_CUH
#define OP_CUDA_POINTER_CUH

#include "op/cuda/kit.cuh"

enum { POINTER_THREADS = 128 };

template <typename real>
struct pointer {
	rows<const real> q, k;
	rows<const int> token, target, start;	/* target, start: optional */
	int T, S, n, C;		/* n = S - T: places in front of the first query's */
	float scale;

	__device__ __forceinline__ int first(long b, int t) const
	{
		int seen = start.at ? start[b][n + t] : 0;

		return n ? max(seen, t) : seen;
	}

	__device__ __forceinline__ bool hits(long b, int t, int s) const
	{
		return token[b][s + 1] == target[b][t];
	}

	/* x: a row of q or k as float, in shared memory; y: a row of the other one. */
	__device__ __forceinline__ float score(const float *x, const real *y) const
	{
		float sum = 0;

		for (int i = 0; i < C; i++)
			sum += x[i] * to_float(y[i]);
		return sum * scale;
	}
};

template <typename real>
pointer<real> pointer_of(const struct tensor *q, const struct tensor *k, const struct tensor *token,
	const struct tensor *target, const struct tensor *start)
{
	int T = (int)q->dims[1], S = (int)k->dims[1];

	return {rows_of<const real>(q), rows_of<const real>(k), rows_of<const int>(token), rows_of<const int>(target),
		rows_of<const int>(start), T, S, S - T, (int)q->dims[2], 1 / sqrtf((float)q->dims[2])};
}

/* The block's row as float. */
template <typename real>
__device__ __forceinline__ void load_row(float *to, const real *from, int n)
{
	for (int i = threadIdx.x; i < n; i += POINTER_THREADS)
		to[i] = to_float(from[i]);
	__syncthreads();
}

/* A log-sum-exp on its way. */
struct running {
	float most, sum;

	__device__ __forceinline__ void take(float score)
	{
		if (score > most) {
			sum *= expf(most - score);
			most = score;
		}
		sum += expf(score - most);
	}
};

/* Of all threads, in order; for all of them. -INFINITY: of nothing. */
__device__ __forceinline__ float block_lse(running own, running *all)
{
	running r = {-INFINITY, 0};

	__syncthreads();
	all[threadIdx.x] = own;
	__syncthreads();
	for (int i = 0; i < POINTER_THREADS; i++)
		r.most = fmaxf(r.most, all[i].most);
	for (int i = 0; i < POINTER_THREADS; i++)
		r.sum += all[i].sum > 0 ? all[i].sum * expf(all[i].most - r.most) : 0;
	return r.sum > 0 ? r.most + logf(r.sum) : -INFINITY;
}

#endif
