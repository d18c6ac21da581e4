/*
 * experts: a network for each expert, on its own rows of the dispatch buffer, first[e] <= s < first[e + 1];
 * f relu, silu or gelu, no biases:
 *   two layers   y_s = W2[e] f(W1[e] x_s)
 *                with a = f'(pre) (W2^T dy):  dx = W1^T a;  dW1 = a x^T;  dW2 = dy f(pre)^T
 *   gated        y_s = W2[e] (f(g) u), [g; u] = W1[e] x_s  (Shazeer 2020, arXiv:2002.05202, eq. 6, without
 *                biases: SwiGLU for silu)
 *                with d = W2^T dy, a = [f'(g) u d; f(g) d]:  dx, dW1 as above;  dW2 = dy (f(g) u)^T
 *   one matrix   y_s = W2[e] x_s, where W1 is absent;  dx = W2^T dy;  dW2 = dy x^T
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
	EXPERTS_W1_EHD,	/* optional; D of XE; H = F, gated 2 F */
	EXPERTS_W2_EOF,	/* O: width of the output; F = D without W1 */
	EXPERTS_N_IN
};

enum {
	EXPERTS_YE_SO,		/* [S, O] or [E, C, O] */
	EXPERTS_N_OUT
};

enum {
	EXPERTS_H_SH,	/* W1 x; where the kernel prefers, relu(W1 x) of two layers */
	EXPERTS_N_SAVED
};

struct experts_attr {
	enum act_fn fn;
	long tokens;	/* that the buffer is for, counted as its cost; 0: as many as it has rows */
	bool gated;
};

void experts_room_cuda(struct op_shapes *s);
op_kernel experts_forward_cuda, experts_backward_cuda;

extern const struct op op_experts;

#endif
