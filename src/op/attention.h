/*
 * attention: causal softmax attention, scale 1 / sqrt(dh), D = n_heads * dh, C = n_kv_heads * dh:
 *   y_t = sum_{s <= t} softmax_s(q_t . k_s / sqrt(dh)) v_s        for each sequence and head
 * With documents (op/document_start.h) s runs from the first token of t's document, with a window of W
 * tokens from t - W + 1: W tokens, t among them (Beltagy et al. 2020, arXiv:2004.05150). With fewer heads
 * of keys and values than of queries, n_heads / n_kv_heads neighbouring heads of q share one (grouped
 * queries, Ainslie et al. 2023, arXiv:2305.13245); its gradient is their sum, in the order of heads.
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
	ATTENTION_K_BTC,
	ATTENTION_V_BTC,
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
	int n_kv_heads;		/* divides n_heads; 0: as many */
	int window;		/* W; 0: all in front of a token */
	int idle;		/* queries in front that nobody asks for (op/extend.h): no work of the model's */
};

/* Heads of queries that share one of keys and values. */
static inline long attention_group(const struct attention_attr *attr)
{
	return attr->n_kv_heads ? attr->n_heads / attr->n_kv_heads : 1;
}

/* How far back a token sees: beyond the context of T tokens where no window is, or none that hides any. */
static inline long attention_reach(const struct attention_attr *attr, long T)
{
	return attr->window && attr->window < T ? attr->window - 1 : T;
}

extern const struct op op_attention;

op_kernel attention_forward_cuda, attention_backward_cuda;

#endif
