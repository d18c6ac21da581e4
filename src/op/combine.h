/*
 * combine: brings the experts' rows back to their tokens, scaled by the gate:
 *   y[t] = gate[t] ye[slot[t]], 0 for tokens without a slot
 *   dye[slot[t]] = gate[t] dy[t];   dgate[t] = <dy[t], ye[slot[t]]>, 0 without a slot
 * dye is 0 (or nothing is added) in rows without a token, up to first[E]; rows behind are nobody's.
 */
#ifndef OP_COMBINE_H
#define OP_COMBINE_H

#include "op/op.h"

enum {
	COMBINE_YE_SO,		/* [S, O] or [E, C, O] */
	COMBINE_SLOT_BT,	/* int, from route */
	COMBINE_GATE_BT,	/* master */
	COMBINE_FIRST_E1,	/* int, from route */
	COMBINE_TOKEN_S,	/* int, from route; has the buffer's shape */
	COMBINE_N_IN
};

enum {
	COMBINE_Y_BTO,
	COMBINE_N_OUT
};

op_kernel combine_forward_cuda, combine_backward_cuda;
extern const struct op op_combine;

#endif
