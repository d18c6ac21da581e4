/*
 * extend_token: op/extend.h for numbers of tokens: those of earlier calls in front,
 *   y[b, s] = past[b, s] for s < L,  token[b, s - L] behind them;   then past <- the last L of y
 */
#ifndef OP_EXTEND_TOKEN_H
#define OP_EXTEND_TOKEN_H

#include "op/op.h"

enum {
	EXTEND_TOKEN_BT,	/* int */
	EXTEND_TOKEN_PAST_BL,	/* int, updated; L at least 1 */
	EXTEND_TOKEN_N_IN
};

enum {
	EXTEND_TOKEN_Y_BS,	/* int, S = L + T */
	EXTEND_TOKEN_N_OUT
};

extern const struct op op_extend_token;

op_kernel extend_token_forward_cuda;

#endif
