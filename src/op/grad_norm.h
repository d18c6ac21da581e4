/*
 * grad_norm: square root of the sum of squares of all gradients, and the sum of squares by group.
 * Sums run over fixed blocks of the blob, in float64 on host devices, in a fixed order. Not finite
 * if any gradient is not.
 */
#ifndef OP_GRAD_NORM_H
#define OP_GRAD_NORM_H

#include <stdbool.h>

#include "op/op.h"

enum {
	GRAD_NORM_G_N,	/* blob of gradients, master, one row */
	GRAD_NORM_N_IN
};

enum {
	GRAD_NORM_NORM,	/* [1] */
	GRAD_NORM_SUMSQ_G,	/* [n_groups] */
	GRAD_NORM_N_OUT
};

/* A run of elements of the parameter blob that is treated alike. Segments cover the blob in order;
   group numbers the parameter groups of the log ("embedding", "mixer", ...). */
struct grad_norm_segment {
	long begin, end;	/* elements */
	int group;
	bool decay;		/* weight decay applies */
};

struct grad_norm_attr {
	const struct grad_norm_segment *segments;	/* lives as long as the graph */
	int n_segments, n_groups;
};

extern const struct op op_grad_norm;

#endif
