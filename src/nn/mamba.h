/*
 * The Mamba layer (Gu and Dao 2023, arXiv:2312.00752, figure 3), for x_BTD, I = expand * D:
 *
 *	[x; z] = W_in x          u = SiLU(conv(x))        [dt; B; C] = W_x u       dt = W_dt dt
 *	y = scan(u, softplus(dt + bias), A, B, C, D) * SiLU(z)                      out = W_out y
 *
 * With `norm` each of dt (in front of W_dt), B and C is divided by its root mean square, times weights: Jamba (Lieber
 * et al. 2024, arXiv:2403.19887, section 6.4), where what they multiply grew without bound.
 * Each of the three projections (the x half of W_in, its z half, W_out) can be replaced by a
 * mixture of experts with a router of its own (MoE-Mamba, arXiv:2401.04081, section 4.5).
 * With one router for all three and experts of one matrix this is Routing Mamba (Zhan et al. 2025,
 * arXiv:2506.18145): the first two add up what a token's experts give as it is, the output weighs it.
 * Initial values are those of mamba_ssm: PyTorch's uniform for projections and convolution, A from
 * 1 to N, D 1, dt between dt_min and dt_max.
 */
#ifndef NN_MAMBA_H
#define NN_MAMBA_H

#include "nn/moe.h"
#include "nn/net.h"
#include "op/gated_norm.h"

struct ssm_spec {
	long d_state, d_conv;
	double expand;
	long dt_rank;		/* 0: d_model / 16, rounded up */
	double dt_min, dt_max;
	bool norm;		/* of dt, B and C */
};

struct inner_spec {
	bool conv, gate, out;	/* projections that are mixtures of experts */
	long every;		/* 1: in all layers, 2: in odd layers (1, 3, ...) */
	const char *router;	/* "own": each of these has one | "shared": a layer has one */
};

struct mamba_inner {
	const struct ssm_spec *ssm;
	const struct inner_spec *inner;
	const struct moe_spec *moe;
};

long ssm_inner_width(const struct ssm_spec *s, long d_model);	/* I */
long ssm_dt_rank(const struct ssm_spec *s, long d_model);	/* R */

/* Parts that Mamba-2, Mamba-3 or Gated DeltaNet have: a projection with PyTorch's initial values for nn.Linear,
   and the convolution of d_conv taps, with a bias or without, and its SiLU. */
struct tensor *mamba_project(struct net *net, const char *name, struct tensor *x, long out);
struct tensor *mamba_conv(struct net *net, long d_conv, struct tensor *x_BTI, bool bias);
/* The norm with a gate in front of W_out, "norm"; weights: as many, of all channels or of a group. */
struct tensor *mamba_norm(struct net *net, const struct gated_norm_attr *attr, long weights, struct tensor *y_BTI,
	struct tensor *z_BTI);
/* W_out; rescaled: its initial values divided by sqrt(n_blocks). */
struct tensor *mamba_project_out(struct net *net, struct tensor *y_BTI, bool rescaled);

/* From the convolved u and the gate z to y, in front of W_out: for layers with more between them. */
struct tensor *mamba_ssm(struct net *net, const struct ssm_spec *s, struct tensor *u_BTI,
	struct tensor *z_BTI);

struct tensor *mamba(struct net *net, const void *ssm_spec, struct tensor *x_BTD);
struct tensor *mamba_with_inner_moe(struct net *net, const void *mamba_inner, struct tensor *x_BTD);

#endif
