/*
 * summary_step: op/summary.h for decoding. Carried from call to call are the last S keys and values, in rings as
 * op/attention_step.h has them, of which those of an unfinished segment are seen, and the summaries of whole segments:
 * that of a document's i-th in row i mod N, so N rows must hold all of a document. Rows that are NOT_THERE
 * (op/document_start.h) give 0 and are left nowhere. No gradient.
 */
#ifndef OP_SUMMARY_STEP_H
#define OP_SUMMARY_STEP_H

#include "op/summary.h"

enum {		/* behind moba's inputs, of which start_BT must be there */
	SUMMARY_STEP_RING_K_BSC = MOBA_N_IN,	/* updated; as k, rotated */
	SUMMARY_STEP_RING_V_BSC,		/* updated */
	SUMMARY_STEP_KEYS_BNC,			/* master, updated */
	SUMMARY_STEP_VALUES_BNC,		/* master, updated */
	SUMMARY_STEP_N_IN
};

enum {		/* summaries of segments that end in this call, by that token over S: N = T / S, rounded up */
	SUMMARY_STEP_NOW_KEYS_BNC,
	SUMMARY_STEP_NOW_VALUES_BNC,
	SUMMARY_STEP_N_SAVED
};

extern const struct op op_summary_step;	/* attr: struct moba_attr */

op_kernel summary_step_forward_cuda;

#endif
