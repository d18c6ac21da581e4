/*
 * A Mamba layer behind an attention block that all layers of this kind share, as in Zamba (Glorioso et al.
 * 2024, arXiv:2405.16712, section 3), for the stream r, n = norm(r) and the embedding e:
 *
 *	[q; k; v] = W_r n + W_e norm_e(e)		queries of width 2 D, heads of 2 D / n_heads
 *	f = M FFN(norm_f(W_out attention(q, k, v)))	M a D x D map of each layer's own
 *	out = Mamba(norm_m(r + f))			f itself is not added to the stream
 *
 * Zamba norms [r; e] as one vector, and its FFN is gated. What e gives is made once. Parameters beside
 * Mamba's: 14 D^2, norms and the FFN once ("shared."), D^2 and a norm a layer.
 */
#ifndef NN_SHARED_H
#define NN_SHARED_H

#include "nn/attn.h"
#include "nn/ffn.h"
#include "nn/mamba.h"

struct shared {
	const struct ssm_spec *ssm;
	const struct attn_spec *attn;
	const struct ffn_spec *ffn;
};

struct tensor *shared_block(struct net *net, const void *shared_spec, struct tensor *x_BTD);

#endif
