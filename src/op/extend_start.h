/*
 * extend_start: where documents begin (op/document_start.h) as operators see it on rows that op/extend.h
 * has made longer by n: places count from the first of those rows, and a document that began in front of
 * them begins with them:
 *   y[b, n + t] = max(0, n + start[b, t]);     y[b, s] = 0  for s < n, of which nobody asks what they see
 * EXTEND_HELD is for operators that hold states of what lies in front of all rows, so that no document begins there:
 *   y[b, n + t] = n + start[b, t], or -1 where start is below 0;     y[b, s] = -1 for s < n
 * EXTEND_COUNTED for those that count from a document's first token:
 *   y[b, n + t] = n + start[b, t];                                   y[b, s] = -1 for s < n
 * A row that is NOT_THERE sees itself alone.
 */
#ifndef OP_EXTEND_START_H
#define OP_EXTEND_START_H

#include "op/op.h"

enum {
	EXTEND_START_BT,	/* int */
	EXTEND_START_N_IN
};

enum {
	EXTEND_START_Y_BS,	/* int, S = n + T; y[b, s] <= s */
	EXTEND_START_N_OUT
};

enum extend_places { EXTEND_SEEN, EXTEND_HELD, EXTEND_COUNTED };

struct extend_start_attr {
	long n;
	enum extend_places places;
};

extern const struct op op_extend_start;

op_kernel extend_start_forward_cuda;

#endif
