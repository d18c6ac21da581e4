/*
 * mix: two paths normed and weighed against each other, rms(x) = sqrt(mean(x^2) + eps) of a row:
 *   y = s wa a / rms(a) + (1 - s) wb b / rms(b),    s = logistic(alpha)
 * Without the norms the path of larger output would win whatever alpha says. alpha absent: s = 1/2. With
 * channel weights wa and wb, and s = 1/2, this is how Hymba fuses attention with a state-space model (Dong
 * et al. 2024, arXiv:2411.13676, section 2.1); absent weights are 1.
 * Backward, with u = a / rms(a), g = s wa dy:
 *   da = (g - u mean(g u)) / rms(a);   dwa = s sum over rows of dy u;   db, dwb alike with v, 1 - s
 *   dalpha = s (1 - s) sum over all elements of dy (wa u - wb v)
 */
#ifndef OP_MIX_H
#define OP_MIX_H

#include "op/op.h"

enum {
	MIX_A_BTD,
	MIX_B_BTD,
	MIX_ALPHA,	/* optional, master, one element */
	MIX_WA_D,	/* optional, master; both or none */
	MIX_WB_D,
	MIX_N_IN
};

enum {
	MIX_Y_BTD,
	MIX_SHARE,	/* s, one element */
	MIX_N_OUT
};

enum {
	MIX_SCALE_BT2,	/* 1 / rms of each row of a and of b */
	MIX_N_SAVED
};

struct mix_attr {
	double eps;
};

/* CUDA sums over so many rows first. */
enum { MIX_PART_ROWS = 128 };

extern const struct op op_mix;

op_kernel mix_forward_cuda, mix_backward_cuda;

#endif
