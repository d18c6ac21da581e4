/*
 * delta_carried: op/delta.h on a window of a stream, as op/scan_carried.h has it for the scan:
 *   S_{-1} = S_BKV,  then S_BKV <- S_{T-1},     a memory [K, V] of each head, one below the other
 * Backward is delta's and ends at the window's first token: S_BKV has no gradient.
 */
#ifndef OP_DELTA_CARRIED_H
#define OP_DELTA_CARRIED_H

#include "op/delta.h"

extern const struct op op_delta_carried;	/* attr: struct delta_attr */

#endif
