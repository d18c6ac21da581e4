/*
 * The Mamba-2 layer (Dao and Gu 2024, arXiv:2405.21060, figure 6), for x_BTD, I = expand * D channels
 * in heads of d_head, G groups of N = d_state columns of B and C:
 *
 *	[z; u; B; C; dt] = W_in x        [u; B; C] = SiLU(conv([u; B; C]))
 *	y = ssd(u, softplus(dt + bias), A, B, C, D)        out = W_out (RMSnorm(y * SiLU(z)))
 *
 * with the norm over each group's channels. D (2 I + 2 G N + H) + (K + 1)(I + 2 G N) + 3 H + I + I D
 * parameters for H heads and K taps. Initial values are those of mamba_ssm: PyTorch's uniform for
 * projections and convolution, -A uniform between a_min and a_max, D 1, dt between dt_min and dt_max,
 * norm 1, and with `rescale` the output projection divided by sqrt(n_blocks).
 */
#ifndef NN_MAMBA2_H
#define NN_MAMBA2_H

#include "nn/net.h"

struct mamba2_spec {
	long d_state, d_conv, d_head, n_groups;
	double expand, a_min, a_max, dt_min, dt_max, norm_eps;
	bool rescale;
};

long mamba2_inner_width(const struct mamba2_spec *s, long d_model);	/* I */

struct tensor *mamba2(struct net *net, const void *mamba2_spec, struct tensor *x_BTD);

#endif
