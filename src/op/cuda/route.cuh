/* What the kernels of route share, forward and backward: how tokens are cut. */
#ifndef OP_CUDA_ROUTE_CUH
#define OP_CUDA_ROUTE_CUH

extern "C" {
#include "op/route.h"
}
#include "op/cuda/moe.cuh"
#include "op/cuda/tile.cuh"

enum {
	UNIT = WARP_LANES,	  /* tokens of a warp, all of one group */
	UNITS = TILE_SIDE / UNIT, /* of a tile */
	SHARES = TILE_THREADS /
		TILE_SIDE, /* threads of a token, each with every so many-th expert */
	ROUTE_PART = 1024, /* tokens, of the sum in the gradient of W */
	ROUTE_W_PARTS = 3, /* of a float32 weight in bf16 */
};

/* Tokens are cut into tiles of TILE_SIDE that cross no group border. */
struct route_sizes {
	long n, group, groups, group_tiles, tiles;
	int D, E;
	int capacity;			/* INT_MAX: none */
};

inline route_sizes route_sizes_of(const struct tensor *x_BTD, const struct tensor *w_ED,
	const void *attr)
{
	const struct route_attr *a = (const struct route_attr *)attr;
	route_sizes s = {};

	s.n = tensor_rows(x_BTD);
	s.group = a->group_tokens;
	s.groups = s.n / s.group;
	s.group_tiles = ceil_div(s.group, TILE_SIDE);
	s.tiles = s.groups * s.group_tiles;
	s.D = (int)tensor_width(x_BTD);
	s.E = (int)w_ED->dims[0];
	s.capacity = a->capacity && a->capacity < s.group ? (int)a->capacity : (int)s.group;
	return s;
}

inline long route_parts(const route_sizes &s)
{
	return ceil_div(s.n, ROUTE_PART);
}

/* May the products go by tensor cores? dx: NULL in forward, or where it is not wanted. */
inline bool route_serves_mma(const struct device *d, const route_sizes &s, const struct tensor *x,
	const struct tensor *dx)
{
	return d->bytes[REAL] == sizeof(bf16) && s.n % 8 == 0 && aligned8(x, sizeof(bf16)) &&
		aligned8(dx, sizeof(bf16));
}

/* parts: [ROUTE_W_PARTS, E, D], from the router; dlogit: [2, E, N]. parts of dW: [route_parts(), E,
   D]. */
void route_split_router(const struct op_run *r, const route_sizes &s, bf16 *parts);
void route_mma_logits(const struct op_run *r, const route_sizes &s, const bf16 *w,
	float *logits_EN);
void route_mma_dx(const struct op_run *r, const route_sizes &s, const bf16 *dlogit, const bf16 *w);
void route_mma_dw_parts(const struct op_run *r, const route_sizes &s, const bf16 *dlogit,
	float *parts);

/* Bytes of the router in parts, to a multiple of 256. */
inline size_t route_router_bytes(const route_sizes &s)
{
	return ((size_t)ROUTE_W_PARTS * s.E * s.D * sizeof(bf16) + 255) / 256 * 256;
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
