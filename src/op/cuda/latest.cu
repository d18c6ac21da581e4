/* latest: a block copies one row. */
extern "C" {
#include "op/latest.h"
}
#include "op/cuda/kit.cuh"

namespace {

enum { THREADS = 128 };

struct lengths {
	int n, T, width;	/* rows left out, of y, columns */
};

template <typename real>
__global__ void latest_kernel(rows<real> y, rows<const real> x, lengths l)
{
	long from = blockIdx.x + (blockIdx.x / l.T + 1L) * l.n;

	for (int c = threadIdx.x; c < l.width; c += THREADS)
		y[blockIdx.x][c] = x[from][c];
}

template <typename real>
__global__ void latest_backward_kernel(rows<real> dx, rows<const real> dy, lengths l, bool add)
{
	long b = blockIdx.x / (l.n + l.T);
	int s = (int)(blockIdx.x % (l.n + l.T));

	for (int c = threadIdx.x; c < l.width; c += THREADS) {
		float d = s < l.n ? 0 : to_float(dy[b * l.T + s - l.n][c]);
		dx[blockIdx.x][c] = from_float<real>(d + (add ? to_float(dx[blockIdx.x][c]) : 0));
	}
}

lengths lengths_of(const struct op_run *r, const struct tensor *y)
{
	return {(int)((const struct latest_attr *)r->attr)->n, (int)y->dims[1], (int)y->dims[2]};
}

}

extern "C" void latest_forward_cuda(const struct op_run *r)
{
	const struct tensor *y = r->out[LATEST_Y_BTC];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, latest_kernel<real>, dim3((unsigned)tensor_rows(y)), THREADS, 0, rows_of<real>(y),
			rows_of<const real>(r->in[LATEST_X_BSC]), lengths_of(r, y));
	});
}

extern "C" void latest_backward_cuda(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[LATEST_X_BSC], *dy = r->d_out[LATEST_Y_BTC];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, latest_backward_kernel<real>, dim3((unsigned)tensor_rows(dx)), THREADS, 0,
			rows_of<real>(dx), rows_of<const real>(dy), lengths_of(r, dy), op_adds(r, LATEST_X_BSC));
	});
}
