/*
 * The Gated DeltaNet layer (Yang, Kautz, Hatamizadeh 2024, arXiv:2412.06464, section 3.4), for x_BTD and H heads
 * with keys of K = d_key and values of V = d_value channels:
 *
 *	[q; k; v; z; b; dt] = W_in x        [q; k; v] = SiLU(conv([q; k; v])), without bias
 *	y = delta(q, k, v, logistic(b), softplus(dt + bias), A)     out = W_out (RMSnorm(y) * SiLU(z))
 *
 * with the norm over each head's channels, one weight for all heads. D H (2 K + 2 V + 2) + J H (2 K + V) + 2 H +
 * V + H V D parameters for J taps. Initial values: PyTorch's uniform for projections and convolution, -A
 * uniform between a_min and a_max, dt between dt_min and dt_max, norm 1.
 */
#ifndef NN_GDN_H
#define NN_GDN_H

#include "nn/net.h"

struct gdn_spec {
	long n_heads;		/* 0: 3/4 d_model / d_key, at least 1 */
	long d_key;
	long d_value;		/* 0: 2 d_key */
	long d_conv;
	double a_min, a_max, dt_min, dt_max, norm_eps;
};

/* Under the name "mixer". */
struct tensor *gdn(struct net *net, const void *gdn_spec, struct tensor *x_BTD);

#endif
