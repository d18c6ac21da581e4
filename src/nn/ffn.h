/*
 * The dense channel mixer, under the name "ffn":  y = W_out f(W_in x + b_in) + b_out; gated (op/glu.h)
 * W_in has the rows of gate and of what it gates, 2 d_hidden of them: SwiGLU for silu.
 * The paper's Transformer has biases; Mamba-MLP has none.
 */
#ifndef NN_FFN_H
#define NN_FFN_H

#include "nn/net.h"

struct ffn_spec {
	long d_hidden;			/* 0: 4 d_model */
	bool bias, gated;
	const char *activation;
};

struct tensor *ffn(struct net *net, const void *ffn_spec, struct tensor *x_BTD);

#endif
