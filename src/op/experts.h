/*
 * experts: a two-layer network for each expert, on its own rows of the dispatch buffer:
 *   y_s = W2[e] f(W1[e] x_s)     for first[e] <= s < first[e + 1];  f relu, silu or gelu; no biases
 *   with a = f'(pre) (W2^T dy):  dx = W1^T a;  dW1 = a x^T;  dW2 = dy f(pre)^T
 * Experts without rows get zero gradients (written, or nothing added). Rows behind first[E] are
 * neither read nor written. Rows without a token below it hold 0 in x and dy, so they add nothing.
 * [E, C, D] buffers: first[e] = e C.
 */
#ifndef OP_EXPERTS_H
#define OP_EXPERTS_H

#include "op/kit/act_fn.h"
#include "op/op.h"

enum {
	EXPERTS_XE_SD,		/* [S, D] or [E, C, D] */
	EXPERTS_FIRST_E1,	/* int, from route */
	EXPERTS_W1_EFD,	/* D of XE */
	EXPERTS_W2_EOF,	/* O: width of the output */
	EXPERTS_N_IN
};

enum {
	EXPERTS_YE_SO,		/* [S, O] or [E, C, O] */
	EXPERTS_N_OUT
};

enum {
	EXPERTS_H_SF,	/* pre-activation or activation, as the kernel prefers */
	EXPERTS_N_SAVED
};

struct experts_attr {
	enum act_fn fn;
	long tokens;	/* that the buffer is for, counted as its cost; 0: as many as it has rows */
};

void experts_room_cuda(struct op_shapes *s);
op_kernel experts_forward_cuda, experts_backward_cuda;

extern const struct op op_experts;

#endif
