/*
 * Causal multi-head self-attention with rotary positions, under the name "attn":
 *	[q; k; v] = W_qkv x,  y = W_out attention(rope(q), rope(k), v)      no biases
 * Rows of W_qkv: all of q, then k, then v, heads contiguous in each; n_kv_heads of k and of v. Formulas,
 * windows and groups: op/attention.h, op/rope.h; chosen segments: op/moba.h; summaries of segments:
 * op/summary.h. 2 D^2 + 2 D n_kv_heads dh parameters, dh = D / n_heads.
 */
#ifndef NN_ATTN_H
#define NN_ATTN_H

#include "nn/net.h"

struct attn_spec {
	long n_heads;		/* divides d_model, with an even width per head; 0: d_model / 64 */
	long n_kv_heads;	/* divides the number of heads; 0: as many */
	long window;		/* tokens that each sees, its own one included; 0: all */
	long segment;		/* above 0: each sees its own segment of so many tokens, and of earlier ones */
	const char *earlier;	/* "chosen": few, whole (op/moba.h) | "summary": a row of each (op/summary.h) */
	long chosen;		/* segments that it sees whole, its own one among them */
	bool rope;		/* positions; without them order shows by the causal mask alone */
	double rope_base;
};

/* Of queries that are `width` channels wide, d_model in a layer of its own. */
long attn_heads(const struct attn_spec *s, long width);
long attn_kv_heads(const struct attn_spec *s, long width);
long attn_kv_width(const struct attn_spec *s, long width);

/* Attention of one fused projection [q; k; v], whose queries are `width` channels wide, and of queries
   from elsewhere with a projection [k; v]; in front of W_out. */
struct tensor *attend_fused(struct net *net, const struct attn_spec *s, struct tensor *qkv_BTC, long width);
struct tensor *attend(struct net *net, const struct attn_spec *s, struct tensor *q_BTD, struct tensor *kv_BTC);

struct tensor *attn(struct net *net, const void *attn_spec, struct tensor *x_BTD);

#endif
