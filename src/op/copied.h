/*
 * copied: logits of a model with a copy head (nn/copy_head.h), for decoding: the logarithms of
 *   P(w) = g P_v(w) + (1 - g) sum of a_ts over s with token[s + 1] = w,     g = logistic(gate_t)
 * at the places s that token t points at, with P_v = softmax(logits) and a as in op/pointer.h; P = P_v where it
 * points at none. Keys and tokens of earlier calls come from rings, in which op/remember.h has left them: position s
 * of a document in row s mod L; the last L in front of a token count. No gradient.
 */
#ifndef OP_COPIED_H
#define OP_COPIED_H

#include "op/op.h"

enum {
	COPIED_LOGIT_BTV,	/* master, from op/logits.h */
	COPIED_GATE_BT1,
	COPIED_Q_BTC,
	COPIED_K_BTC,
	COPIED_TOKEN_BT,	/* int */
	COPIED_START_BT,	/* optional, int: documents; with rings they may have begun in earlier calls */
	COPIED_KEYS_BLC,	/* optional: a ring, with TOKENS and START */
	COPIED_TOKENS_BL,	/* optional, int: a ring */
	COPIED_N_IN
};

enum {
	COPIED_Y_BTV,		/* master */
	COPIED_N_OUT
};

extern const struct op op_copied;

op_kernel copied_forward_cuda;

#endif
