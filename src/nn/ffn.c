#include "nn/ffn.h"

#include <math.h>

static struct tensor *layer(struct net *net, const struct ffn_spec *s, const char *name,
	struct tensor *x, long out)
{
	double fan_in = (double)tensor_width(x);
	struct param_rule weight = rule_normal(net, fan_in, "ffn");
	struct param_rule bias = rule_uniform(net, 1 / sqrt(fan_in), false, "ffn");

	return linear(net, name, x, out, &weight, s->bias ? &bias : NULL);
}

struct tensor *ffn(struct net *net, const void *ffn_spec, struct tensor *x_BTD)
{
	const struct ffn_spec *s = ffn_spec;
	long hidden = s->d_hidden ? s->d_hidden : 4 * net->s->d_model;
	struct tensor *h_BTF, *y_BTD;

	graph_enter(net->g, "ffn");
	h_BTF = layer(net, s, "in", x_BTD, s->gated ? 2 * hidden : hidden);
	h_BTF = activation(net, s->activation, s->gated, h_BTF);
	y_BTD = layer(net, s, "out", h_BTF, net->s->d_model);
	graph_leave(net->g);
	return net_output(net, "ffn", y_BTD);
}
