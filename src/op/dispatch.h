/*
 * dispatch: gathers kept tokens into the buffer sorted by expert (op/route.h):
 *   xe[s] = x[token[s]], 0 in rows without a token, for s < first[E];  rows behind are nobody's
 * Backward: dx[t] = dxe[slot[t]], 0 for tokens without a slot.
 */
#ifndef OP_DISPATCH_H
#define OP_DISPATCH_H

#include "op/op.h"

enum {
	DISPATCH_X_BTD,
	DISPATCH_SLOT_BT,	/* int, from route */
	DISPATCH_FIRST_E1,	/* int, from route */
	DISPATCH_TOKEN_S,	/* int, from route; its shape is the buffer's */
	DISPATCH_N_IN
};

enum {
	DISPATCH_XE_SD,	/* [S, D], or [E, C, D] where TOKEN is [E, C] */
	DISPATCH_N_OUT
};

op_kernel dispatch_forward_cuda, dispatch_backward_cuda;
extern const struct op op_dispatch;

#endif
