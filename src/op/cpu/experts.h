/* The CPU's kernels of experts, and what its reference shares with them. */
#ifndef OP_CPU_EXPERTS_H
#define OP_CPU_EXPERTS_H

#include "op/experts.h"

/* Channels in and out, of what W1 gives and of what W2 takes. */
struct experts_widths {
	long D, O, H, F;
};

static inline struct experts_widths experts_widths(const struct tensor *const *in)
{
	const struct tensor *w1 = in[EXPERTS_W1_EHD], *w2 = in[EXPERTS_W2_EOF];

	return (struct experts_widths){tensor_width(in[EXPERTS_XE_SD]), w2->dims[1], w1 ? w1->dims[1] : 0, w2->dims[2]};
}

void experts_room_cpu(struct op_shapes *s);
op_kernel experts_forward_cpu, experts_backward_cpu;

#endif
