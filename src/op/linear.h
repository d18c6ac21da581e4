/*
 * linear: y = x W^T + b. W is [out, in] as it lies in files.
 *   dx = dy W;  dW = dy^T x;  db = sum over rows of dy
 * x may have any number of leading dimensions; they are kept.
 */
#ifndef OP_LINEAR_H
#define OP_LINEAR_H

#include "op/op.h"

enum {
	LINEAR_X_BTI,
	LINEAR_W_OI,
	LINEAR_B_O,	/* optional */
	LINEAR_N_IN
};

enum {
	LINEAR_Y_BTO,
	LINEAR_N_OUT
};

/* CUDA sums the bias gradient over so many rows first. */
enum { LINEAR_PART_ROWS = 256 };

extern const struct op op_linear;
op_kernel linear_forward_cuda, linear_backward_cuda;

#endif
