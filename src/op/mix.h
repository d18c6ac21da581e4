/*
 * mix: two paths normed and weighed against each other, rms(x) = sqrt(mean(x^2) + eps) of a row:
 *   y = s wa a / rms(a) + (1 - s) wb b / rms(b),    s = logistic(alpha)
 * Without the norms the path of larger output would win whatever alpha says. alpha is one number, or one of each
 * channel, which then has a share s of its own; absent: s = 1/2. With channel weights wa and wb, and s = 1/2, this
 * is how Hymba fuses attention with a state-space model (Dong et al. 2024, arXiv:2411.13676, section 2.1); absent
 * weights are 1.
 * Backward, with u = a / rms(a), g = s wa dy:
 *   da = (g - u mean(g u)) / rms(a);   dwa = s sum over rows of dy u;   db, dwb alike with v, 1 - s
 *   dalpha = s (1 - s) sum over all elements, or the rows of a channel, of dy (wa u - wb v)
 * With an alpha of channels CPU and CUDA compute (Wa u + Wb v) / 2, Wa = 2 s wa, Wb = 2 (1 - s) wb.
 */
#ifndef OP_MIX_H
#define OP_MIX_H

#include "op/op.h"

enum {
	MIX_A_BTD,
	MIX_B_BTD,
	MIX_ALPHA,	/* optional, master, one element or [D] */
	MIX_WA_D,	/* optional, master; both or none */
	MIX_WB_D,
	MIX_N_IN
};

enum {
	MIX_Y_BTD,
	MIX_SHARE,	/* s, one element; of channels [2]: mean and standard deviation */
	MIX_N_OUT
};

enum {
	MIX_SCALE_BT2,	/* 1 / rms of each row of a and of b */
	MIX_WEIGHT_2D,	/* Wa and Wb, of an alpha of channels */
	MIX_N_SAVED
};

struct mix_attr {
	double eps;
};

/* CUDA sums over so many rows first. */
enum { MIX_PART_ROWS = 128 };

/* Has each channel a share of its own? */
static inline bool mix_of_channels(const struct tensor *alpha)
{
	return alpha && tensor_size(alpha) > 1;
}

extern const struct op op_mix;

op_kernel mix_forward_cuda, mix_backward_cuda;

#endif
