/*
 * experts: a two-layer network for each expert, on its own rows of the dispatch buffer:
 *   y_s = W2[e] f(W1[e] x_s)     for first[e] <= s < first[e + 1];  f relu, silu or gelu; no biases
 *   with a = f'(pre) (W2^T dy):  dx = W1^T a;  dW1 = a x^T;  dW2 = dy f(pre)^T
 * Experts without tokens get zero gradients (written, or nothing added). Rows without a token are
 * neither read nor written.
 */
#ifndef OP_EXPERTS_H
#define OP_EXPERTS_H

#include "op/act_fn.h"
#include "op/op.h"

enum {
	EXPERTS_XE_SD,
	EXPERTS_FIRST_E1,	/* int, from route */
	EXPERTS_W1_EFD,	/* D of XE */
	EXPERTS_W2_EOF,	/* O: width of the output */
	EXPERTS_N_IN
};

enum {
	EXPERTS_YE_SO,
	EXPERTS_N_OUT
};

enum {
	EXPERTS_H_SF,	/* pre-activation or activation, as the kernel prefers */
	EXPERTS_N_SAVED
};

struct experts_attr {
	enum act_fn fn;
};

extern const struct op op_experts;

#endif
