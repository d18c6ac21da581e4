/*
 * Time in chunks of at most 64 tokens, for operators whose state a head decays by exp(dt A), dt =
 * softplus(dtraw + dt_bias), A = -exp(A_log), and by 0 where a document begins (ssd, delta): places of
 * chunks, and how much of what is left where. op/cpu/chunk.h is the same for the CPU.
 */
#ifndef OP_CUDA_CHUNK_STEPS_CUH
#define OP_CUDA_CHUNK_STEPS_CUH

#include "op/cuda/chunk_tile.cuh"

extern "C" {
#include "op/cuda/chunk_steps.h"
}

#include "op/kit/vec.h"

typedef struct chunk_steps_cuda chunk_steps;

template <typename real>
struct chunks {
	int T, Q, n_chunks, H;
	rows<const real> dtraw;
	rows<const int> start;
	const float *a_log, *dt_bias;
	chunk_steps *steps;	/* [B, chunks, H] */
	long n;			/* of all sequences */
	rows<const float> decay, weight, own;	/* given in place of dtraw, A_log, dt_bias (op/ssd.h) */
};

/* A block's chunk. */
struct chunk {
	int b, c, t, n;		/* t: its first token in the sequence; n: how many */
	long row, index;	/* first row; number among all sequences' chunks */
};

template <typename real>
__device__ __forceinline__ chunk chunk_of(const chunks<real> &s, long index)
{
	int b = (int)(index / s.n_chunks), c = (int)(index % s.n_chunks), t = c * s.Q;

	return {b, c, t, min(s.Q, s.T - t), (long)b * s.T + t, index};
}

template <typename real>
__device__ __forceinline__ const chunk_steps *steps_of(const chunks<real> &s, const chunk &k, int h)
{
	return s.steps + k.index * s.H + h;
}

/* How much of token j's share is left at token t, j <= t. */
__device__ __forceinline__ float decay_between(const chunk_steps *w, int j, int t)
{
	return exp2_fast((float)(w->sum[t] - w->sum[j]) * LOG2E);
}

__device__ __forceinline__ bool sees(const chunk_steps *w, int n, int j, int t)
{
	return t < n && j <= t && j >= w->from[t];
}

/* A copy in shared memory; all threads wait for it. */
__device__ __forceinline__ void load_steps(chunk_steps *to, const chunk_steps *from)
{
	for (int i = threadIdx.x; i < (int)(sizeof *to / sizeof(int)); i += CHUNK_THREADS)
		((int *)to)[i] = ((const int *)from)[i];
	__syncthreads();
}

/* A thread has a head in a chunk. */
template <typename real>
static __global__ void steps_kernel(chunks<real> s)
{
	long i = (long)blockIdx.x * CHUNK_THREADS + threadIdx.x;
	int h = (int)(i % s.H);

	if (i >= s.n * s.H)
		return;
	chunk k = chunk_of(s, i / s.H);
	chunk_steps *w = s.steps + i;
	bool given = s.decay.at;
	float A = given ? 0 : -vec_exp(s.a_log[h]), bias = given ? 0 : s.dt_bias[h];
	double sum = 0;
	for (int t = 0; t < k.n; t++) {
		float raw = given ? 0 : to_float(s.dtraw[k.row + t][h]) + bias;
		float dt = given ? s.weight[k.row + t][h] : vec_softplus(raw);
		int first = s.start.at ? s.start[k.b][k.t + t] : 0;
		sum += given ? s.decay[k.row + t][h] : dt * A;
		w->sum[t] = sum;
		w->dt[t] = dt;
		w->own[t] = given ? s.own[k.row + t][h] : dt;
		w->slope[t] = vec_sigmoid(raw);
		w->from[t] = max(first - k.t, 0);
		w->enters[t] = first < k.t ? exp2_fast((float)sum * LOG2E) : 0;
	}
	for (int t = 0; t < k.n; t++)
		w->leaves[t] = t < w->from[k.n - 1] ? 0 : exp2_fast((float)(sum - w->sum[t]) * LOG2E);
}

template <typename real>
void launch_steps(const struct op_run *r, const chunks<real> &s)
{
	launch(r, steps_kernel<real>, dim3((unsigned)ceil_div(s.n * s.H, CHUNK_THREADS)), CHUNK_THREADS, 0, s);
}

/* By one thread: shares of the gradient of each log decay by pairs become that of all (steps_backward). */
__device__ __forceinline__ void sum_log_decays(const chunk &k, float *d_log, const float *entered, const float *left,
	float carried)
{
	float in_front = 0;

	for (int t = k.n - 1; t >= 0; t--) {
		carried += entered[t];
		d_log[t] += carried;
	}
	for (int t = 0; t < k.n; t++) {
		d_log[t] += in_front;
		in_front += left[t];
	}
}

/* By one thread: from shares of the gradient of dt A by pairs (d_log, by token), and by what entered,
   left (times dt) and was carried over, times their gradients, and d_dt, the gradient of dt beside dt A,
   to that of dtraw; the head's shares of those of A_log and dt_bias. NULL: none. */
template <typename real>
__device__ void steps_backward(const chunks<real> &s, const chunk &k, int h, const chunk_steps *w, float *d_log,
	const float *entered, const float *left, float carried, const float *d_dt, const rows<real> &ddtraw,
	bool add, float *d_a_log, float *d_dt_bias)
{
	float A = -vec_exp(s.a_log[h]), sum = 0, bias = 0;

	sum_log_decays(k, d_log, entered, left, carried);
	for (int t = 0; t < k.n; t++) {
		float log = d_log[t], d = ((d_dt ? d_dt[t] : 0) + A * log) * w->slope[t];
		sum += w->dt[t] * log;
		bias += d;
		put(ddtraw, k.row + t, h, add, d);
	}
	*d_a_log = sum * A;
	*d_dt_bias = bias;
}

#endif
