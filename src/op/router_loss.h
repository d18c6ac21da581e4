/*
 * router_loss: what keeps a router even and its logits small. Tokens, in order, form groups of
 * group_tokens; N valid ones (mask >= 0; all when the mask is absent) in a group, M groups with any.
 * p_t: the token's scores, divided by their sum where `normalise` is set (scores of a sigmoid; softmax
 * sums to 1 as it is). f_e: share of the group's choices that name e, before dropping. Each output is a
 * mean over groups:
 *   BALANCE     E sum_e f_e P_e, P = mean_t p_t; 1 at uniform for any number of choices
 *               (Fedus, Zoph, Shazeer 2022, arXiv:2101.03961, eq. 4-6; sigmoid: DeepSeek-V3 2024,
 *               arXiv:2412.19437, eq. 17-20). With `units` f_e counts times the expert's width over the mean
 *               width: what is evened are the parameters at work (HMoE: Wang et al. 2024, arXiv:2408.10681,
 *               eq. 5, where it is not divided by the mean)
 *   Z           mean_t (log sum exp logit)^2 (Zoph et al. 2022, arXiv:2202.08906, eq. 5)
 *   IMPORTANCE  E sum_e (P_e - 1/E)^2, the squared coefficient of variation of P (Shazeer et al. 2017,
 *               arXiv:1701.06538, eq. 6-7, of scores before the choice)
 *   H_MEAN      H(P) = -sum_e P_e log P_e: to be large for balance
 *   H_TOKEN     mean_t H(p_t): to be small for sharp choices
 * With f held fixed, each over N M:
 *   dp_tj = d_balance E f_j + d_importance 2 (E P_j - 1) - d_h_mean (1 + log P_j) - d_h_token (1 + log p_tj)
 *   ds_j  = dp_j, or (dp_j - sum_i p_i dp_i) / sum s where normalised
 *   dlogit_j = d_z 2 lse softmax(logit)_j;   masked tokens: 0
 */
#ifndef OP_ROUTER_LOSS_H
#define OP_ROUTER_LOSS_H

#include "op/kit/token.h"
#include "op/kit/units.h"
#include "op/op.h"

enum {
	ROUTER_LOSS_LOGIT_BTE,	/* optional, master; absent: Z is 0 */
	ROUTER_LOSS_S_BTE,	/* master */
	ROUTER_LOSS_EXPERT_BTK,	/* int; -1: none */
	ROUTER_LOSS_MASK_BT,	/* optional int; < 0: the token is not there */
	ROUTER_LOSS_N_IN
};

/* All [1], master. */
enum {
	ROUTER_LOSS_BALANCE,
	ROUTER_LOSS_Z,
	ROUTER_LOSS_IMPORTANCE,
	ROUTER_LOSS_H_MEAN,
	ROUTER_LOSS_H_TOKEN,
	ROUTER_LOSS_N_OUT
};

enum {
	ROUTER_LOSS_F_GE,	/* f: share of choices, by width where that counts */
	ROUTER_LOSS_P_GE,	/* mean of p */
	ROUTER_LOSS_SHARE_G,	/* 1 / (N M); 0: no valid token */
	ROUTER_LOSS_N_SAVED
};

struct router_loss_attr {
	long group_tokens;	/* divides B T */
	bool normalise;
	struct units units;	/* n 0: experts count alike */
};

#define ROUTER_LOSS_TINY 1e-37f	/* logarithms of less are those of this */

void router_loss_room_cuda(struct op_shapes *s);
op_kernel router_loss_forward_cuda, router_loss_backward_cuda;

extern const struct op op_router_loss;

/* Is token t of a host's run there? */
static inline bool router_loss_valid(const struct op_run *r, long t)
{
	return token_there(r->in[ROUTER_LOSS_MASK_BT], t);
}

#endif
