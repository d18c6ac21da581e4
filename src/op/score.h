/*
 * score: logits of a router as scores of its experts, h = logit / temperature:
 *   softmax   s = exp(h) / sum exp(h)     dlogit_j = s_j (ds_j - sum_i s_i ds_i) / temperature
 *   sigmoid   s = 1 / (1 + exp(-h))       dlogit_j = s_j (1 - s_j) ds_j / temperature
 * Softmax: Fedus, Zoph, Shazeer 2022, arXiv:2101.03961, eq. 1; sigmoid: DeepSeek-V3 2024,
 * arXiv:2412.19437, eq. 15.
 */
#ifndef OP_SCORE_H
#define OP_SCORE_H

#include "op/op.h"

enum {
	SCORE_LOGIT_BTE,	/* master */
	SCORE_TEMPERATURE,	/* optional [1], master: in place of the attribute */
	SCORE_N_IN
};

enum {
	SCORE_S_BTE,		/* master */
	SCORE_N_OUT
};

enum score_fn { SCORE_SOFTMAX, SCORE_SIGMOID };

struct score_attr {
	enum score_fn fn;
	double temperature;	/* above 0 */
};

op_kernel score_forward_cuda, score_backward_cuda;

extern const struct op op_score;

#endif
