/*
 * route: top-1 Switch routing (Fedus, Zoph, Shazeer 2022, arXiv:2101.03961), all in float32, in one
 * operator for speed; any other rule is made of router, score, choose, place, gate and router_loss.
 *   logit_t = W x_t;  p_t = softmax(logit_t);  e_t = argmax p_t, ties to the lowest expert;
 *   gate_t = p_t[e_t].
 * Tokens, in order, form routing groups of group_tokens. In each group an expert takes the first
 * capacity tokens that chose it, in token order (capacity 0: no limit); the rest is dropped.
 * Per group, over its valid tokens (mask >= 0; all when the mask is absent), N of them:
 *   f_i = share of tokens whose argmax is i, before dropping;  P_i = mean of p[i]
 *   balance = E sum_i f_i P_i  (1 at uniform);  z = mean (log sum exp logit)^2 (Zoph et al. 2022,
 *   arXiv:2202.08906).  BALANCE and Z are means over groups that have valid tokens.
 * Masked tokens choose no expert, take no capacity, and have gate 0. Where kept tokens go: row SLOT
 * of a buffer sorted by expert (dispatch, experts and combine work on it), within an expert in
 * token order over all groups; dropped and masked tokens have SLOT -1. The segment of expert e is
 * rows FIRST[e] to FIRST[e + 1], of which the first COUNT_E[e] have a token; TOKEN is the token of
 * each row, -1: none. The buffer and its layout are those of place (op/place.h) with K = 1.
 * Gradients: written out in route.c. f has none; a dropped token's gate is 0 and passes none on.
 * LOAD: share of valid tokens by argmax; DROPPED: tokens dropped and valid tokens; ENTROPY: mean
 * over valid tokens of -sum p log p.
 */
#ifndef OP_ROUTE_H
#define OP_ROUTE_H

#include "op/op.h"

enum {
	ROUTE_X_BTD,
	ROUTE_W_ED,	/* router, master */
	ROUTE_MASK_BT,	/* optional int; < 0: the token is not there */
	ROUTE_N_IN
};

enum {
	ROUTE_GATE_BT,	/* master; p of the chosen expert; 0 if dropped or masked */
	ROUTE_BALANCE,	/* [1] */
	ROUTE_Z,	/* [1] */
	ROUTE_SLOT_BT,	/* int; -1: dropped or masked */
	ROUTE_FIRST_E1,	/* int [E + 1] */
	ROUTE_TOKEN_S,	/* int [S] or [E, C] */
	ROUTE_COUNT_E,	/* int */
	ROUTE_EXPERT_BT,	/* int; argmax; -1: masked */
	ROUTE_LOAD_E,	/* metric */
	ROUTE_DROPPED,	/* metric [2]: dropped, valid */
	ROUTE_ENTROPY,	/* metric [1] */
	ROUTE_N_OUT
};

enum {
	ROUTE_P_EBT,	/* softmax; tokens contiguous: they are the lanes of vector loops */
	ROUTE_COUNT_GE,	/* int; tokens by argmax in each group, before dropping */
	ROUTE_LSE_BT,	/* log-sum-exp of the logits */
	ROUTE_N_SAVED
};

struct route_attr {
	long group_tokens;	/* tokens of a routing group; divides B T */
	long capacity;		/* tokens an expert takes of a group; 0: all */
};

void route_room_cuda(struct op_shapes *s);
op_kernel route_forward_cuda, route_backward_cuda;

extern const struct op op_route;

#endif
