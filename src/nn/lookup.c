#include "nn/lookup.h"

#include <string.h>

long local_width(const struct local_spec *s, long d_model)
{
	return s->width ? s->width : d_model / 2;
}

bool local_has_conv(const struct local_spec *s)
{
	return strcmp(s->place, "conv");
}

struct tensor *xattn(struct net *net, const void *lookup, struct tensor *x_BTD)
{
	const struct lookup *s = lookup;
	long d = net->s->d_model;
	struct param_rule rule = rule_normal(net, (double)d, "mixer"), zero = rule_zero("mixer");
	struct tensor *state = mamba(net, s->ssm, x_BTD), *q, *kv, *y;

	graph_enter(net->g, "attn");
	q = linear(net, "q", strcmp(s->xattn->queries, "state") ? x_BTD : state, d, &rule, NULL);
	kv = linear(net, "kv", x_BTD, 2 * attn_kv_width(s->attn, d), &rule, NULL);
	y = linear(net, "out", attend(net, s->attn, q, kv), d, &zero, NULL);
	y = plus(net, state, y);
	graph_leave(net->g);
	return net_output(net, "attn", y);
}

/* to + W_o attention(W_qkv u) */
static struct tensor *add_local(struct net *net, const struct lookup *s, struct tensor *to_BTI,
	struct tensor *u_BTI)
{
	long width = local_width(s->local, net->s->d_model), inner = tensor_width(u_BTI);
	struct param_rule rule = rule_normal(net, (double)inner, "mixer"), zero = rule_zero("mixer");
	struct tensor *qkv, *y_BTI;

	graph_enter(net->g, "attn");
	qkv = linear(net, "qkv", u_BTI, width + 2 * attn_kv_width(s->attn, width), &rule, NULL);
	y_BTI = linear(net, "out", attend_fused(net, s->attn, qkv, width), inner, &zero, NULL);
	y_BTI = plus(net, to_BTI, y_BTI);
	graph_leave(net->g);
	return y_BTI;
}

/* u for the scan, of v_BTI, the x half of W_in. */
static struct tensor *scan_input(struct net *net, const struct lookup *s, struct tensor *v_BTI)
{
	bool conv = local_has_conv(s->local);
	struct tensor *u_BTI = conv ? v_BTI : add_local(net, s, v_BTI, v_BTI);

	graph_enter(net->g, "mixer");
	u_BTI = conv ? mamba_conv(net, s->ssm->d_conv, u_BTI, true) : activation(net, "silu", false, u_BTI);
	graph_leave(net->g);
	return strcmp(s->local->place, "input") ? u_BTI : add_local(net, s, u_BTI, u_BTI);
}

struct tensor *local(struct net *net, const void *lookup, struct tensor *x_BTD)
{
	const struct lookup *s = lookup;
	long width = ssm_inner_width(s->ssm, net->s->d_model);
	struct tensor *xz, *u_BTI, *y_BTI;

	graph_enter(net->g, "mixer");
	xz = mamba_project(net, "in_proj", x_BTD, 2 * width);
	graph_leave(net->g);
	u_BTI = scan_input(net, s, graph_slice(net->g, xz, 0, width));
	graph_enter(net->g, "mixer");
	y_BTI = mamba_ssm(net, s->ssm, u_BTI, graph_slice(net->g, xz, width, width));
	graph_leave(net->g);
	if (!strcmp(s->local->place, "output"))
		y_BTI = add_local(net, s, y_BTI, u_BTI);
	graph_enter(net->g, "mixer");
	x_BTD = mamba_project(net, "out_proj", y_BTI, net->s->d_model);
	graph_leave(net->g);
	return net_output(net, "mixer", x_BTD);
}
