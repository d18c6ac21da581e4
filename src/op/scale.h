/*
 * scale: a scalar times a state that training moves between steps (train/control.h):
 *   y = a x,   dx = a dy
 */
#ifndef OP_SCALE_H
#define OP_SCALE_H

#include "op/op.h"

enum {
	SCALE_X,	/* [1], master */
	SCALE_A,	/* [1], master */
	SCALE_N_IN
};

enum {
	SCALE_Y,	/* [1], master */
	SCALE_N_OUT
};

op_kernel scale_forward_cuda, scale_backward_cuda;

extern const struct op op_scale;

#endif
