/*
 * share: of the tokens at one position of `members` consecutive sequences, a group, what part of an expert's
 * input each is (Antoniak et al. 2023, arXiv:2310.15961, section 3): for each expert e a softmax over the
 * group's tokens,
 *   s[t, e] = exp(h[t, e]) / sum over the group of exp(h[., e]),   h = logit / temperature
 *   dlogit[t, e] = s[t, e] (ds[t, e] - sum over the group of s ds) / temperature
 * Masked tokens (mask < 0) have none of it: 0. No token depends on another position.
 */
#ifndef OP_SHARE_H
#define OP_SHARE_H

#include "op/op.h"

enum {
	SHARE_LOGIT_BTE,	/* master */
	SHARE_MASK_BT,		/* optional int; < 0: the token is not there */
	SHARE_N_IN
};

enum {
	SHARE_S_BTE,		/* master */
	SHARE_N_OUT
};

struct share_attr {
	long members;		/* sequences of a group; divides B */
	double temperature;	/* above 0 */
};

op_kernel share_forward_cuda, share_backward_cuda;

extern const struct op op_share;

/* Groups across sequences, here and in merge and emit: group g is tokens first, first + T, ... of those
   counted over all sequences of T tokens; g of token t. */
static inline long share_first(long members, long T, long g)
{
	return g / T * members * T + g % T;
}

static inline long share_group(long members, long T, long t)
{
	return t / T / members * T + t % T;
}

#endif
