/*
 * take: experts choose tokens (Zhou et al. 2022, arXiv:2202.09368, section 3.2): of each routing group
 * every expert takes the `capacity` tokens that suit it best, so that all experts have as many, and a
 * token goes to as many experts as take it, from none to all:
 *   expert[t, e] = e if s[t, e] is among the capacity greatest of column e in t's group, else -1; ties
 *                  to the earlier token
 *   capacity     = int(factor n / E), at least 1 and at most n, of the n tokens of the group that can be taken
 * Groups of `members` tokens are consecutive (in time: a token's future can take its place), or with
 * `across` the tokens at one position of `members` consecutive sequences (over the batch: it cannot).
 * Masked tokens (mask < 0) and scores that are no numbers are not taken. No gradient flows: a choice is a
 * step function; gate weighs what was taken.
 *   CUTOFF  mean over groups that have tokens of the least score that expert e took
 *   LEFT    valid tokens that no expert took, and valid tokens
 */
#ifndef OP_TAKE_H
#define OP_TAKE_H

#include "op/op.h"

enum {
	TAKE_S_BTE,		/* master */
	TAKE_MASK_BT,		/* optional int; < 0: the token is not there */
	TAKE_N_IN
};

enum {
	TAKE_EXPERT_BTE,	/* int; e, or -1 */
	TAKE_CUTOFF_E,		/* metric */
	TAKE_LEFT,		/* metric [2]: left, all */
	TAKE_N_OUT
};

struct take_attr {
	long members;		/* tokens of a group; divides B T, with `across` B */
	double factor;		/* experts that take a token, in the mean */
	bool across;		/* groups lie across sequences */
};

void take_room_cuda(struct op_shapes *s);
op_kernel take_forward_cuda;

extern const struct op op_take;

#endif
