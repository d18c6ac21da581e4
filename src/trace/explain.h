/*
 * A step of a small model as a page to be followed by hand: each operator in the order of computing,
 * with its formula, where its inputs come from, and all numbers (float64 on device ref).
 *
 *	12  layers.1.moe.route    p = softmax(W x);  e = argmax p;  gate = p[e];  ...
 *	    x_BTD      n_BTD of 10
 *	    w_ED       layers.1.moe.router.weight
 *	      0          0.1142  -0.0321   0.0007   0.0912
 *	    gate_BT
 *	      0 "t"      0.2711
 *
 * Rows of tokens have the token's place and, with a dataset, its text. A parameter is printed where it
 * is first used.
 */
#ifndef TRACE_EXPLAIN_H
#define TRACE_EXPLAIN_H

#include "trace/trace.h"

enum { EXPLAIN_TOKENS_MAX = 64 };	/* of a batch; more is refused */

struct explain_options {
	struct trace_options trace;	/* what is explained, as a trace takes it; its logits are all */
	const char *only;		/* only operators whose name contains this; NULL: all */
	bool backward;			/* gradients, too */
	int digits;			/* behind the point */
};

/* what: as of trace_write(). 0, or -1 after a message. */
int explain(const char *what, const struct explain_options *options, FILE *out);

#endif
