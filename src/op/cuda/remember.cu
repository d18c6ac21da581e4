/* remember: a block has a token. */
extern "C" {
#include "op/remember.h"
}
#include "op/cuda/kit.cuh"

namespace {

enum { THREADS = 128 };

struct operands {
	rows<const int> token, start;
	rows<int> tokens;
	int T, L, width;
};

/* Launched on (tokens, sequences). */
template <typename real>
__global__ void remember_kernel(operands o, rows<real> keys, rows<const real> k)
{
	int t = (int)blockIdx.x, b = (int)blockIdx.y, start = o.start[b][t];
	long to = (t - start) % o.L;

	if (t < o.T - o.L || start != o.start[b][o.T - 1])
		return;
	for (int i = (int)threadIdx.x; i < o.width; i += THREADS)
		keys[(long)b * o.L + to][i] = k[(long)b * o.T + t][i];
	if (threadIdx.x == 0)
		o.tokens[b][to] = o.token[b][t];
}

}

extern "C" void remember_forward_cuda(const struct op_run *r)
{
	const struct tensor *k = r->in[REMEMBER_K_BTC], *keys = r->in[REMEMBER_KEYS_BLC];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		operands o = {rows_of<const int>(r->in[REMEMBER_TOKEN_BT]),
			rows_of<const int>(r->in[REMEMBER_START_BT]), rows_of<int>(r->in[REMEMBER_TOKENS_BL]),
			(int)k->dims[1], (int)keys->dims[1], (int)k->dims[2]};
		launch(r, remember_kernel<real>, dim3((unsigned)o.T, (unsigned)k->dims[0]), THREADS, 0, o,
			rows_of<real>(keys), rows_of<const real>(k));
	});
}
