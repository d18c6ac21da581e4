#include "nn/moe.h"

#include <string.h>

#include "op/combine.h"
#include "op/dispatch.h"
#include "op/experts.h"
#include "op/route.h"

/* Tokens an expert takes of a group: int(factor * tokens / E), as the paper has it; at least one. */
static long moe_capacity(const struct moe_spec *s, long group_tokens)
{
	long capacity = (long)(s->capacity_factor * (double)group_tokens / (double)s->n_experts);

	return capacity < 1 ? 1 : capacity;
}

static void keep_losses(struct net *net, const struct moe_spec *s, struct tensor *const *route)
{
	int i = net->n_routers++;

	if (i < NET_ROUTERS_MAX)
		net->routers[i] = (struct router_loss){.balance = route[ROUTE_BALANCE],
			.z = route[ROUTE_Z], .balance_weight = s->balance, .z_weight = s->z_loss,
			.mean = !strcmp(s->aux_reduce, "mean"), .scope = graph_scope(net->g)};
}

/* All outputs of op_route; under the scope of the mixture. */
static struct tensor *const *route(struct net *net, const struct moe_spec *s, struct tensor *x_BTD)
{
	long tokens = net->env.batch * net->env.context;
	long group = s->group_tokens ? s->group_tokens : net->env.group_tokens;
	struct route_attr attr = {.group_tokens = group,
		.capacity = net->env.dropless ? 0 : moe_capacity(s, group)};
	struct param_rule rule = rule_normal(net, (double)tensor_width(x_BTD), "router");
	struct tensor *in[ROUTE_N_IN] = {[ROUTE_X_BTD] = x_BTD}, *const *out;

	if (tokens % group) {
		if (!net->env.dropless)
			net->misfit = group;	/* told by model_record() */
		attr.group_tokens = tokens;
	}
	in[ROUTE_W_ED] = graph_param(net->g, "router.weight",
		tensor_of(REAL, 2, s->n_experts, tensor_width(x_BTD)), &rule);
	in[ROUTE_MASK_BT] = net->mask_BT;
	out = graph_apply(net->g, &op_route, &attr, sizeof attr, in);
	graph_metric(net->g, out[ROUTE_LOAD_E], "load");
	graph_metric(net->g, out[ROUTE_DROPPED], "dropped");
	graph_metric(net->g, out[ROUTE_ENTROPY], "entropy");
	if (net->env.trace.routes) {
		graph_metric(net->g, out[ROUTE_EXPERT_BT], "route");
		graph_metric(net->g, out[ROUTE_SLOT_BT], "slot");
		graph_metric(net->g, out[ROUTE_GATE_BT], "gate");
	}
	return out;
}

static struct tensor *gather(struct net *net, struct tensor *x_BTD, struct tensor *const *route)
{
	struct tensor *in[DISPATCH_N_IN] = {[DISPATCH_X_BTD] = x_BTD,
		[DISPATCH_SLOT_BTK] = route[ROUTE_SLOT_BT], [DISPATCH_FIRST_E1] = route[ROUTE_FIRST_E1],
		[DISPATCH_TOKEN_S] = route[ROUTE_TOKEN_S]};

	return graph_apply(net->g, &op_dispatch, NULL, 0, in)[DISPATCH_XE_SD];
}

static struct tensor *experts(struct net *net, const struct moe_spec *s, struct tensor *xe_SD,
	struct tensor *const *route, long width_out)
{
	struct experts_attr attr = {.fn = act_fn_find(s->activation),
		.tokens = tensor_size(route[ROUTE_SLOT_BT])};
	long n = s->n_experts, f = s->d_expert ? s->d_expert : 3 * net->s->d_model, width_in = tensor_width(xe_SD);
	bool all = !strcmp(s->init_fan, "all_experts");
	struct param_rule w1 = rule_normal(net, (double)width_in, "experts");
	struct param_rule w2 = rule_normal(net, (double)(all ? n * f : f), "experts");
	struct tensor *in[EXPERTS_N_IN] = {[EXPERTS_XE_SD] = xe_SD,
		[EXPERTS_FIRST_E1] = route[ROUTE_FIRST_E1]};

	w1.active = w2.active = 1;
	w1.of = w2.of = n;
	in[EXPERTS_W1_EFD] = graph_param(net->g, "w1", tensor_of(REAL, 3, n, f, width_in), &w1);
	in[EXPERTS_W2_EOF] = graph_param(net->g, "w2", tensor_of(REAL, 3, n, width_out, f), &w2);
	return graph_apply(net->g, &op_experts, &attr, sizeof attr, in)[EXPERTS_YE_SO];
}

struct tensor *moe_project(struct net *net, const char *name, const struct moe_spec *s,
	struct tensor *x_BTD, long out)
{
	struct tensor *in[COMBINE_N_IN], *const *r, *y;

	graph_enter(net->g, "%s", name);
	r = route(net, s, x_BTD);
	keep_losses(net, s, r);
	in[COMBINE_YE_SO] = experts(net, s, gather(net, x_BTD, r), r, out);
	in[COMBINE_SLOT_BTK] = r[ROUTE_SLOT_BT];
	in[COMBINE_GATE_BTK] = r[ROUTE_GATE_BT];
	in[COMBINE_FIRST_E1] = r[ROUTE_FIRST_E1];
	in[COMBINE_TOKEN_S] = r[ROUTE_TOKEN_S];
	y = graph_apply(net->g, &op_combine, NULL, 0, in)[COMBINE_Y_BTO];
	graph_leave(net->g);
	return net_output(net, name, y);
}

struct tensor *moe(struct net *net, const void *moe_spec, struct tensor *x_BTD)
{
	return moe_project(net, "moe", moe_spec, x_BTD, net->s->d_model);
}
