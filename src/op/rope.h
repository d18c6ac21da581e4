/*
 * rope: rotary position embedding of each head of x, position t from 0 in each sequence, or with
 * start_BT in each document, t - start[b, t], which may have begun in an earlier call:
 *   for i < dh / 2, angle a = t * base^(-2 i / dh):
 *   y[i] = x[i] cos a - x[i + dh/2] sin a;   y[i + dh/2] = x[i + dh/2] cos a + x[i] sin a
 * Su et al. 2021 (arXiv:2104.09864), pairs (i, i + dh/2). Backward is the inverse rotation.
 * x is usually the [q k] slice of a fused projection: n_heads counts all heads in it.
 */
#ifndef OP_ROPE_H
#define OP_ROPE_H

#include "op/op.h"

enum {
	ROPE_X_BTD,	/* D = n_heads * dh */
	ROPE_START_BT,	/* optional, int: op/document_start.h */
	ROPE_N_IN
};

enum {
	ROPE_Y_BTD,	/* may lie on x */
	ROPE_N_OUT
};

struct rope_attr {
	int n_heads;
	double base;		/* 10000 */
};

extern const struct op op_rope;

op_kernel rope_forward_cuda, rope_backward_cuda;

#endif
