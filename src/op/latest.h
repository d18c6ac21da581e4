/*
 * latest: the rows of a sequence behind its first n, which op/extend.h has put there:
 *   y[b, t] = x[b, n + t];      dx[b, s] = 0 for s < n,  dy[b, s - n] behind them
 */
#ifndef OP_LATEST_H
#define OP_LATEST_H

#include "op/op.h"

enum {
	LATEST_X_BSC,
	LATEST_N_IN
};

enum {
	LATEST_Y_BTC,	/* T = S - n */
	LATEST_N_OUT
};

struct latest_attr {
	long n;		/* 1 to S - 1 */
};

extern const struct op op_latest;

op_kernel latest_forward_cuda, latest_backward_cuda;

#endif
