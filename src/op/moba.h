/*
 * moba: causal attention on few segments of what lies in front (Mixture of Block Attention, Lu et al. 2025,
 * arXiv:2502.13189, section 2.2). A document's tokens are cut into segments of S, from its first token on; a
 * query sees those of its own segment up to itself, and all of the chosen - 1 earlier segments whose mean key
 * suits it best:
 *   score_i = q_t . mean of k_s over segment i,   i in front of t's segment;  ties go to the earlier one
 *   y_t = sum_s softmax_s(q_t . k_s / sqrt(dh)) v_s    over the tokens s of these segments, s <= t
 * for each sequence and head; heads of keys and values may be fewer, as in op/attention.h. No segment is chosen
 * by what comes behind a query. Gradients are those of attention over the chosen tokens: the choice has none.
 * Work is that of chosen * S keys a query, and a product with each mean.
 * On streams (op/extend.h) the first `idle` rows are keys of the window before: none of their queries is asked for, a
 * query sees as many tokens in front of itself, and chooses among the segments that lie there whole. Segments still
 * count from the document's first token, wherever that was (EXTEND_COUNTED of op/extend_start.h).
 */
#ifndef OP_MOBA_H
#define OP_MOBA_H

#include "op/op.h"

enum {
	MOBA_Q_BTD,
	MOBA_K_BTC,
	MOBA_V_BTC,
	MOBA_START_BT,	/* optional, int: documents */
	MOBA_N_IN
};

enum {
	MOBA_Y_BTD,
	MOBA_N_OUT
};

enum {
	MOBA_LSE_BTH,		/* log-sum-exp of scores */
	MOBA_SEGMENTS_BTM,	/* int, H (chosen - 1) columns: segments in their order, -1: none */
	MOBA_N_SAVED
};

/* Limits that kernels have room for. */
enum { MOBA_MAX_SEGMENT = 512, MOBA_MAX_CHOSEN = 17, MOBA_MAX_SEGMENTS = 2048 };

struct moba_attr {
	int n_heads;
	int n_kv_heads;		/* divides n_heads; 0: as many */
	int segment;		/* S, tokens */
	int chosen;		/* segments that a query sees, its own one among them */
	int idle;		/* rows of earlier calls in front; 0: none */
};

extern const struct op op_moba;
op_kernel moba_forward_cuda, moba_backward_cuda;

#endif
