/* route's kernels for the CPU (op/route.h). */
#ifndef OP_CPU_ROUTE_H
#define OP_CPU_ROUTE_H

#include "op/op.h"

void route_room_cpu(struct op_shapes *s);	/* both workspaces */
op_kernel route_forward_cpu, route_backward_cpu;

#endif
