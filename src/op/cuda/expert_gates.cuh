/* The gates of experts between the products of their layer, each row in the width of its expert. */
#ifndef OP_CUDA_EXPERT_GATES_CUH
#define OP_CUDA_EXPERT_GATES_CUH

#include "op/cuda/glu.cuh"
extern "C" {
#include "op/kit/units.h"
}

namespace {

/* Rows of h [g; u], of act = f(g) u, and backward of dpre and of d, the gradient of act, which is act's place or
   the second half of dpre's rows. F: of the widest expert; rows of h and dpre lie 2 F apart, of act F, of d d_ld. */
template <typename real>
struct gates {
	const int *first;
	int E, F;
	struct units units;
	real *act, *dpre;
	const real *h, *d;
	long d_ld;
};

/* Units of the expert whose row s is. */
template <typename real>
__device__ __forceinline__ int units_of_row(const gates<real> &g, long s)
{
	int e = 0;

	if (!g.units.n)
		return g.F;
	while (g.first[e + 1] <= s)
		e++;
	return (int)units_of(&g.units, e);
}

template <enum act_fn fn, bool wide, typename real>
__global__ void gate(gates<real> g)
{
	long s = row_of_warp();

	if (s < g.first[g.E])
		gate_row<fn, wide>(g.act + s * g.F, g.h + s * 2 * g.F, units_of_row(g, s));
}

template <enum act_fn fn, bool wide, typename real>
__global__ void gate_backward(gates<real> g)
{
	long s = row_of_warp();

	if (s < g.first[g.E])
		gate_row_backward<fn, wide>(g.dpre + s * 2 * g.F, g.d + s * g.d_ld, g.h + s * 2 * g.F,
			g.act + s * g.F, units_of_row(g, s), false);
}

inline bool by_eight(const struct units &u, int F)
{
	for (int i = 1; i <= u.n; i++)
		if (u.first[i] % 8)
			return false;
	return F % 8 == 0;
}

/* Of S rows at most. */
template <typename real>
void launch_gates(const struct op_run *r, enum act_fn f, bool backward, long S, const gates<real> &g)
{
	bool wide = by_eight(g.units, g.F);

	with_act(f, [&](auto constant) {
		constexpr enum act_fn fn = decltype(constant)::value;
		if (backward)
			launch(r, wide ? gate_backward<fn, true, real> : gate_backward<fn, false, real>,
				grid_of_rows(S), ROW_THREADS, 0, g);
		else
			launch(r, wide ? gate<fn, true, real> : gate<fn, false, real>, grid_of_rows(S), ROW_THREADS, 0,
				g);
	});
}

}  // namespace

#endif
