/*
 * combine: brings the experts' rows back to their tokens, scaled by the gate. K choices a token, K from
 * the shapes, choice i = t K + k; those without a slot give nothing:
 *   y[t] = sum over k, in order, of gate[i] ye[slot[i]]
 *   dye[slot[i]] = gate[i] dy[t];   dgate[i] = <dy[t], ye[slot[i]]>, 0 without a slot
 * dye is 0 (or nothing is added) in rows without a choice, up to first[E]; rows behind are nobody's.
 */
#ifndef OP_COMBINE_H
#define OP_COMBINE_H

#include "op/op.h"

enum {
	COMBINE_YE_SO,		/* [S, O] or [E, C, O] */
	COMBINE_SLOT_BTK,	/* int, from place; from route [B, T] */
	COMBINE_GATE_BTK,	/* master */
	COMBINE_FIRST_E1,	/* int */
	COMBINE_TOKEN_S,	/* int; has the buffer's shape */
	COMBINE_N_IN
};

enum {
	COMBINE_Y_BTO,
	COMBINE_N_OUT
};

/* May be absent. */
struct combine_attr {
	long choices;	/* that are counted as its cost; absent: all of SLOT */
};

op_kernel combine_forward_cuda, combine_backward_cuda;
extern const struct op op_combine;

#endif
