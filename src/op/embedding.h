/*
 * embedding: x[b, t] = table[token[b, t]], a row of the table for each token.
 * Backward sums, token by token in order, the gradients of equal tokens; rows of tokens that do not
 * occur get zeros, so the gradient of the table is complete. Token numbers must lie in the table.
 */
#ifndef OP_EMBEDDING_H
#define OP_EMBEDDING_H

#include "op/op.h"

enum {
	EMBEDDING_TOKEN_BT,	/* int, 0 <= token < V */
	EMBEDDING_TABLE_VD,
	EMBEDDING_N_IN
};

enum {
	EMBEDDING_X_BTD,
	EMBEDDING_N_OUT
};

extern const struct op op_embedding;
op_kernel embedding_forward_cuda, embedding_backward_cuda;

#endif
