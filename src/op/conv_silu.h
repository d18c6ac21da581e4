/*
 * conv_silu: y = SiLU(causal depthwise convolution of x along T, plus bias), Mamba's first branch:
 *   s[b, t, i] = bias[i] + sum_k w[i, k] x[b, t - (K - 1) + k, i]     (x before t = 0 counts as 0)
 *   y = s / (1 + exp(-s))
 * With documents (op/document_start.h) x before the document of t counts as 0, too.
 * Gu and Dao 2023 (arXiv:2312.00752), section 3.4. w[i, K - 1] multiplies the present token.
 * Backward computes s once more instead of keeping it:
 *   ds = dy g (1 + s (1 - g)), g = logistic(s);    dx_t = sum_k w_k ds_{t + K - 1 - k};
 *   dw_k = sum_t ds_t x_{t - (K - 1) + k};         dbias = sum_t ds_t
 */
#ifndef OP_CONV_SILU_H
#define OP_CONV_SILU_H

#include "op/op.h"

enum {
	CONV_SILU_X_BTI,	/* a slice, as a rule */
	CONV_SILU_W_IK,	/* master */
	CONV_SILU_BIAS_I,	/* optional, master */
	CONV_SILU_START_BT,	/* optional, int: documents */
	CONV_SILU_N_IN
};

enum {
	CONV_SILU_Y_BTI,
	CONV_SILU_N_OUT
};

#define CONV_SILU_INPUTS \
	[CONV_SILU_X_BTI] = {"x_BTI", 0}, \
	[CONV_SILU_W_IK] = {"w_IK", IN_MASTER}, \
	[CONV_SILU_BIAS_I] = {"bias_I", IN_OPTIONAL | IN_MASTER}, \
	[CONV_SILU_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX}

enum { CONV_SILU_MAX_TAPS = 16 };	/* K may be 1 to 16 */

extern const struct op op_conv_silu;

enum { CONV_SILU_CHUNK = 64 };	/* tokens whose sums for w and bias the CUDA kernels leave together */

op_kernel conv_silu_forward_cuda, conv_silu_backward_cuda;

#endif
