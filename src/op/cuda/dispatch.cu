/* dispatch on the GPU: a warp copies a row, or adds up those of a token. Bytes: forward the choices'
   rows and the buffer's, backward the buffer's and the tokens'. */
extern "C" {
#include "op/dispatch.h"
}
#include "op/cuda/moe.cuh"

namespace {

/* Rows at and behind *end are nobody's. */
template <typename real, bool wide>
__global__ void gather_rows(rows<const real> x, rows<real> xe, const int *token, const int *end,
	int D, int K)
{
	long s = row_of_warp();

	if (s >= *end)
		return;
	int t = token[s];
	scale_row<wide>(xe[s], t < 0 ? NULL : x[t / K], 1, D, false);
}

template <typename real, bool wide>
__global__ void scatter_rows(rows<const real> dxe, rows<real> dx, by_token<const int> slot, long n,
	int D, int K, bool add)
{
	long t = row_of_warp();

	if (t >= n)
		return;
	if (K > 1) {
		sum_rows<wide>(dx[t], dxe, slot, t * K, K, [](long) { return 1.0f; }, D, add);
		return;
	}
	int s = slot[t];
	if (s >= 0 || !add)
		scale_row<wide>(dx[t], s < 0 ? NULL : dxe[s], 1, D, add);
}

/* K, choices of a token, of which there are n. */
int choices_of(const struct op_run *r, long n)
{
	return (int)(tensor_size(r->in[DISPATCH_SLOT_BTK]) / n);
}

}  // namespace

extern "C" void dispatch_forward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[DISPATCH_X_BTD], *xe = r->out[DISPATCH_XE_SD],
		*first = r->in[DISPATCH_FIRST_E1];

	with_rows(r, x, xe, NULL, [&](auto zero, bool wide) {
		typedef decltype(zero) real;
		launch(r, wide ? gather_rows<real, true> : gather_rows<real, false>,
			grid_of_rows(tensor_rows(xe)), ROW_THREADS, 0, rows_of<const real>(x),
			rows_of<real>(xe), (const int *)r->in[DISPATCH_TOKEN_S]->at,
			(const int *)first->at + tensor_width(first) - 1, (int)tensor_width(x),
			choices_of(r, tensor_rows(x)));
	});
}

extern "C" void dispatch_backward_cuda(const struct op_run *r)
{
	const struct tensor *dxe = r->d_out[DISPATCH_XE_SD], *dx = r->d_in[DISPATCH_X_BTD];
	long n = tensor_rows(dx);

	with_rows(r, dxe, dx, NULL, [&](auto zero, bool wide) {
		typedef decltype(zero) real;
		launch(r, wide ? scatter_rows<real, true> : scatter_rows<real, false>,
			grid_of_rows(n), ROW_THREADS, 0, rows_of<const real>(dxe),
			rows_of<real>(dx), by_token_of<const int>(r->in[DISPATCH_SLOT_BTK]), n,
			(int)tensor_width(dx), choices_of(r, n), op_adds(r, DISPATCH_X_BTD));
	});
}
