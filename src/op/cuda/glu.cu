/* glu on the GPU: a warp does a row. Bytes: 3 elements of F forward, 5 backward (7 where it adds). */
extern "C" {
#include "op/glu.h"
}
#include "op/cuda/glu.cuh"

namespace {

template <enum act_fn fn, bool wide, typename real>
__global__ void glu(rows<real> y, rows<const real> x, long n, int F)
{
	long t = row_of_warp();

	if (t < n)
		gate_row<fn, wide>(y[t], x[t], F);
}

template <enum act_fn fn, bool wide, typename real>
__global__ void glu_backward(rows<real> dx, rows<const real> dy, rows<const real> x, long n, int F, bool add)
{
	long t = row_of_warp();

	if (t < n)
		gate_row_backward<fn, wide>(dx[t], dy[t], x[t], (real *)NULL, F, add);
}

enum act_fn fn_of(const struct op_run *r)
{
	return ((const struct glu_attr *)r->attr)->fn;
}

}  // namespace

extern "C" void glu_forward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[GLU_X_BTH], *y = r->out[GLU_Y_BTF];

	with_rows(r, x, y, NULL, [&](auto zero, bool wide) {
		typedef decltype(zero) real;
		with_act(fn_of(r), [&](auto f) {
			constexpr enum act_fn fn = decltype(f)::value;
			launch(r, wide ? glu<fn, true, real> : glu<fn, false, real>, grid_of_rows(tensor_rows(y)),
				ROW_THREADS, 0, rows_of<real>(y), rows_of<const real>(x), tensor_rows(y),
				(int)tensor_width(y));
		});
	});
}

extern "C" void glu_backward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[GLU_X_BTH], *dx = r->d_in[GLU_X_BTH], *dy = r->d_out[GLU_Y_BTF];

	with_rows(r, x, dx, dy, [&](auto zero, bool wide) {
		typedef decltype(zero) real;
		with_act(fn_of(r), [&](auto f) {
			constexpr enum act_fn fn = decltype(f)::value;
			launch(r, wide ? glu_backward<fn, true, real> : glu_backward<fn, false, real>,
				grid_of_rows(tensor_rows(dy)), ROW_THREADS, 0, rows_of<real>(dx),
				rows_of<const real>(dy), rows_of<const real>(x), tensor_rows(dy),
				(int)tensor_width(dy), op_adds(r, GLU_X_BTH));
		});
	});
}
