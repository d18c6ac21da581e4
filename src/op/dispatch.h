/*
 * dispatch: gathers kept tokens into the buffer sorted by expert: xe[slot[t]] = x[t].
 * Backward: dx[t] = dxe[slot[t]], 0 for tokens without a slot. Rows of the buffer that no token has
 * are left as they are: no operator reads them.
 */
#ifndef OP_DISPATCH_H
#define OP_DISPATCH_H

#include "op/op.h"

enum {
	DISPATCH_X_BTD,
	DISPATCH_SLOT_BT,	/* int, from route */
	DISPATCH_FIRST_E1,	/* int, from route */
	DISPATCH_N_IN
};

enum {
	DISPATCH_XE_SD,	/* S = B T */
	DISPATCH_N_OUT
};

extern const struct op op_dispatch;

#endif
