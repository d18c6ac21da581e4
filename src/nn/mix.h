/*
 * Two paths side by side whose outputs are normed and weighed (op/mix.h has the formula).
 *
 *	mix:	y = s A(x) / rms + (1 - s) B(x) / rms, for any two layers A and B, each with its own output
 *		projection; s = logistic(alpha), alpha one number a layer, or one a channel, that begins as 0
 *	hymba:	attention and Mamba on one width I = expand * D, fused in front of one output projection:
 *		[q; k; v] = W_qkv x,  [u; z] = W_in x,  y = W_out (wa A / rms(A) + wb M / rms(M)) / 2
 *
 * Hymba is Dong et al. 2024 (arXiv:2411.13676, section 2.1), without its meta tokens, the keys and values
 * that its layers share, its biases and its norms of dt, B and C.
 */
#ifndef NN_MIX_H
#define NN_MIX_H

#include "nn/attn.h"
#include "nn/mamba.h"
#include "nn/net.h"

struct mix_spec {
	const char *alpha;	/* "learned" | "channel": D of them | "fixed": s stays 1/2 */
	bool weights;		/* of channels, wa and wb, which begin as 1 */
};

/* Two layers of different names, so that their parameters have. */
struct mix_paths {
	const struct mix_spec *mix;
	layer_fn *fn[2];
	const void *spec[2];
};

struct hymba {
	const struct ssm_spec *ssm;
	const struct attn_spec *attn;
};

/* Under the name "mix"; the metric "share" is s, [1], or of channels its mean and standard deviation, [2]. */
struct tensor *mix(struct net *net, const void *mix_paths, struct tensor *x_BTD);
/* Under the name "hymba". */
struct tensor *hymba(struct net *net, const void *hymba_spec, struct tensor *x_BTD);

#endif
