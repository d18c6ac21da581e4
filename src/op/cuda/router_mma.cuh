/*
 * A router's three products by tensor cores, for the operators router and route. x is bf16; the router and dlogit are
 * float32, so they come in parts of bf16 (mma_tile.cuh): W in three for the logits, which are then as exact as those
 * of float32 products, dlogit in two for dW, 2^-17; for dx, which is bf16, one part of both. FLOPs a token, expert
 * and channel: 6 for the logits, 2 for dx, 4 for dW. Bytes: x once for the logits, once for dW, dx once, or twice where
 * it is added to.
 */
#ifndef OP_CUDA_ROUTER_MMA_CUH
#define OP_CUDA_ROUTER_MMA_CUH

#include "op/cuda/kit.cuh"

enum {
	ROUTER_W_PARTS = 3,	/* of a float32 weight in bf16 */
	ROUTER_MMA_PART = 1024,	/* tokens, of the sum in the gradient of W */
};

struct router_sizes {
	long n;			/* tokens */
	int D, E;
};

inline router_sizes router_sizes_of(const struct tensor *x_BTD, const struct tensor *w_ED)
{
	return {tensor_rows(x_BTD), (int)tensor_width(x_BTD), (int)w_ED->dims[0]};
}

/* May they go so? dx: NULL in forward, or where it is not wanted. */
inline bool router_serves_mma(const struct device *d, const struct tensor *x, const struct tensor *dx)
{
	return d->bytes[REAL] == sizeof(bf16) && tensor_rows(x) % 8 == 0 && aligned8(x, sizeof(bf16)) &&
		aligned8(dx, sizeof(bf16));
}

inline long router_mma_parts(const router_sizes &z)
{
	return ceil_div(z.n, ROUTER_MMA_PART);
}

/* Bytes of the router in parts, to a multiple of 256. */
inline size_t router_split_bytes(const router_sizes &z)
{
	return ((size_t)ROUTER_W_PARTS * z.E * z.D * sizeof(bf16) + 255) / 256 * 256;
}

/* to: [ROUTER_W_PARTS, E, D]. */
void router_mma_split(const struct op_run *r, const router_sizes &z, const struct tensor *w_ED, bf16 *to);
/* The logit of a token and expert at to + token * by_token + expert * by_expert. */
void router_mma_logits(const struct op_run *r, const router_sizes &z, const struct tensor *x_BTD, const bf16 *w,
	float *to, long by_token, long by_expert);
/* dlogit: [2, E, N], its parts. */
void router_mma_dx(const struct op_run *r, const router_sizes &z, const bf16 *dlogit, const bf16 *w,
	const struct tensor *dx_BTD, bool add);
/* to: [router_mma_parts(), E, D]. */
void router_mma_dw_parts(const struct op_run *r, const router_sizes &z, const bf16 *dlogit, const struct tensor *x_BTD,
	float *to);

#endif
