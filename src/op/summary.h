/*
 * summary: causal attention on the own segment and on one summary of each earlier one: memory by chunk summaries,
 * ours. A document's tokens are cut into segments of S, from its first token on, as in op/moba.h. Behind a segment's
 * last token one row stands for it in each head, the mean of its keys and that of its values:
 *   K_i = mean of k_s,  V_i = mean of v_s         over the S tokens s of segment i
 *   y_t = sum_i p_i V_i + sum_s p_s v_s,   p = softmax of (q_t . K_i, q_t . k_s) / sqrt(dh)
 * over the segments i in front of t's own and the tokens s <= t of its own: one softmax, in which a summary counts
 * as one row. Nothing is seen of other documents, nor of the own segment's summary, which looks ahead of its tokens.
 * With S of a document's length or more it is attention, and with S = 1, where each summary is its token, too.
 *   dk_s += dK_i / S,  dv_s += dV_i / S           for the tokens s of segment i
 * Work is that of S / 2 + T / (2 S) rows a query, O(T (S + T / S)) in all. Inputs and attributes are moba's, whose
 * `chosen` counts for nothing; on streams a query sees `idle` rows in front of itself, and summaries of what lies
 * there whole.
 */
#ifndef OP_SUMMARY_H
#define OP_SUMMARY_H

#include "op/moba.h"

enum {
	SUMMARY_LSE_BTH,	/* log-sum-exp of scores */
	SUMMARY_KEYS_BNC,	/* K and V of whole segments, by the first token over S: N = T / S, rounded up */
	SUMMARY_VALUES_BNC,
	SUMMARY_N_SAVED
};

extern const struct op op_summary;	/* attr: struct moba_attr */

op_kernel summary_forward_cuda, summary_backward_cuda;

#endif
