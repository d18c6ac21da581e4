/*
 * Mixture of Depths (Raposo et al. 2024, arXiv:2404.02258): attention, a dense layer or both, for few of the
 * tokens. r = w . x for each token of the normed stream x; those with r above a threshold become rows of a shorter
 * sequence, for which the layers are recorded as if there were no others, so that skipped tokens are no keys
 * either and rotary positions count rows:
 *	y_t = logistic(r_t) f(x)_t where t is picked, else 0
 *	f(x) = a + b(norm(stream + a)),  a = a(x), for two layers a, b;  a(x) for one
 * The paper takes the best of a sequence, by which later tokens decide over earlier ones; here the threshold is
 * one number for all, which moves after each step so that `share` of the tokens are picked (train/control.h).
 * So a token depends on its own past alone, and decoding picks as training does. In training
 * a sequence has room for capacity_factor * share of its tokens, the first ones; what is beyond is skipped. On
 * streams a sequence is a window, and attention sees as many rows in front, of whatever windows, as there are tokens.
 * D + 1 parameters beside those of f.
 */
#ifndef NN_MOD_H
#define NN_MOD_H

#include "nn/net.h"

struct mod_spec {
	double share;			/* of the tokens, wanted */
	double capacity_factor;		/* at least 1 */
	double rate;			/* of the threshold */
};

struct mod_layers {
	const struct mod_spec *mod;
	layer_fn *fn[2];		/* attn, ffn; the second may be NULL */
	const void *spec[2];
};

/* Under the name "mod"; the metric "share" is that of the picked tokens. */
struct tensor *mod(struct net *net, const void *mod_layers, struct tensor *x_BTD);

#endif
