/*
 * Attention that a Mamba layer uses: what a state of fixed size has lost is looked up.
 *
 *	xattn:	s = Mamba(x),  y = s + W_o attention(W_q s, W_k x, W_v x): the state decides what to look for
 *		among the inputs. Control: queries W_q x, at equal parameters.
 *	local:	inside the Mamba layer, usually in a window, in one of three places: for the convolved u
 *		u <- u + W_o attention(W_qkv u), or the same added to the scan's output, in front of W_out; or in place
 *		of the convolution, for its input v: u = SiLU(v + W_o attention(W_qkv v))
 *
 * Either begins as the Mamba layer alone, in the last place as one without a convolution: W_o is 0 at first.
 * Parameters beside Mamba's: xattn 2 D^2 + 2 D n_kv_heads dh; local, with queries of width H:
 * 2 I H + 2 I n_kv_heads dh, in the last place less the convolution's I (d_conv + 1).
 */
#ifndef NN_LOOKUP_H
#define NN_LOOKUP_H

#include "nn/attn.h"
#include "nn/mamba.h"

struct xattn_spec {
	const char *queries;	/* "state" | "input" */
};

struct local_spec {
	long width;		/* of queries; 0: d_model / 2 */
	const char *place;	/* "input" | "output" of the scan | "conv": in place of the convolution */
};

struct lookup {			/* what both are made of */
	const struct ssm_spec *ssm;
	const struct attn_spec *attn;
	const struct xattn_spec *xattn;
	const struct local_spec *local;
};

long local_width(const struct local_spec *s, long d_model);
bool local_has_conv(const struct local_spec *s);

/* Under the names "mixer" and "attn". */
struct tensor *xattn(struct net *net, const void *lookup, struct tensor *x_BTD);
struct tensor *local(struct net *net, const void *lookup, struct tensor *x_BTD);

#endif
