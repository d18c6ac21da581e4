/*
 * Three products of 2 R I O FLOPs for R rows, by the library. Sums of dy's columns for the bias
 * read dy once more, 2 R O bytes in bf16.
 */
extern "C" {
#include "op/linear.h"
}
#include "op/cuda/gemm.h"
#include "op/cuda/reduce.cuh"

enum { THREADS = 256, LANES = 32, ROWS_AT_ONCE = THREADS / LANES };

/* Sums over the rows of a part, `width` columns a thread; rows at once are added in order. */
template <typename real, int width>
__global__ void sum_columns(rows<real> dy, float *parts, long n_rows, long n_columns)
{
	few<width> *sums = shared_memory<few<width>>();
	int lane = threadIdx.x % LANES, row = threadIdx.x / LANES;
	long column = ((long)blockIdx.y * LANES + lane) * width;
	long from = (long)blockIdx.x * LINEAR_PART_ROWS;
	long to = from + LINEAR_PART_ROWS < n_rows ? from + LINEAR_PART_ROWS : n_rows;
	few<width> sum = {};

	if (column < n_columns) {
		#pragma unroll 4
		for (long t = from + row; t < to; t += ROWS_AT_ONCE) {
			few<width> x = load_few<width>(dy[t] + column);
			#pragma unroll
			for (int i = 0; i < width; i++)
				sum.v[i] += x.v[i];
		}
	}
	sums[threadIdx.x] = sum;
	__syncthreads();
	if (row || column >= n_columns)
		return;
	for (int k = 1; k < ROWS_AT_ONCE; k++)
		#pragma unroll
		for (int i = 0; i < width; i++)
			sum.v[i] += sums[k * LANES + lane].v[i];
	for (int i = 0; i < width; i++)
		parts[blockIdx.x * n_columns + column + i] = sum.v[i];
}

template <typename real, int width>
static void bias_parts(const struct op_run *r, const struct tensor *dy)
{
	long n = tensor_rows(dy), columns = tensor_width(dy);
	dim3 grid((unsigned)ceil_div(n, LINEAR_PART_ROWS),
		(unsigned)ceil_div(columns, LANES * width));

	launch(r, sum_columns<real, width>, grid, THREADS, THREADS * sizeof(few<width>),
		rows_of<real>(dy), (float *)r->workspace, n, columns);
}

static void bias_gradient(const struct op_run *r)
{
	const struct tensor *dy = r->d_out[LINEAR_Y_BTO];

	with_real(r, [&](auto zero) {
		if (aligned8(dy, sizeof zero))
			bias_parts<decltype(zero), 8>(r, dy);
		else
			bias_parts<decltype(zero), 1>(r, dy);
	});
	reduce_parts_cuda(r, (float *)r->d_in[LINEAR_B_O]->at, (const float *)r->workspace,
		ceil_div(tensor_rows(dy), LINEAR_PART_ROWS), tensor_width(dy), tensor_width(dy),
		op_adds(r, LINEAR_B_O));
}

extern "C" void linear_forward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[LINEAR_X_BTI], *w = r->in[LINEAR_W_OI];
	const struct tensor *b = r->in[LINEAR_B_O], *y = r->out[LINEAR_Y_BTO];
	struct gpu_gemm g = gpu_gemm_of(GPU_GEMM_N, GPU_GEMM_T, x, w, y);

	g.bias = b != NULL;
	gpu_gemm(r, (struct gpu_gemm_plan *)r->plan, &g, x->at, w->at, b ? b->at : NULL, false,
		y->at, r->workspace);
}

/* dx = dy W */
static void input_gradient(const struct op_run *r, struct gpu_gemm_plan *plan)
{
	const struct tensor *w = r->in[LINEAR_W_OI], *dx = r->d_in[LINEAR_X_BTI];
	const struct tensor *dy = r->d_out[LINEAR_Y_BTO];
	struct gpu_gemm g = gpu_gemm_of(GPU_GEMM_N, GPU_GEMM_N, dy, w, dx);

	gpu_gemm(r, plan, &g, dy->at, w->at, NULL, op_adds(r, LINEAR_X_BTI), dx->at, r->workspace);
}

/* dW = dy^T x, in float32 */
static void weight_gradient(const struct op_run *r, struct gpu_gemm_plan *plan)
{
	const struct tensor *x = r->in[LINEAR_X_BTI], *dw = r->d_in[LINEAR_W_OI];
	const struct tensor *dy = r->d_out[LINEAR_Y_BTO];
	struct gpu_gemm g = gpu_gemm_of(GPU_GEMM_T, GPU_GEMM_N, dy, x, dw);

	gpu_gemm(r, plan, &g, dy->at, x->at, NULL, op_adds(r, LINEAR_W_OI), dw->at, r->workspace);
}

extern "C" void linear_backward_cuda(const struct op_run *r)
{
	struct gpu_gemm_plan *plan = (struct gpu_gemm_plan *)r->plan;

	if (r->d_in[LINEAR_X_BTI])
		input_gradient(r, &plan[0]);
	if (r->d_in[LINEAR_W_OI])
		weight_gradient(r, &plan[1]);
	if (r->d_in[LINEAR_B_O])
		bias_gradient(r);
}
