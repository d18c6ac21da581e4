/*
 * round: the working copy of all parameters is the master copy, rounded to nearest even:
 *   work = RN(master)
 * AdamW keeps it so; this is for weights that come from elsewhere (first weights, files). On devices
 * whose working type is the master's it is a copy.
 */
#ifndef OP_ROUND_H
#define OP_ROUND_H

#include "op/op.h"

enum {
	ROUND_MASTER_N,	/* blob of master weights, one row */
	ROUND_WORK_N,	/* blob of working weights, updated */
	ROUND_N_IN
};

extern const struct op op_round;
op_kernel round_forward_cuda;

#endif
