/*
 * pick: the tokens that go through a layer which not all need (Mixture of Depths, Raposo et al. 2024,
 * arXiv:2404.02258), as rows of a shorter sequence. A token is picked by a threshold and not by its rank among
 * others, so that no choice depends on a later token; the first M picked ones of a sequence have a row:
 *   picked[t] = logit[t] > threshold, and mask[t] >= 0
 *   SLOT[b, t]  = b M + j, where j < M is the number of picked tokens of the sequence in front; -1: none
 *   TOKEN[b, j] = b T + t, the token of row j; -1: none. FIRST is 0, B M: what op/dispatch.h takes of one expert
 *   START[b, j] = the row with which the document of row j begins (op/document_start.h)
 *   GATE[b, t]  = logistic(logit[t]) with a slot, else 0;      dlogit = dgate gate (1 - gate)
 *   COUNT       = picked tokens before any is left out for want of a row, and tokens with mask >= 0; SHARE their
 *                 ratio, 0 where there are no tokens
 * Where calls go on with sequences, carried_B has the number of rows of the present document in earlier calls, which
 * START counts; rows without a token then begin at NOT_THERE, which operators that carry leave out.
 */
#ifndef OP_PICK_H
#define OP_PICK_H

#include "op/op.h"

enum {
	PICK_LOGIT_BT1,		/* master, from op/router.h */
	PICK_THRESHOLD,		/* master, [1]; without gradient */
	PICK_START_BT,		/* optional, int: documents */
	PICK_MASK_BT,		/* optional, int */
	PICK_CARRIED_B,		/* optional, int, updated: [B, 1] */
	PICK_N_IN
};

enum {
	PICK_SLOT_BT,		/* int */
	PICK_TOKEN_BM,		/* int */
	PICK_START_BM,		/* int */
	PICK_GATE_BT,		/* master */
	PICK_FIRST,		/* int, [2] */
	PICK_COUNT,		/* int, [2] */
	PICK_SHARE,		/* metric, [1] */
	PICK_N_OUT
};

struct pick_attr {
	long rows;		/* M */
};

extern const struct op op_pick;

op_kernel pick_forward_cuda, pick_backward_cuda;

#endif
