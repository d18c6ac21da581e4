/*
 * The Mamba-3 layer, one input and one output a channel (Lahoti et al. 2026, arXiv:2603.15569), for x_BTD,
 * I = expand * D channels in H heads of d_head, G groups of N = d_state columns of B and C, S = turned * N / 2
 * angles:
 *
 *	[z; u; B; C; dt; a; l; angle] = W_in x, without a convolution
 *	phi = phase(angle, softplus(dt + bias))
 *	B <- turn(RMSnorm(B) + b_B, phi)		C <- turn(RMSnorm(C) + b_C, phi)
 *	y = ssd(u, B, C, D) with decays and weights of trapezoid(dt, a, l)		out = W_out (y * SiLU(z))
 *
 * (op/phase.h, turn.h, trapezoid.h, ssd.h have the formulas). Biases and phases are those of each head, so after
 * them are B and C. D (2 I + 2 G N + 3 H + S) + 2 H N + 2 N + 2 H + I D parameters. Initial values are those of
 * mamba_ssm: PyTorch's uniform for projections, dt between dt_min and dt_max, b_B, b_C, D and norms 1, and with
 * `rescale` the output projection divided by sqrt(n_blocks).
 */
#ifndef NN_MAMBA3_H
#define NN_MAMBA3_H

#include "nn/net.h"

struct mamba3_spec {
	long d_state, d_head, n_groups;
	double expand;
	double turned;		/* share of the states that turn, in pairs */
	double dt_min, dt_max, norm_eps;
	bool rescale;
};

long mamba3_inner_width(const struct mamba3_spec *s, long d_model);	/* I */
long mamba3_angles(const struct mamba3_spec *s);			/* S */

/* Under the name "mixer". */
struct tensor *mamba3(struct net *net, const void *mamba3_spec, struct tensor *x_BTD);

#endif
