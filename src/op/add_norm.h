/*
 * add_norm: the residual stream and the norm in front of the next layer, in one pass:
 *   r = x + branch1 + branch2          (absent branches count as 0)
 *   n = norm(r) * weight + bias        (no norm when weight is absent)
 * layer norm: (r - mean) / sqrt(variance + eps), biased variance; Ba, Kiros, Hinton 2016
 *   (arXiv:1607.06450). rms norm: r / sqrt(mean(r^2) + eps); Zhang, Sennrich 2019
 *   (arXiv:1910.07467).
 * With weight absent only R is an output of interest; N is then a placeholder of one element, 0,
 * without gradient. R may lie on X, and does so for nothing where both branches are absent.
 * Backward, with m = n as it is before weight and bias, a = weight dn:
 *   dx = dr + (a - mean(a) - m mean(a m)) / std     (rms norm: without mean(a));  branches likewise
 *   dweight = sum over rows of dn m;  dbias = sum over rows of dn
 * The mean (rms norm: 0) and 1/std of each row are saved in float32.
 */
#ifndef OP_ADD_NORM_H
#define OP_ADD_NORM_H

#include "op/op.h"

enum {
	ADD_NORM_X_BTD,	/* residual stream */
	ADD_NORM_BRANCH1_BTD,	/* optional */
	ADD_NORM_BRANCH2_BTD,	/* optional */
	ADD_NORM_WEIGHT_D,	/* optional, master */
	ADD_NORM_BIAS_D,	/* optional, master */
	ADD_NORM_N_IN
};

enum {
	ADD_NORM_R_BTD,	/* x + branches */
	ADD_NORM_N_BTD,	/* normed */
	ADD_NORM_N_OUT
};

enum {
	ADD_NORM_STATS_BT2,	/* mean and 1/std of each row */
	ADD_NORM_N_SAVED
};

struct add_norm_attr {
	bool rms;		/* rms norm; else layer norm */
	double eps;
};

/* CUDA sums the gradients of weight and bias over so many rows first. */
enum { ADD_NORM_PART_ROWS = 128 };

extern const struct op op_add_norm;
op_kernel add_norm_forward_cuda, add_norm_backward_cuda;

/* For kernels: numbers of those inputs among x and branches whose gradient is wanted, one of each
   storage; gives how many. */
int add_norm_gradients(const struct op_run *r, int input[3]);

#endif
