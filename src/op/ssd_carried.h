/*
 * ssd_carried: op/ssd.h on a window of a stream, as op/scan_carried.h has it for the scan:
 *   h_{-1} = h_BIN,  then h_BIN <- h_{T-1},     N states of each channel of each head
 * Backward is ssd's and ends at the window's first token: h_BIN has no gradient.
 */
#ifndef OP_SSD_CARRIED_H
#define OP_SSD_CARRIED_H

#include "op/ssd.h"

extern const struct op op_ssd_carried;	/* attr: struct ssd_attr */

#endif
