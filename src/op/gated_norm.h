/*
 * gated_norm: an RMS norm with a gate, over groups of neighbouring channels:
 *   gate first (Mamba-2):  n = m w,  m = v / sqrt(mean(v^2) + eps) in each group,  v = x SiLU(z)
 *   gate last (Gated DeltaNet):  n = m w SiLU(z),  with v = x
 * Dao and Gu 2024 (arXiv:2405.21060), section 7.1; Yang, Kautz, Hatamizadeh 2024 (arXiv:2412.06464),
 * section 3.4; Zhang and Sennrich 2019 (arXiv:1910.07467) for the norm. The weight has one value for
 * each channel, or for each channel of a group, shared by the groups.
 * Backward, with f = SiLU(z) where the gate is last, else 1, and a = dn w f:
 *   dv = (a - m mean(a m)) / rms;  gate first: dx = dv SiLU(z), dz = dv x SiLU'(z);
 *   gate last: dx = dv, dz = dn m w SiLU'(z);  dw = sum dn m f
 * 1 / rms of each row and group is saved in float32.
 */
#ifndef OP_GATED_NORM_H
#define OP_GATED_NORM_H

#include "op/op.h"

enum {
	GATED_NORM_X_BTI,
	GATED_NORM_Z_BTI,	/* a slice, as a rule */
	GATED_NORM_WEIGHT_I,	/* master; I, or I / n_groups */
	GATED_NORM_N_IN
};

enum {
	GATED_NORM_Y_BTI,
	GATED_NORM_N_OUT
};

enum {
	GATED_NORM_SCALE_BTG,	/* 1 / rms */
	GATED_NORM_N_SAVED
};

struct gated_norm_attr {
	int n_groups;
	bool gate_last;
	double eps;
};

enum { GATED_NORM_PART_ROWS = 64 };	/* whose gradients of the weight are summed up first */

extern const struct op op_gated_norm;
op_kernel gated_norm_forward_cuda, gated_norm_backward_cuda;

#endif
