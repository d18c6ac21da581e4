/*
 * squared_error: the loss of a forecast. A prediction y in the units of its row's normalisation (op/patch.h) becomes
 * m + s y, and is held against the value that is asked for, half precision (base/half.h):
 *   e = m + s y - v;   square = e^2, error = |e|, both 0 where nothing is asked (missing, or < 0)
 *   loss = sum of e^2 / n, n: values asked for (none: 0);   dy = 2 s e / n
 */
#ifndef OP_SQUARED_ERROR_H
#define OP_SQUARED_ERROR_H

#include "op/op.h"

enum {
	SQUARED_ERROR_Y_BNP,
	SQUARED_ERROR_TARGET_BT,	/* int; T = N P */
	SQUARED_ERROR_SCALE_B2,		/* master: m, s; no gradient */
	SQUARED_ERROR_N_IN
};

enum {
	SQUARED_ERROR_LOSS,		/* [1] */
	SQUARED_ERROR_SQUARE_BT,	/* master, metric */
	SQUARED_ERROR_ERROR_BT,		/* master, metric */
	SQUARED_ERROR_MEAN,		/* [1], metric: the loss */
	SQUARED_ERROR_N_OUT
};

enum {
	SQUARED_ERROR_SHARE,		/* master, [1]: 1 / n */
	SQUARED_ERROR_N_SAVED
};

op_kernel squared_error_forward_cuda, squared_error_backward_cuda;
extern const struct op op_squared_error;

#endif
