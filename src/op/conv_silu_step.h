/*
 * conv_silu_step: op/conv_silu.h with the last K - 1 rows of x carried from call to call, for decoding:
 * x[b, t] with t < 0 is past[b, K - 1 + t], and past is left holding the last K - 1 rows of past and x.
 * So calls of 1, 2 or 100 tokens, one behind the other, give what one convolution over all of them gives.
 * The inputs are conv_silu's; x before start[b, t], which is below 0 for a document that began in an
 * earlier call, counts as 0. No gradient. K is at least 2: one tap carries nothing.
 */
#ifndef OP_CONV_SILU_STEP_H
#define OP_CONV_SILU_STEP_H

#include "op/conv_silu.h"

enum {
	CONV_SILU_STEP_PAST_BKI = CONV_SILU_N_IN,	/* [B, K - 1, I] of x itself, updated; zeros in
							   front of the first token */
	CONV_SILU_STEP_N_IN
};

extern const struct op op_conv_silu_step;

op_kernel conv_silu_step_forward_cuda;

#endif
