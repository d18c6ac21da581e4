/*
 * swish_gate: y = x SiLU(z), SiLU(z) = z g with g = logistic(z): the gate behind a recurrence that has none of
 * its own.    dx = dy SiLU(z);  dz = dy x g (1 + z (1 - g))
 */
#ifndef OP_SWISH_GATE_H
#define OP_SWISH_GATE_H

#include "op/op.h"

enum {
	SWISH_GATE_X_BTI,
	SWISH_GATE_Z_BTI,	/* a slice, as a rule */
	SWISH_GATE_N_IN
};

enum {
	SWISH_GATE_Y_BTI,
	SWISH_GATE_N_OUT
};

extern const struct op op_swish_gate;
op_kernel swish_gate_forward_cuda, swish_gate_backward_cuda;

#endif
