/*
 * delta_step: op/delta.h with the memories carried from call to call, for decoding, as op/scan_step.h has it:
 *   S_{-1} = S_BKV,  then S_BKV <- S_{T-1},     a memory [K, V] of each head, one below the other
 * The inputs are delta's; the attributes' chunk counts for nothing, a memory's columns, which do not know of
 * each other, walk through the tokens.
 */
#ifndef OP_DELTA_STEP_H
#define OP_DELTA_STEP_H

#include "op/delta.h"

extern const struct op op_delta_step;	/* attr: struct delta_attr */

op_kernel delta_step_forward_cuda;

#endif
