/*
 * logits: y = x W^T for the true vocabulary only, for sampling and traces; no gradient.
 */
#ifndef OP_LOGITS_H
#define OP_LOGITS_H

#include "op/op.h"

enum {
	LOGITS_X_BTD,
	LOGITS_W_VD,	/* V >= n_vocab, padded */
	LOGITS_N_IN
};

enum {
	LOGITS_Y_BTV,	/* master, [B, T, n_vocab] */
	LOGITS_N_OUT
};

struct logits_attr {
	long n_vocab;
};

extern const struct op op_logits;
op_kernel logits_forward_cuda;

#endif
