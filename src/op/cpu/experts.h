/* The CPU's kernels of experts. */
#ifndef OP_CPU_EXPERTS_H
#define OP_CPU_EXPERTS_H

#include "op/experts.h"

void experts_room_cpu(struct op_shapes *s);
op_kernel experts_forward_cpu, experts_backward_cpu;

#endif
