#include "nn/mix.h"

#include <string.h>

#include "op/mix.h"

/* All outputs of op_mix. */
static struct tensor *const *fuse(struct net *net, const struct mix_spec *s, struct tensor *a, struct tensor *b)
{
	struct mix_attr attr = {.eps = net->s->norm_eps};
	struct param_rule zero = rule_constant(net, 0, "mixer"), one = rule_constant(net, 1, "mixer");
	struct tensor *in[MIX_N_IN] = {[MIX_A_BTD] = a, [MIX_B_BTD] = b};
	long alphas = strcmp(s->alpha, "channel") ? 1 : tensor_width(a);

	zero.decay = false;	/* towards s = 1/2 it would be an opinion */
	if (strcmp(s->alpha, "fixed"))
		in[MIX_ALPHA] = graph_param(net->g, "alpha", tensor_of(REAL, 1, alphas), &zero);
	if (s->weights) {
		in[MIX_WA_D] = graph_param(net->g, "weight_a", tensor_of(REAL, 1, tensor_width(a)), &one);
		in[MIX_WB_D] = graph_param(net->g, "weight_b", tensor_of(REAL, 1, tensor_width(a)), &one);
	}
	return graph_apply(net->g, &op_mix, &attr, sizeof attr, in);
}

struct tensor *mix(struct net *net, const void *mix_paths, struct tensor *x_BTD)
{
	const struct mix_paths *s = mix_paths;
	struct tensor *a = s->fn[0](net, s->spec[0], x_BTD), *b = s->fn[1](net, s->spec[1], x_BTD);
	struct tensor *const *out;

	graph_enter(net->g, "mix");
	out = fuse(net, s->mix, a, b);
	graph_metric(net->g, out[MIX_SHARE], "share");
	graph_leave(net->g);
	return net_output(net, "mix", out[MIX_Y_BTD]);
}

struct tensor *hymba(struct net *net, const void *hymba_spec, struct tensor *x_BTD)
{
	static const struct mix_spec mean = {.alpha = "fixed", .weights = true};
	const struct hymba *s = hymba_spec;
	long width = ssm_inner_width(s->ssm, net->s->d_model);
	struct param_rule rule = rule_normal(net, (double)net->s->d_model, "mixer");
	struct tensor *qkv, *xz, *a, *m, *y;

	graph_enter(net->g, "hymba");
	qkv = linear(net, "qkv", x_BTD, width + 2 * attn_kv_width(s->attn, width), &rule, NULL);
	a = attend_fused(net, s->attn, qkv, width);
	xz = mamba_project(net, "in_proj", x_BTD, 2 * width);
	m = mamba_conv(net, s->ssm->d_conv, graph_slice(net->g, xz, 0, width), true);
	m = mamba_ssm(net, s->ssm, m, graph_slice(net->g, xz, width, width));
	y = mamba_project(net, "out_proj", fuse(net, &mean, a, m)[MIX_Y_BTD], net->s->d_model);
	graph_leave(net->g);
	return net_output(net, "hymba", y);
}
