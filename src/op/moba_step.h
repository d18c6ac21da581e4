/*
 * moba_step: op/moba.h over keys and values carried from call to call, for decoding, in rings as
 * op/attention_step.h has them, whose L rows must hold all of a document. Means of segments are made anew from
 * the keys. Rows that are NOT_THERE (op/document_start.h) give 0 and are left nowhere. No gradient.
 */
#ifndef OP_MOBA_STEP_H
#define OP_MOBA_STEP_H

#include "op/moba.h"

enum {		/* behind moba's inputs, of which start_BT must be there */
	MOBA_STEP_KEYS_BLC = MOBA_N_IN,		/* updated; as k, rotated */
	MOBA_STEP_VALUES_BLC,			/* updated */
	MOBA_STEP_N_IN
};

extern const struct op op_moba_step;	/* attr: struct moba_attr */

op_kernel moba_step_forward_cuda;

#endif
