/*
 * attention_step: op/attention.h over keys and values carried from call to call, for decoding. A token's
 * position in its document is p = t - start[b, t]; start[b, t] is below 0 for a document that began in an
 * earlier call. It sees itself and the L tokens of its document in front of it, L the rows of the rings:
 *   y = sum_s softmax_s(q . k_s / sqrt(dh)) v_s,   max(0, p - L) <= s <= p
 * Positions that are not among the tokens of this call lie in the rings, position s in row s mod L; the
 * call leaves the last L tokens of the last document there. With L no less than the tokens of a document
 * this is causal attention, else attention with a window of L + 1, whatever attr->window is. Rows that are
 * NOT_THERE (op/document_start.h) give 0 and are left nowhere. No gradient.
 */
#ifndef OP_ATTENTION_STEP_H
#define OP_ATTENTION_STEP_H

#include "op/attention.h"

enum {		/* behind attention's inputs, of which start_BT must be there */
	ATTENTION_STEP_KEYS_BLC = ATTENTION_N_IN,	/* updated; as k, rotated */
	ATTENTION_STEP_VALUES_BLC,			/* updated */
	ATTENTION_STEP_N_IN
};

extern const struct op op_attention_step;	/* attr: struct attention_attr */

op_kernel attention_step_forward_cuda;

#endif
