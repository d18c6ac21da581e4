/*
 * scan_step: op/scan.h with the state carried from call to call, for decoding. h begins as the call
 * before left it and is left behind the last token:
 *   h_{-1} = h_BIN,  then h_BIN <- h_{T-1}
 * So calls of 1, 2 or 100 tokens, one behind the other, give what one scan over all of them gives. The
 * inputs are scan's; where start[b, t] = t nothing of h_BIN enters, and start[b, t] < 0 is a document
 * that began in an earlier call. No gradient. A channel walks through its tokens alone: made for few.
 */
#ifndef OP_SCAN_STEP_H
#define OP_SCAN_STEP_H

#include "op/scan.h"

extern const struct op op_scan_step;

op_kernel scan_step_forward_cuda;

#endif
