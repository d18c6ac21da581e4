/* swish_gate: a thread has an element. */
extern "C" {
#include "op/swish_gate.h"
}
#include "op/cuda/kit.cuh"
#include "op/kit/vec.h"

namespace {

enum { THREADS = 256 };

template <typename real>
__global__ void swish_gate_kernel(rows<real> y, rows<const real> x, rows<const real> z, long n, long I)
{
	long k = (long)blockIdx.x * THREADS + threadIdx.x, t = k / I, i = k % I;

	if (t >= n)
		return;
	float gate = to_float(z[t][i]);
	y[t][i] = from_float<real>(to_float(x[t][i]) * gate * vec_sigmoid(gate));
}

/* dx may lie on dy. */
template <typename real>
__global__ void swish_gate_backward_kernel(rows<real> dx, rows<real> dz, rows<const real> dy, rows<const real> x,
	rows<const real> z, long n, long I, bool add_x, bool add_z)
{
	long k = (long)blockIdx.x * THREADS + threadIdx.x, t = k / I, i = k % I;

	if (t >= n)
		return;
	float d = to_float(dy[t][i]), gate = to_float(z[t][i]), g = vec_sigmoid(gate);
	put(dz, t, i, add_z, d * to_float(x[t][i]) * g * (1 + gate * (1 - g)));
	put(dx, t, i, add_x, d * gate * g);
}

}  // namespace

extern "C" void swish_gate_forward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[SWISH_GATE_X_BTI];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, swish_gate_kernel<real>, dim3((unsigned)ceil_div(tensor_size(x), THREADS)), THREADS, 0,
			rows_of<real>(r->out[SWISH_GATE_Y_BTI]), rows_of<const real>(x),
			rows_of<const real>(r->in[SWISH_GATE_Z_BTI]), tensor_rows(x), tensor_width(x));
	});
}

extern "C" void swish_gate_backward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[SWISH_GATE_X_BTI];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		launch(r, swish_gate_backward_kernel<real>, dim3((unsigned)ceil_div(tensor_size(x), THREADS)),
			THREADS, 0, rows_of<real>(r->d_in[SWISH_GATE_X_BTI]),
			rows_of<real>(r->d_in[SWISH_GATE_Z_BTI]), rows_of<const real>(r->d_out[SWISH_GATE_Y_BTI]),
			rows_of<const real>(x), rows_of<const real>(r->in[SWISH_GATE_Z_BTI]), tensor_rows(x),
			tensor_width(x), op_adds(r, SWISH_GATE_X_BTI), op_adds(r, SWISH_GATE_Z_BTI));
	});
}
