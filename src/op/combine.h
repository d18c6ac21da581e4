/*
 * combine: brings the experts' rows back to their tokens, scaled by the gate:
 *   y[t] = gate[t] ye[slot[t]], 0 for tokens without a slot
 *   dye[slot[t]] = gate[t] dy[t];   dgate[t] = <dy[t], ye[slot[t]]>, 0 without a slot
 * Gradient rows of the buffer that no token has are left as they are.
 */
#ifndef OP_COMBINE_H
#define OP_COMBINE_H

#include "op/op.h"

enum {
	COMBINE_YE_SO,
	COMBINE_SLOT_BT,	/* int, from route */
	COMBINE_GATE_BT,	/* master */
	COMBINE_N_IN
};

enum {
	COMBINE_Y_BTO,
	COMBINE_N_OUT
};

extern const struct op op_combine;

#endif
