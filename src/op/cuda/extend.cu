/* extend: a block copies one row. */
extern "C" {
#include "op/document_start.h"
#include "op/extend.h"
}
#include "op/cuda/kit.cuh"

namespace {

enum { THREADS = 128 };

struct lengths {
	int n, T, width;	/* rows in front, of x, columns */
};

template <typename real>
__global__ void extend_kernel(rows<real> y, rows<const real> x, rows<const real> past, lengths l)
{
	long b = blockIdx.x / (l.n + l.T);
	int s = (int)(blockIdx.x % (l.n + l.T));

	for (int c = threadIdx.x; c < l.width; c += THREADS)
		y[blockIdx.x][c] = s >= l.n ? x[b * l.T + s - l.n][c]
			: past.at ? past[b * l.n + s][c] : from_float<real>(0);
}

/* The last n rows of y that are there stay for the next call. */
template <typename real>
__global__ void keep_kernel(rows<real> past, rows<const real> y, rows<const int> there, lengths l)
{
	long b = blockIdx.x / l.n, last = l.T;

	while (there.at && last > 0 && there[b][last - 1] == NOT_THERE)
		last--;
	long from = b * (l.n + l.T) + last + blockIdx.x % l.n;

	for (int c = threadIdx.x; c < l.width; c += THREADS)
		past[blockIdx.x][c] = y[from][c];
}

template <typename real>
__global__ void extend_backward_kernel(rows<real> dx, rows<const real> dy, lengths l, bool add)
{
	long from = blockIdx.x + (blockIdx.x / l.T + 1L) * l.n;

	for (int c = threadIdx.x; c < l.width; c += THREADS)
		dx[blockIdx.x][c] = add ? from_float<real>(to_float(dx[blockIdx.x][c]) + to_float(dy[from][c]))
			: dy[from][c];
}

lengths lengths_of(const struct op_run *r, const struct tensor *x)
{
	return {(int)((const struct extend_attr *)r->attr)->n, (int)x->dims[1], (int)x->dims[2]};
}

}

extern "C" void extend_forward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[EXTEND_X_BTC], *past = r->in[EXTEND_PAST_BLC],
		*y = r->out[EXTEND_Y_BSC];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, extend_kernel<real>, dim3((unsigned)tensor_rows(y)), THREADS, 0, rows_of<real>(y),
			rows_of<const real>(x), rows_of<const real>(past), lengths_of(r, x));
		if (past)
			launch(r, keep_kernel<real>, dim3((unsigned)tensor_rows(past)), THREADS, 0,
				rows_of<real>(past), rows_of<const real>(y),
				rows_of<const int>(r->in[EXTEND_THERE_BT]), lengths_of(r, x));
	});
}

extern "C" void extend_backward_cuda(const struct op_run *r)
{
	const struct tensor *dx = r->d_in[EXTEND_X_BTC];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, extend_backward_kernel<real>, dim3((unsigned)tensor_rows(dx)), THREADS, 0,
			rows_of<real>(dx), rows_of<const real>(r->d_out[EXTEND_Y_BSC]), lengths_of(r, dx),
			op_adds(r, EXTEND_X_BTC));
	});
}
