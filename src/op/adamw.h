/*
 * adamw: one update of all parameters, after clipping by the global norm:
 *   g' = g * min(1, clip / norm);   m = beta1 m + (1 - beta1) g';   v = beta2 v + (1 - beta2) g'^2
 *   w = w - lr (m / c1 / (sqrt(v / c2) + eps) + decay w),  c1 = 1 - beta1^t, c2 = 1 - beta2^t
 * Loshchilov and Hutter 2019 (arXiv:1711.05101); clip 0: no clipping (torch adds 1e-6 to the norm;
 * we do not).
 * lr, c1 and c2 come from the step state. A norm that is not finite makes the update skip itself:
 * nothing is written but zeros to the metrics, so the last good weights stay.
 */
#ifndef OP_ADAMW_H
#define OP_ADAMW_H

#include "op/grad_norm.h"
#include "op/op.h"

enum {
	ADAMW_W_N,	/* master blob, updated */
	ADAMW_M_N,	/* updated */
	ADAMW_V_N,	/* updated */
	ADAMW_G_N,	/* gradients */
	ADAMW_NORM,	/* [1], from grad_norm */
	ADAMW_WORK_N,	/* optional, updated: the working copy where it is another type (bf16) */
	ADAMW_N_IN
};

enum {
	ADAMW_UPDATESQ_G,	/* metric: sum of squares of the update, by group */
	ADAMW_WEIGHTSQ_G,	/* metric: sum of squares of the new weights, by group */
	ADAMW_N_OUT
};

struct adamw_attr {
	const struct grad_norm_segment *segments;
	int n_segments, n_groups;
	double beta1, beta2, eps, weight_decay, clip;
};

extern const struct op op_adamw;
op_kernel adamw_forward_cuda;

#endif
