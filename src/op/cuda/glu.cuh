/* The gates of glu and of experts: a warp does a row [g; u]. */
#ifndef OP_CUDA_GLU_CUH
#define OP_CUDA_GLU_CUH

#include "op/cuda/act_fn.cuh"
#include "op/cuda/moe.cuh"

namespace {

/* y = f(g) u of a row, by a warp. */
template <enum act_fn fn, bool wide, typename real>
__device__ __forceinline__ void gate_row(real *y, const real *x, int F)
{
	constexpr int each = wide ? 8 : 1;

	for (int i = threadIdx.x % WARP_LANES * each; i < F; i += WARP_LANES * each) {
		eight g = load_columns<wide>(x + i), u = load_columns<wide>(x + F + i);
		#pragma unroll
		for (int k = 0; k < each; k++)
			g.v[k] = act_value<fn>(g.v[k]) * u.v[k];
		store_columns<wide>(y + i, g);
	}
}

/* dx = [f'(g) u dy; f(g) dy] of a row, by a warp; add: to it. dy may be the second half of dx. y = f(g) u,
   unless NULL. */
template <enum act_fn fn, bool wide, typename real>
__device__ __forceinline__ void gate_row_backward(real *dx, const real *dy, const real *x, real *y, int F, bool add)
{
	constexpr int each = wide ? 8 : 1;

	for (int i = threadIdx.x % WARP_LANES * each; i < F; i += WARP_LANES * each) {
		eight g = load_columns<wide>(x + i), u = load_columns<wide>(x + F + i);
		eight d = load_columns<wide>(dy + i), dg, a;
		eight old_g = add ? load_columns<wide>(dx + i) : eight{};
		eight old_u = add ? load_columns<wide>(dx + F + i) : eight{};
		#pragma unroll
		for (int k = 0; k < each; k++) {
			float value = act_value<fn>(g.v[k]);
			dg.v[k] = d.v[k] * u.v[k] * act_slope<fn>(g.v[k]) + old_g.v[k];
			a.v[k] = value * u.v[k];
			d.v[k] = d.v[k] * value + old_u.v[k];
		}
		store_columns<wide>(dx + i, dg);
		store_columns<wide>(dx + F + i, d);
		if (y)
			store_columns<wide>(y + i, a);
	}
}

}  // namespace

#endif
