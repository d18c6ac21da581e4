/* pointed: op/cuda/pointer.cuh. Scores are made once more where a token follows several places. */
extern "C" {
#include "op/pointed.h"
#include "op/pointer.h"
}
#include "op/cuda/pointer.cuh"

namespace {

struct memory {
	running all[POINTER_THREADS];
	float q[POINTER_MAX_WIDTH];
};

template <typename real>
__global__ void __launch_bounds__(POINTER_THREADS) pointed_kernel(pointer<real> p, rows<float> mass)
{
	memory *m = shared_memory<memory>();
	long row = blockIdx.x, b = row / p.T;
	int t = (int)(row % p.T), first = p.first(b, t);
	const int *word = p.token[b] + 1;	/* what follows a place */
	running all = {-INFINITY, 0};

	load_row(m->q, p.q[row], p.C);
	for (int s = first + (int)threadIdx.x; s < p.n + t; s += POINTER_THREADS)
		all.take(p.score(m->q, p.k[b * p.S + s]));
	float lse = block_lse(all, m->all);
	for (int s = threadIdx.x; s < p.S; s += POINTER_THREADS) {
		float sum = 0;
		for (int i = first; s >= first && s < p.n + t && i <= s; i++)
			if (word[i] == word[s])
				sum += expf(p.score(m->q, p.k[b * p.S + i]) - lse);
		mass[row][s] = sum;
	}
}

}

extern "C" void pointed_forward_cuda(const struct op_run *r)
{
	const struct tensor *q = r->in[POINTED_Q_BTC];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		pointer<real> p = pointer_of<real>(q, r->in[POINTED_K_BSC], r->in[POINTED_TOKEN_BS], NULL,
			r->in[POINTED_START_BS]);
		launch(r, pointed_kernel<real>, dim3((unsigned)tensor_rows(q)), POINTER_THREADS, sizeof(memory), p,
			rows_of<float>(r->out[POINTED_MASS_BTS]));
	});
}
