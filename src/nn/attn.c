#include "nn/attn.h"

#include "op/attention.h"
#include "op/rope.h"

long attn_heads(const struct attn_spec *s, long d_model)
{
	long heads = s->n_heads ? s->n_heads : d_model / 64;

	return heads < 1 ? 1 : heads;
}

/* Rotates the [q k] part of the fused projection in one call: 2 n_heads heads side by side. */
static struct tensor *rotate(struct net *net, const struct attn_spec *s, struct tensor *qk)
{
	struct rope_attr attr = {.n_heads = 2 * (int)attn_heads(s, net->s->d_model), .base = s->rope_base};
	struct tensor *in[ROPE_N_IN] = {[ROPE_X_BTD] = qk};

	return graph_apply(net->g, &op_rope, &attr, sizeof attr, in)[ROPE_Y_BTD];
}

struct tensor *attn(struct net *net, const void *attn_spec, struct tensor *x_BTD)
{
	const struct attn_spec *s = attn_spec;
	struct attention_attr attr = {.n_heads = (int)attn_heads(s, net->s->d_model)};
	long d = net->s->d_model;
	struct param_rule rule = rule_normal(net, (double)d, "mixer");
	struct tensor *in[ATTENTION_N_IN] = {[ATTENTION_START_BT] = net->start_BT};
	struct tensor *qkv, *qk, *y_BTD;

	graph_enter(net->g, "attn");
	qkv = linear(net, "qkv", x_BTD, 3 * d, &rule, NULL);
	qk = rotate(net, s, graph_slice(net->g, qkv, 0, 2 * d));
	in[ATTENTION_Q_BTD] = graph_slice(net->g, qk, 0, d);
	in[ATTENTION_K_BTD] = graph_slice(net->g, qk, d, d);
	in[ATTENTION_V_BTD] = graph_slice(net->g, qkv, 2 * d, d);
	y_BTD = graph_apply(net->g, &op_attention, &attr, sizeof attr, in)[ATTENTION_Y_BTD];
	y_BTD = linear(net, "out", y_BTD, d, &rule, NULL);
	graph_leave(net->g);
	return net_output(net, "attn", y_BTD);
}
