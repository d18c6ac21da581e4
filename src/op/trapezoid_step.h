/*
 * trapezoid_step: Mamba-3's recurrence (op/trapezoid.h) token by token, for decoding, with what it carries from
 * call to call: the states of each channel, and x and B of the token in front. B and C are those of each head:
 *   h_t = e^{dt A} h_{t-1} + (1 - lambda) dt e^{dt A} x_{t-1} B_{t-1}^T + lambda dt x_t B_t^T
 *   y_t = h_t C_t + D x_t
 * A first token of a document has nothing in front. Two calls behind each other give what one over all gives,
 * and that what op/ssd.h gives with the weights of op/trapezoid.h. No gradient.
 */
#ifndef OP_TRAPEZOID_STEP_H
#define OP_TRAPEZOID_STEP_H

#include "op/trapezoid.h"

enum {		/* behind trapezoid's inputs */
	TRAPEZOID_STEP_X_BTI = TRAPEZOID_N_IN,	/* H P columns */
	TRAPEZOID_STEP_B_BTM,			/* H N columns */
	TRAPEZOID_STEP_C_BTM,
	TRAPEZOID_STEP_D_H,			/* master */
	TRAPEZOID_STEP_H_BIN,			/* master, updated; zeros at first, as those below */
	TRAPEZOID_STEP_PASTX_BI,		/* updated */
	TRAPEZOID_STEP_PASTB_BM,		/* updated */
	TRAPEZOID_STEP_N_IN
};

enum {
	TRAPEZOID_STEP_Y_BTI,
	TRAPEZOID_STEP_N_OUT
};

extern const struct op op_trapezoid_step;
op_kernel trapezoid_step_forward_cuda;

#endif
