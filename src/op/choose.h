/*
 * choose: the experts of each token by its scores, the best first:
 *   expert[t, 0..k) = the k greatest of s[t] + bias,  ties to the lowest expert; with top_p only as many as it
 *     takes until the sum of their s exceeds top_p (Huang et al. 2024, arXiv:2403.07652, eq. 2-5)
 * Masked tokens (mask < 0) choose none: -1; nor is an expert chosen by a score below its cut. No gradient
 * flows: a choice is a step function. The bias moves choices alone, never weights (Wang et al. 2024,
 * arXiv:2408.15664, algorithm 1).
 */
#ifndef OP_CHOOSE_H
#define OP_CHOOSE_H

#include "op/op.h"

enum {
	CHOOSE_S_BTE,		/* master */
	CHOOSE_BIAS_E,		/* optional, master */
	CHOOSE_MASK_BT,		/* optional int; < 0: the token is not there */
	CHOOSE_CUT_E,		/* optional, master: the least score, bias apart */
	CHOOSE_N_IN
};

enum {
	CHOOSE_EXPERT_BTK,	/* int; -1: none */
	CHOOSE_N_OUT
};

struct choose_attr {
	long k;			/* 1 to E */
	double top_p;		/* 0: k are chosen */
};

op_kernel choose_forward_cuda;

extern const struct op op_choose;

#endif
