#include "nn/values.h"

#include "op/patch.h"
#include "op/squared_error.h"

struct tensor *embed_values(struct net *net)
{
	struct patch_attr attr = {.size = net->s->patch, .halves = net_forecasts(net->s)};
	struct tensor *in[PATCH_N_IN] = {[PATCH_TOKEN_BT] = net->tokens_BT, [PATCH_TARGET_BT] = net->targets_BT};
	struct tensor *const *out = graph_apply(net->g, &op_patch, &attr, sizeof attr, in);
	struct tensor *x_BNF = out[PATCH_X_BNF];
	struct param_rule weight = rule_normal(net, (double)tensor_width(x_BNF), "embedding");
	struct param_rule bias = rule_constant(net, 0, "embedding");

	net->scale_B2 = out[PATCH_SCALE_B2];
	net->tokens_BT = out[PATCH_TOKEN_BN];
	if (net->targets_BT && !attr.halves)
		net->targets_BT = out[PATCH_TARGET_BN];
	net->env.context /= attr.size;
	net->env.group_tokens /= attr.size;
	return linear(net, "embedding", x_BNF, net->s->d_model, &weight, &bias);
}

struct tensor *forecast_head(struct net *net, struct tensor *x_BND)
{
	struct param_rule weight = rule_normal(net, (double)net->s->d_model, "head");
	struct param_rule bias = rule_constant(net, 0, "head");

	return net_output(net, "lm_head", linear(net, "lm_head", x_BND, net->s->patch, &weight, &bias));
}

void forecast_loss(struct net *net, struct tensor *y_BNP)
{
	struct tensor *in[SQUARED_ERROR_N_IN] = {[SQUARED_ERROR_Y_BNP] = y_BNP,
		[SQUARED_ERROR_TARGET_BT] = net->targets_BT, [SQUARED_ERROR_SCALE_B2] = net->scale_B2};
	struct tensor *const *out = graph_apply(net->g, &op_squared_error, NULL, 0, in);

	graph_loss(net->g, out[SQUARED_ERROR_LOSS], 1, "loss");
	graph_metric(net->g, out[SQUARED_ERROR_MEAN], "ce");
	graph_metric(net->g, out[SQUARED_ERROR_SQUARE_BT], "nll");
	graph_metric(net->g, out[SQUARED_ERROR_ERROR_BT], "error");
}
