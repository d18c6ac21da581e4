/*
 * constant: y = value. Seeds the gradient of a loss, and clears gradients that are written in parts.
 */
#ifndef OP_CONSTANT_H
#define OP_CONSTANT_H

#include "op/op.h"

enum { CONSTANT_Y, CONSTANT_N_OUT };

struct constant_attr {
	double value;
	struct tensor shape;	/* of y; kind REAL */
};

extern const struct op op_constant;
op_kernel constant_forward_cuda;

#endif
