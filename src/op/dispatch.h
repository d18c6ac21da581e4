/*
 * dispatch: gathers the tokens of kept choices into the buffer sorted by expert (op/place.h). K choices
 * a token, K from the shapes, choice i = t K + k:
 *   xe[s] = x[token[s] / K], 0 in rows without a choice, for s < first[E];  rows behind are nobody's
 * Backward: dx[t] = sum over k, in order, of dxe[slot[t K + k]]; choices without a slot add nothing.
 */
#ifndef OP_DISPATCH_H
#define OP_DISPATCH_H

#include "op/op.h"

enum {
	DISPATCH_X_BTD,
	DISPATCH_SLOT_BTK,	/* int, from place; from route [B, T] */
	DISPATCH_FIRST_E1,	/* int */
	DISPATCH_TOKEN_S,	/* int; its shape is the buffer's */
	DISPATCH_N_IN
};

enum {
	DISPATCH_XE_SD,	/* [S, D], or [E, C, D] where TOKEN is [E, C] */
	DISPATCH_N_OUT
};

op_kernel dispatch_forward_cuda, dispatch_backward_cuda;
extern const struct op op_dispatch;

#endif
