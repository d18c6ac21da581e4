/*
 * ssd_step: op/ssd.h with the states carried from call to call, for decoding, as op/scan_step.h has it:
 *   h_{-1} = h_BIN,  then h_BIN <- h_{T-1},     N states of each channel of each head
 * The inputs are ssd's, with dtraw; the attributes' chunk counts for nothing, a channel walks through its tokens.
 */
#ifndef OP_SSD_STEP_H
#define OP_SSD_STEP_H

#include "op/ssd.h"

extern const struct op op_ssd_step;	/* attr: struct ssd_attr */

op_kernel ssd_step_forward_cuda;

#endif
