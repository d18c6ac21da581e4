/*
 * reinforce: what teaches a router whose choices are drawn and weigh nothing: the score function's estimate
 * (Williams 1992; of routers: Bengio et al. 2015, arXiv:1511.06297; Clark et al. 2022, arXiv:2202.01169).
 * For token t with the drawn expert e_t, its loss nll_t and a baseline b, over the N tokens that count:
 *   LOSS = 1/N sum_t (nll_t - b) log s_t,e_t;   ds_t,e_t = dLOSS (nll_t - b) / (N s_t,e_t),  else 0
 * so that with softmax dlogit_tj = dLOSS (nll_t - b) (1[j = e_t] - s_tj) / N: a token whose loss is below the
 * baseline makes its expert more likely. Only the token's own loss is its reward, though later ones see its
 * output too. nll and b are constants here. Tokens that are masked (mask < 0) or have no expert do not count.
 */
#ifndef OP_REINFORCE_H
#define OP_REINFORCE_H

#include "op/op.h"

enum {
	REINFORCE_S_BTE,	/* master */
	REINFORCE_EXPERT_BTK,	/* int, K 1; -1: none */
	REINFORCE_NLL_BT,	/* master */
	REINFORCE_BASELINE,	/* [1], master */
	REINFORCE_MASK_BT,	/* optional int; < 0: the token does not count */
	REINFORCE_N_IN
};

enum {
	REINFORCE_LOSS,		/* [1], master */
	REINFORCE_N_OUT
};

enum {
	REINFORCE_SHARE,	/* [1]: 1 / N; 0: no token counts */
	REINFORCE_N_SAVED
};

#define REINFORCE_TINY 1e-20f	/* scores below count as this */

void reinforce_room_cuda(struct op_shapes *s);
op_kernel reinforce_forward_cuda, reinforce_backward_cuda;

extern const struct op op_reinforce;

#endif
