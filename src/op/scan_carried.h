/*
 * scan_carried: op/scan.h on a window of a stream, for training through truncated time (Williams and Peng
 * 1990): h begins as the window before left it and is left behind the last token,
 *   h_{-1} = h_BIN,  then h_BIN <- h_{T-1}
 * so windows one behind the other give what one scan over all of them gives. Backward is scan's and ends
 * at the window's first token: h_BIN counts as given, and has no gradient. The inputs are scan's; a document
 * that began in an earlier window has start[b, t] < 0. Where nothing is trained and tokens come one at a
 * time, op/scan_step.h does the same.
 */
#ifndef OP_SCAN_CARRIED_H
#define OP_SCAN_CARRIED_H

#include "op/scan.h"

extern const struct op op_scan_carried;

#endif
