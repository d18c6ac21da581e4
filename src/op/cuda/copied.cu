/*
 * copied: op/cuda/pointer.cuh. Each thread has the tokens of the vocabulary that lie POINTER_THREADS apart, and
 * takes what is copied of them in the order of the places, so that sums have one order.
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

/* Launched on tokens; score: [tokens, S]. */
template <typename real>
__global__ void __launch_bounds__(POINTER_THREADS) copied_kernel(pointer<real> p, rows<const float> logit,
	rows<const real> gate, rows<float> y, float *score, int V)
{
	memory *m = shared_memory<memory>();
	long row = blockIdx.x, b = row / p.T;
	int t = (int)(row % p.T), first = p.first(b, t), end = p.n + t;
	float z = to_float(gate[row][0]), soft = log1pf(expf(-fabsf(z)));
	running of_v = {-INFINITY, 0}, of_s = of_v;

	score += row * p.S;
	load_row(m->q, p.q[row], p.C);
	for (int v = (int)threadIdx.x; v < V; v += POINTER_THREADS) {
		of_v.take(logit[row][v]);
		y[row][v] = 0;
	}
	for (int s = first + (int)threadIdx.x; s < end; s += POINTER_THREADS) {
		score[s] = p.score(m->q, p.k[b * p.S + s]);
		of_s.take(score[s]);
	}
	float lse = block_lse(of_v, m->all), lse_s = block_lse(of_s, m->all);
	for (int s = first; s < end; s++) {
		int v = p.token[b][s + 1];
		if (v % POINTER_THREADS == (int)threadIdx.x)
			y[row][v] += expf(score[s] - lse_s);
	}
	for (int v = (int)threadIdx.x; v < V; v += POINTER_THREADS) {
		float own = (first < end ? fminf(z, 0) - soft : 0) + logit[row][v] - lse, copied = y[row][v];
		y[row][v] = copied > 0 ? log_add(own, fminf(-z, 0) - soft + logf(copied)) : own;
	}
}

}

extern "C" void copied_forward_cuda(const struct op_run *r)
{
	const struct tensor *q = r->in[COPIED_Q_BTC], *y = r->out[COPIED_Y_BTV];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		pointer<real> p = pointer_of<real>(q, r->in[COPIED_K_BSC], r->in[COPIED_TOKEN_BS], NULL,
			r->in[COPIED_START_BS]);
		launch(r, copied_kernel<real>, dim3((unsigned)tensor_rows(q)), POINTER_THREADS, sizeof(memory), p,
			rows_of<const float>(r->in[COPIED_LOGIT_BTV]), rows_of<const real>(r->in[COPIED_GATE_BT1]),
			rows_of<float>(y), (float *)r->workspace, (int)tensor_width(y));
	});
}
