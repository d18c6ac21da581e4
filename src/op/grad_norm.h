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
op_kernel grad_norm_forward_cuda;

/* For kernels that walk a blob: blocks of fixed size in parallel, each leaving one partial sum for
   each group, which are then added in the order of the blocks. */
enum { GRAD_NORM_BLOCK = 16384 };	/* elements */

static inline long grad_norm_blocks(long size)
{
	return (size + GRAD_NORM_BLOCK - 1) / GRAD_NORM_BLOCK;
}

static inline long grad_norm_block_end(long block, long size)
{
	long end = (block + 1) * GRAD_NORM_BLOCK;

	return end < size ? end : size;
}

/* What of [at, end) lies in the same segment as element `at`. */
static inline struct grad_norm_segment grad_norm_piece(const struct grad_norm_segment *list,
	long at, long end)
{
	while (list->end <= at)
		list++;
	return (struct grad_norm_segment){at, list->end < end ? list->end : end, list->group,
		list->decay};
}

/* CHECKs that the segments cover [0, size) in order and name groups below n_groups. */
void grad_norm_check_segments(const struct grad_norm_segment *s, int n, int n_groups, long size);
/* out[g] = sum over blocks of part[block][g], out float32; gives the sum of all. */
double grad_norm_sum_blocks(const double *part, long n_blocks, int n_groups, float *out);

#endif
