/* What the kernels of products over segments share: which rows a tile has, activations. */
#ifndef OP_CUDA_GROUPED_CUH
#define OP_CUDA_GROUPED_CUH

#include "op/cuda/act_fn.cuh"
extern "C" {
#include "op/cuda/grouped.h"
}

/* Rows at to at + n - 1 of expert e; n may be 0 or less. */
struct grouped_rows {
	int e;
	long at, n;
};

/* Tiles of `side` rows that a launch has: enough for any segments. */
inline long grouped_tiles(const struct grouped *g, int side)
{
	return g->S / side + g->E;
}

/* Tile i of those: expert e has the tiles from first[e] / side + e on. */
__device__ __forceinline__ grouped_rows grouped_tile(const grouped &g, long i, int side)
{
	int e = 0, above = g.E;

	while (above - e > 1) {
		int middle = (e + above) / 2;
		if (g.first[middle] / side + middle <= i)
			e = middle;
		else
			above = middle;
	}
	long at = g.first[e] + (i - g.first[e] / side - e) * side;

	return {e, at, g.first[e + 1] - at};
}

/* What expert e has of m, n and k, and where its W lies, or its C of BY_EXPERT. */
struct grouped_part {
	int m, n, k;
	long at;
};

__device__ __forceinline__ grouped_part grouped_part_of(const grouped &g, int e)
{
	if (!g.units.n)
		return {g.m, g.n, g.k, e * g.step};
	int units = (int)units_of(&g.units, e);

	return {g.m_each ? g.m_each * units : g.m, g.n_each ? g.n_each * units : g.n,
		g.k_each ? g.k_each * units : g.k, units_first(&g.units, e) * g.step};
}

__device__ __forceinline__ float grouped_act(enum act_fn fn, float x)
{
	return fn == ACT_RELU ? act_value<ACT_RELU>(x) : fn == ACT_SILU ? act_value<ACT_SILU>(x)
		: act_value<ACT_GELU>(x);
}

__device__ __forceinline__ float grouped_slope(enum act_fn fn, float x)
{
	return fn == ACT_RELU ? act_slope<ACT_RELU>(x) : fn == ACT_SILU ? act_slope<ACT_SILU>(x)
		: act_slope<ACT_GELU>(x);
}

#endif
