/* What the kernels of route share, forward and backward: how tokens are cut. */
#ifndef OP_CUDA_ROUTE_CUH
#define OP_CUDA_ROUTE_CUH

extern "C" {
#include "op/route.h"
}
#include "op/cuda/moe.cuh"
#include "op/cuda/router_mma.cuh"
#include "op/cuda/tile.cuh"

enum {
	UNIT = WARP_LANES,	  /* tokens of a warp, all of one group */
	UNITS = TILE_SIDE / UNIT, /* of a tile */
	SHARES = TILE_THREADS /
		TILE_SIDE, /* threads of a token, each with every so many-th expert */
};

/* Tokens are cut into tiles of TILE_SIDE that cross no group border. */
struct route_sizes : router_sizes {
	long group, groups, group_tiles, tiles;
	int capacity;			/* INT_MAX: none */
};

inline route_sizes route_sizes_of(const struct tensor *x_BTD, const struct tensor *w_ED,
	const void *attr)
{
	const struct route_attr *a = (const struct route_attr *)attr;
	route_sizes s = {};

	(router_sizes &)s = router_sizes_of(x_BTD, w_ED);
	s.group = a->group_tokens;
	s.groups = s.n / s.group;
	s.group_tiles = ceil_div(s.group, TILE_SIDE);
	s.tiles = s.groups * s.group_tiles;
	s.capacity = a->capacity && a->capacity < s.group ? (int)a->capacity : (int)s.group;
	return s;
}

/* Tokens at to at + n - 1 of a group; n may be 0 or less. */
struct route_span {
	long group, at, n;
};

__device__ __forceinline__ route_span route_tile(const route_sizes &s, long i)
{
	long group = i / s.group_tiles, from = i % s.group_tiles * TILE_SIDE;

	return {group, group * s.group + from, min((long)TILE_SIDE, s.group - from)};
}

__device__ __forceinline__ route_span route_unit(const route_sizes &s, long i)
{
	route_span tile = route_tile(s, i / UNITS);
	long from = i % UNITS * UNIT;

	return {tile.group, tile.at + from, min((long)UNIT, tile.n - from)};
}

#endif
