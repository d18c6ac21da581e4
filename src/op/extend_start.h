/*
 * extend_start: where documents begin (op/document_start.h) as operators see it on rows that op/extend.h
 * has made longer by n: places count from the first of those rows, and a document that began in front of
 * them begins with them:
 *   y[b, n + t] = max(0, n + start[b, t]);     y[b, s] = 0  for s < n, of which nobody asks what they see
 */
#ifndef OP_EXTEND_START_H
#define OP_EXTEND_START_H

#include "op/op.h"

enum {
	EXTEND_START_BT,	/* int */
	EXTEND_START_N_IN
};

enum {
	EXTEND_START_Y_BS,	/* int, S = n + T; 0 <= y[b, s] <= s */
	EXTEND_START_N_OUT
};

struct extend_start_attr {
	long n;
};

extern const struct op op_extend_start;

op_kernel extend_start_forward_cuda;

#endif
