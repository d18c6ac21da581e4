/*
 * noisy_load: how evenly noise lets experts be chosen, as a loss (Shazeer et al. 2017, arXiv:1701.06538,
 * eq. 8-11). With what noise of standard deviation sigma made of logits (op/noise.h), of which the k greatest
 * are chosen:
 *   P_tj = Phi((logit_tj - bound_tj) / sigma_tj), bound_tj the k-th greatest noisy logit of the others,
 *          the chance that j is chosen when its noise alone is drawn again
 *   L_j  = sum over a group's tokens of P_tj;   LOSS = Var_j(L) / mean_j(L)^2, the mean over groups
 * Groups are of group_tokens, in order; masked tokens (mask < 0) are in none; M groups have others. It is the
 * derivative of that, through bounds too: with m, V mean and variance of L, phi the density,
 *   g_j = dLOSS 2 (L_j - m - V / m) / (E m^2 M),  q_tj = g_j phi(z_tj) / sigma_tj
 *   dlogit_tj = q_tj;   dnoisy_ti = - sum of q_tj over those j whose bound is i;   dsigma_tj = - q_tj z_tj
 */
#ifndef OP_NOISY_LOAD_H
#define OP_NOISY_LOAD_H

#include "op/op.h"

enum {
	NOISY_LOAD_LOGIT_BTE,	/* master */
	NOISY_LOAD_NOISY_BTE,	/* master */
	NOISY_LOAD_WIDTH_BTE,	/* optional, master, as in op/noise.h */
	NOISY_LOAD_MASK_BT,	/* optional int; < 0: the token is not there */
	NOISY_LOAD_N_IN
};

enum {
	NOISY_LOAD_LOSS,	/* [1], master */
	NOISY_LOAD_N_OUT
};

enum {
	NOISY_LOAD_SLOPE_GE,	/* g_j / dLOSS */
	NOISY_LOAD_N_SAVED
};

struct noisy_load_attr {
	long k;			/* choices of a token, below the number of experts */
	double scale;		/* sigma, or what softplus(width) is multiplied by */
	long group_tokens;	/* divides B T */
};

void noisy_load_room_cuda(struct op_shapes *s);
op_kernel noisy_load_forward_cuda, noisy_load_backward_cuda;

extern const struct op op_noisy_load;

#endif
