/*
 * Causal multi-head self-attention with rotary positions, under the name "attn":
 *	[q; k; v] = W_qkv x,  y = W_out attention(rope(q), rope(k), v)      no biases
 * Rows of W_qkv: all of q, then k, then v, heads contiguous in each; n_kv_heads of k and of v. Formulas,
 * windows and groups: op/attention.h, op/rope.h. 2 D^2 + 2 D n_kv_heads dh parameters, dh = D / n_heads.
 */
#ifndef NN_ATTN_H
#define NN_ATTN_H

#include "nn/net.h"

struct attn_spec {
	long n_heads;		/* divides d_model, with an even width per head; 0: d_model / 64 */
	long n_kv_heads;	/* divides the number of heads; 0: as many */
	long window;		/* tokens that each sees, its own one included; 0: all */
	bool rope;		/* positions; without them order shows by the causal mask alone */
	double rope_base;
};

long attn_heads(const struct attn_spec *s, long d_model);
long attn_kv_heads(const struct attn_spec *s, long d_model);

struct tensor *attn(struct net *net, const void *attn_spec, struct tensor *x_BTD);

#endif
