/*
 * extend: rows of earlier calls in front of x, for training on streams (op/scan_carried.h says more):
 *   y[b, s] = past[b, s] for s < L,  x[b, s - L] behind them;   then past <- the last L rows of y
 *   dx[b, t] = dy[b, L + t]                            the rows of earlier calls have no gradient
 * Without past_BLC the L rows are 0: queries in front of which nobody asks for anything. Behind operators
 * that mix tokens op/latest.h takes the L rows away again.
 * Where x may lack tokens at its end (op/pick.h), start_BT says which: its rows that are NOT_THERE are never left.
 */
#ifndef OP_EXTEND_H
#define OP_EXTEND_H

#include "op/op.h"

enum {
	EXTEND_X_BTC,		/* a slice, as a rule */
	EXTEND_PAST_BLC,	/* optional, updated; zeros in front of the first token */
	EXTEND_THERE_BT,	/* optional, int */
	EXTEND_N_IN
};

enum {
	EXTEND_Y_BSC,		/* S = L + T */
	EXTEND_N_OUT
};

struct extend_attr {
	long n;			/* L, at least 1 */
};

extern const struct op op_extend;

op_kernel extend_forward_cuda, extend_backward_cuda;

#endif
