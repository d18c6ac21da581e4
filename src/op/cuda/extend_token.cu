/* extend_token: a thread has one place; what stays is copied when all have been. */
extern "C" {
#include "op/extend_token.h"
}
#include "op/cuda/kit.cuh"

namespace {

enum { THREADS = 256 };

__global__ void extend_token_kernel(rows<int> y, rows<const int> past, rows<const int> token, int n, int S)
{
	int s = (int)blockIdx.x * THREADS + (int)threadIdx.x, b = (int)blockIdx.y;

	if (s < S)
		y[b][s] = s < n ? past[b][s] : token[b][s - n];
}

__global__ void keep_kernel(rows<int> past, rows<const int> y, int n, int T)
{
	int s = (int)blockIdx.x * THREADS + (int)threadIdx.x, b = (int)blockIdx.y;

	if (s < n)
		past[b][s] = y[b][T + s];
}

}

extern "C" void extend_token_forward_cuda(const struct op_run *r)
{
	const struct tensor *token = r->in[EXTEND_TOKEN_BT], *past = r->in[EXTEND_TOKEN_PAST_BL];
	const struct tensor *y = r->out[EXTEND_TOKEN_Y_BS];
	int n = (int)tensor_width(past), T = (int)tensor_width(token);
	unsigned B = (unsigned)tensor_rows(token);

	launch(r, extend_token_kernel, dim3((unsigned)ceil_div(n + T, THREADS), B), THREADS, 0, rows_of<int>(y),
		rows_of<const int>(past), rows_of<const int>(token), n, n + T);
	launch(r, keep_kernel, dim3((unsigned)ceil_div(n, THREADS), B), THREADS, 0, rows_of<int>(past),
		rows_of<const int>(y), n, T);
}
