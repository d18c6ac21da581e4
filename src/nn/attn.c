#include "nn/attn.h"

#include "op/attention_step.h"
#include "op/rope.h"

long attn_heads(const struct attn_spec *s, long d_model)
{
	long heads = s->n_heads ? s->n_heads : d_model / 64;

	return heads < 1 ? 1 : heads;
}

long attn_kv_heads(const struct attn_spec *s, long d_model)
{
	return s->n_kv_heads ? s->n_kv_heads : attn_heads(s, d_model);
}

/* Rotates the [q k] part of the fused projection in one call: all heads side by side. */
static struct tensor *rotate(struct net *net, const struct attn_spec *s, struct tensor *qk, long heads)
{
	struct rope_attr attr = {.n_heads = (int)heads, .base = s->rope_base};
	struct tensor *in[ROPE_N_IN] = {[ROPE_X_BTD] = qk,
		[ROPE_START_BT] = net->env.carry ? net->start_BT : NULL};

	return s->rope ? graph_apply(net->g, &op_rope, &attr, sizeof attr, in)[ROPE_Y_BTD] : qk;
}

/* y of q, k and v; while decoding over those of earlier replays, too. */
static struct tensor *mix(struct net *net, const struct attention_attr *attr, struct tensor **in)
{
	long back = attr->window && attr->window <= net->env.carry ? attr->window - 1 : net->env.carry;
	struct tensor ring;

	if (attr->window == 1)	/* mixes no tokens */
		in[ATTENTION_START_BT] = NULL;
	if (!net->env.carry || attr->window == 1)
		return graph_apply(net->g, &op_attention, attr, sizeof *attr, in)[ATTENTION_Y_BTD];
	ring = tensor_of(REAL, 3, net->env.batch, back, tensor_width(in[ATTENTION_K_BTC]));
	in[ATTENTION_STEP_KEYS_BLC] = graph_carried(net->g, "keys", ring);
	in[ATTENTION_STEP_VALUES_BLC] = graph_carried(net->g, "values", ring);
	return graph_apply(net->g, &op_attention_step, attr, sizeof *attr, in)[ATTENTION_Y_BTD];
}

struct tensor *attn(struct net *net, const void *attn_spec, struct tensor *x_BTD)
{
	const struct attn_spec *s = attn_spec;
	long d = net->s->d_model, heads = attn_heads(s, d), kv_heads = attn_kv_heads(s, d), kv = d / heads * kv_heads;
	struct attention_attr attr = {.n_heads = (int)heads, .n_kv_heads = (int)kv_heads,
		.window = (int)s->window};
	struct param_rule rule = rule_normal(net, (double)d, "mixer");
	struct tensor *in[ATTENTION_STEP_N_IN] = {[ATTENTION_START_BT] = net->start_BT};
	struct tensor *qkv, *qk, *y_BTD;

	graph_enter(net->g, "attn");
	qkv = linear(net, "qkv", x_BTD, d + 2 * kv, &rule, NULL);
	qk = rotate(net, s, graph_slice(net->g, qkv, 0, d + kv), heads + kv_heads);
	in[ATTENTION_Q_BTD] = graph_slice(net->g, qk, 0, d);
	in[ATTENTION_K_BTC] = graph_slice(net->g, qk, d, kv);
	in[ATTENTION_V_BTC] = graph_slice(net->g, qkv, d + kv, kv);
	y_BTD = linear(net, "out", mix(net, &attr, in), d, &rule, NULL);
	graph_leave(net->g);
	return net_output(net, "attn", y_BTD);
}
