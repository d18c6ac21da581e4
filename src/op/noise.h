/*
 * noise: logits of a router with noise n, for each token and expert its own (op/noise_rule.h):
 *   y = logit + sigma n,   dlogit = dy
 *   sigma = scale; or scale softplus(width), with dwidth = scale n dy / (1 + exp(-width))
 * n ~ N(0, 1): Shazeer et al. 2017, arXiv:1701.06538, eq. 4; n ~ Gumbel(0, 1), so that the best of y
 * is a draw from softmax(logit / scale): Jang, Gu, Poole 2017, arXiv:1611.01144, eq. 1.
 */
#ifndef OP_NOISE_H
#define OP_NOISE_H

#include "op/op.h"

enum {
	NOISE_LOGIT_BTE,	/* master */
	NOISE_WIDTH_BTE,	/* optional, master */
	NOISE_N_IN
};

enum {
	NOISE_Y_BTE,		/* master */
	NOISE_N_OUT
};

enum noise_kind { NOISE_NORMAL, NOISE_GUMBEL };

struct noise_attr {
	enum noise_kind kind;
	double scale;
	uint64_t stream;	/* hash_u64(scope of the router) */
};

op_kernel noise_forward_cuda, noise_backward_cuda;

extern const struct op op_noise;

#endif
