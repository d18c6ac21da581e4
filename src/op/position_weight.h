/*
 * position_weight: what each token's loss counts for, by its position p in its document (in the
 * sequence, where documents are not kept apart):
 *   weight = 0 for p < from, else (1 + gain log2(1 + p)) / m
 *   m: mean over a whole sequence of one document, so that the weights' mean there is 1
 * A loss that leaves out tokens without much context, or asks most of those that have it. Weights do
 * not depend on how a batch is cut into micro-batches. With uneven weights fewer tokens count:
 * (sum w)^2 / sum w^2 of them.
 */
#ifndef OP_POSITION_WEIGHT_H
#define OP_POSITION_WEIGHT_H

#include "op/op.h"

enum {
	POSITION_WEIGHT_TOKEN_BT,	/* int; its shape alone counts */
	POSITION_WEIGHT_START_BT,	/* optional, int: documents (op/document_start.h) */
	POSITION_WEIGHT_N_IN
};

enum {
	POSITION_WEIGHT_W_BT,		/* master */
	POSITION_WEIGHT_N_OUT
};

struct position_weight_attr {
	double gain;			/* >= 0 */
	long from;			/* below the length of a sequence */
};

/* 1 / m for sequences of T tokens. */
double position_weight_scale(const struct position_weight_attr *a, long T);

op_kernel position_weight_forward_cuda;
extern const struct op op_position_weight;

#endif
