extern "C" {
#include "op/document_start.h"
}
#include "op/cuda/kit.cuh"

enum { THREADS = 256, WARPS = THREADS / 32 };

/* The greater of all threads' numbers, for all; `one` has a number for each warp. */
__device__ __forceinline__ int block_max(int x, int *one)
{
	for (int step = 16; step; step /= 2)
		x = max(x, __shfl_xor_sync(~0u, x, step));
	if (threadIdx.x % 32 == 0)
		one[threadIdx.x / 32] = x;
	__syncthreads();
	x = one[0];
	for (int warp = 1; warp < WARPS; warp++)
		x = max(x, one[warp]);
	__syncthreads();
	return x;
}

/* t if a document begins there, else 0. */
__device__ __forceinline__ int begin_at(const rows<const int> &token, long b, int t, int T,
	int end_of_text)
{
	return t > 0 && t < T && token[b][t - 1] == end_of_text ? t : 0;
}

/* Where the last document of each tile of THREADS tokens begins. Launched on sequences x tiles. */
__global__ void last_starts_kernel(int *last, rows<const int> token, int T, int n_tiles,
	int end_of_text)
{
	long b = blockIdx.x / n_tiles;
	int t = (int)(blockIdx.x % n_tiles) * THREADS + (int)threadIdx.x;
	int start = block_max(begin_at(token, b, t, T, end_of_text), shared_memory<int>());

	if (threadIdx.x == 0)
		last[blockIdx.x] = start;
}

/* The greatest beginning up to each token: in tiles before, in warps before, in the warp. */
__global__ void document_start_kernel(rows<int> to, const int *last, rows<const int> token, int T,
	int n_tiles, int end_of_text)
{
	int *one = shared_memory<int>(), tile = (int)(blockIdx.x % n_tiles),
	    lane = (int)threadIdx.x % 32;
	int warp = (int)threadIdx.x / 32, t = tile * THREADS + (int)threadIdx.x, start = 0;
	long b = blockIdx.x / n_tiles;
	unsigned begins;

	for (int k = (int)threadIdx.x; k < tile; k += THREADS)
		start = max(start, last[b * n_tiles + k]);
	start = block_max(start, one);
	begins = __ballot_sync(~0u, begin_at(token, b, t, T, end_of_text) > 0);
	if (lane == 0)
		one[warp] = begins ? tile * THREADS + warp * 32 + 31 - __clz((int)begins) : 0;
	__syncthreads();
	for (int k = 0; k < warp; k++)
		start = max(start, one[k]);
	begins &= ~0u >> (31 - lane);
	if (begins)
		start = tile * THREADS + warp * 32 + 31 - __clz((int)begins);
	if (t < T)
		to[b][t] = start;
}

/* Behind the kernels above, a block of one thread a sequence: tokens in front of the first border began earlier. */
__global__ void carry_kernel(rows<int> start, rows<int> carried, rows<const int> token, int T,
	int end_of_text)
{
	int b = (int)blockIdx.x, from = carried[b][0];

	for (int t = 0; t < T && start[b][t] == 0; t++)
		start[b][t] = from;
	carried[b][0] = token[b][T - 1] == end_of_text ? 0 : start[b][T - 1] - T;
}

extern "C" void document_start_forward_cuda(const struct op_run *r)
{
	const struct document_start_attr *attr = (const struct document_start_attr *)r->attr;
	const struct tensor *token = r->in[DOCUMENT_START_TOKEN_BT];
	rows<const int> in = rows_of<const int>(token);
	int T = (int)tensor_width(token), n_tiles = (int)ceil_div(T, THREADS);
	dim3 grid((unsigned)(tensor_rows(token) * n_tiles));
	int *last = (int *)r->workspace;

	launch(r, last_starts_kernel, grid, THREADS, WARPS * sizeof(int), last, in, T, n_tiles,
		attr->end_of_text);
	launch(r, document_start_kernel, grid, THREADS, WARPS * sizeof(int),
		rows_of<int>(r->out[DOCUMENT_START_BT]), last, in, T, n_tiles, attr->end_of_text);
	if (r->in[DOCUMENT_START_CARRIED_B])
		launch(r, carry_kernel, dim3((unsigned)tensor_rows(token)), 1, 0,
			rows_of<int>(r->out[DOCUMENT_START_BT]),
			rows_of<int>(r->in[DOCUMENT_START_CARRIED_B]), in, T, attr->end_of_text);
}
