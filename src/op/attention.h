/*
 * attention: causal softmax attention, scale 1 / sqrt(dh), D = n_heads * dh:
 *   y_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(dh)) v_s        for each sequence and head
 * With documents (op/document_start.h) s runs from the first token of t's document.
 * Vaswani et al. 2017 (arXiv:1706.03762). Blocked over queries and keys with running maximum and
 * sum (Dao et al. 2022, arXiv:2205.14135): no T x T matrix is kept; backward recomputes the weights
 * from the saved log-sum-exp of each row:  p = exp(score - lse);  dv = p^T dy;  dp = dy v^T;
 *   ds = p (dp - sum_j dy_j y_j);  dq = ds k / sqrt(dh);  dk = ds^T q / sqrt(dh)
 */
#ifndef OP_ATTENTION_H
#define OP_ATTENTION_H

#include "op/op.h"

enum {
	ATTENTION_Q_BTD,	/* slices of one projection, as a rule */
	ATTENTION_K_BTD,
	ATTENTION_V_BTD,
	ATTENTION_START_BT,	/* optional, int: documents */
	ATTENTION_N_IN
};

enum {
	ATTENTION_Y_BTD,
	ATTENTION_N_OUT
};

enum {
	ATTENTION_LSE_BTH,	/* log-sum-exp of scores */
	ATTENTION_N_SAVED
};

struct attention_attr {
	int n_heads;
};

extern const struct op op_attention;

op_kernel attention_forward_cuda, attention_backward_cuda;

#endif
