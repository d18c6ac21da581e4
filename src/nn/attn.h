/*
 * Causal multi-head self-attention with rotary positions, under the name "attn":
 *	[q; k; v] = W_qkv x,  y = W_out attention(rope(q), rope(k), v)      no biases
 * Rows of W_qkv: all of q, then k, then v, heads contiguous in each. Formulas: op/attention.h,
 * op/rope.h.
 */
#ifndef NN_ATTN_H
#define NN_ATTN_H

#include "nn/net.h"

struct attn_spec {
	long n_heads;		/* divides d_model, with an even width per head; 0: d_model / 64 */
	double rope_base;
};

long attn_heads(const struct attn_spec *s, long d_model);

struct tensor *attn(struct net *net, const void *attn_spec, struct tensor *x_BTD);

#endif
