/*
 * pointed: for evaluation, how much of each token's pointing (op/pointer.h) goes to what followed place s:
 *   mass[b, t, s] = sum of a_ts' over s' <= s with token[s' + 1] = token[s + 1], at the places that t points at, else 0
 * A token may follow several places; the last of them has all of its mass, and the earlier ones less. No
 * gradient.
 */
#ifndef OP_POINTED_H
#define OP_POINTED_H

#include "op/op.h"

enum {
	POINTED_Q_BTC,
	POINTED_K_BSC,		/* these may have rows in front, as in op/pointer.h */
	POINTED_TOKEN_BS,	/* int */
	POINTED_START_BS,	/* optional, int: documents */
	POINTED_N_IN
};

enum {
	POINTED_MASS_BTS,	/* master */
	POINTED_N_OUT
};

extern const struct op op_pointed;

op_kernel pointed_forward_cuda;

#endif
