#include "nn/shared.h"

/* What all uses share: from n to the FFN's output. */
static struct tensor *block(struct net *net, const struct shared *s, struct tensor *n_BTD)
{
	long d = net->s->d_model, width = 2 * d, qkv_width = width + 2 * attn_kv_width(s->attn, width);
	struct param_rule in = rule_normal(net, (double)width, "mixer");
	struct tensor *qkv, *y_BTD;

	graph_enter_shared(net->g, "shared");
	if (!net->shared_BTC)
		net->shared_BTC = linear(net, "qkv_embedding",
			norm_of(net, "norm_embedding", net->embedding_BTD, NULL), qkv_width, &in, NULL);
	qkv = plus(net, linear(net, "qkv", n_BTD, qkv_width, &in, NULL), net->shared_BTC);
	y_BTD = linear(net, "out", attend_fused(net, s->attn, qkv, width), d, &in, NULL);
	y_BTD = ffn(net, s->ffn, norm_of(net, "norm", y_BTD, NULL));
	graph_leave(net->g);
	return y_BTD;
}

struct tensor *shared_block(struct net *net, const void *shared_spec, struct tensor *x_BTD)
{
	const struct shared *s = shared_spec;
	long d = net->s->d_model;
	struct param_rule rule = rule_normal(net, (double)d, "mixer");
	struct tensor *r_BTD = net->stream_BTD, *f_BTD = block(net, s, x_BTD);

	f_BTD = linear(net, "map", f_BTD, d, &rule, NULL);
	return mamba(net, s->ssm, norm_of(net, "norm_mixer", r_BTD, f_BTD));
}
