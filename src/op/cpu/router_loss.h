/* router_loss's kernels for the CPU (op/router_loss.h). */
#ifndef OP_CPU_ROUTER_LOSS_H
#define OP_CPU_ROUTER_LOSS_H

#include "op/op.h"

void router_loss_room_cpu(struct op_shapes *s);
op_kernel router_loss_forward_cpu, router_loss_backward_cpu;

#endif
