/*
 * merge: one row for each expert and group of tokens, a mixture of all tokens of the group (Antoniak et al.
 * 2023, arXiv:2310.15961, section 3). With s of op/share.h, whose groups these are, group g:
 *   xe[e, g] = sum over t in g of s[t, e] x[t]
 *   dx[t] = sum over e of s[t, e] dxe[e, g];   ds[t, e] = <x[t], dxe[e, g]>
 * emit (op/emit.h) gives what experts make of these rows back to the tokens. FIRST is where the rows of each
 * expert begin (op/experts.h).
 */
#ifndef OP_MERGE_H
#define OP_MERGE_H

#include "op/share.h"

enum {
	MERGE_X_BTD,
	MERGE_S_BTE,		/* master */
	MERGE_N_IN
};

enum {
	MERGE_XE_EGD,
	MERGE_FIRST_E1,		/* int */
	MERGE_N_OUT
};

struct merge_attr {
	long members;		/* sequences of a group; divides B */
};

op_kernel merge_forward_cuda, merge_backward_cuda;

extern const struct op op_merge;

#endif
