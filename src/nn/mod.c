#include "nn/mod.h"

#include <math.h>

#include "op/combine.h"
#include "op/dispatch.h"
#include "op/pick.h"
#include "op/router.h"

/* Rows of a sequence: all tokens where none may be left out. */
static long rows_of(const struct net *net, const struct mod_spec *s)
{
	const struct net_env *e = &net->env;
	long rows = (long)ceil(s->capacity_factor * s->share * (double)e->context);

	return e->masked || e->dropless || rows > e->context ? e->context : rows;
}

/* Above which a share of N(0, 1) lies. */
static double normal_above(double share)
{
	double low = -40, high = 40;

	for (int i = 0; i < 100; i++) {
		double x = (low + high) / 2;
		if (erfc(x / sqrt(2)) / 2 > share)
			low = x;
		else
			high = x;
	}
	return low;
}

/* Begins where logits of normed inputs, N(0, init_scale) then, leave the wanted share. */
static struct tensor *threshold(struct net *net, const struct mod_spec *s)
{
	struct param_rule rule = rule_constant(net, normal_above(s->share) * sqrt(net->s->init_scale), "router");

	rule.decay = false;
	rule.control = (struct param_control){.rule = "share", .rate = s->rate, .target = s->share};
	return graph_param(net->g, "router.threshold", tensor_of(REAL, 1, 1L), &rule);
}

/* All outputs of op_pick. */
static struct tensor *const *pick(struct net *net, const struct mod_spec *s, struct tensor *x_BTD)
{
	struct param_rule rule = rule_normal(net, (double)tensor_width(x_BTD), "router");
	struct tensor *of_router[ROUTER_N_IN] = {[ROUTER_X_BTD] = x_BTD};
	struct tensor *in[PICK_N_IN] = {[PICK_START_BT] = net->start_BT, [PICK_MASK_BT] = net->mask_BT};
	struct pick_attr attr = {rows_of(net, s)};

	of_router[ROUTER_W_ED] = graph_param(net->g, "router.weight",
		tensor_of(REAL, 2, 1L, tensor_width(x_BTD)), &rule);
	in[PICK_LOGIT_BT1] = graph_apply(net->g, &op_router, NULL, 0, of_router)[ROUTER_LOGIT_BTE];
	in[PICK_THRESHOLD] = threshold(net, s);
	if (net->env.carry)
		in[PICK_CARRIED_B] = graph_carried(net->g, "picked", tensor_of(INDEX, 2, net->env.batch, 1L));
	return graph_apply(net->g, &op_pick, &attr, sizeof attr, in);
}

static struct tensor *gather(struct net *net, struct tensor *x_BTD, struct tensor *const *picked)
{
	struct tensor *in[DISPATCH_N_IN] = {[DISPATCH_X_BTD] = x_BTD, [DISPATCH_SLOT_BTK] = picked[PICK_SLOT_BT],
		[DISPATCH_FIRST_E1] = picked[PICK_FIRST], [DISPATCH_TOKEN_S] = picked[PICK_TOKEN_BM]};

	return graph_apply(net->g, &op_dispatch, NULL, 0, in)[DISPATCH_XE_SD];
}

/* f of the rows, in a net that has no other tokens. */
static struct tensor *layers(struct net *net, const struct mod_layers *s, struct tensor *x_BTD,
	struct tensor *const *picked)
{
	struct net all = *net;
	struct tensor *a_BMD, *b_BMD;

	net->env.context = tensor_width(picked[PICK_TOKEN_BM]);
	net->env.trace = (struct net_trace){0};
	net->mask_BT = picked[PICK_TOKEN_BM];
	net->start_BT = net->start_BT ? picked[PICK_START_BM] : NULL;
	net->gaps = net->env.stream;
	a_BMD = s->fn[0](net, s->spec[0], gather(net, x_BTD, picked));
	if (s->fn[1]) {
		b_BMD = norm_of(net, "norm", gather(net, net->stream_BTD, picked), a_BMD);
		a_BMD = plus(net, a_BMD, s->fn[1](net, s->spec[1], b_BMD));
	}
	*net = all;
	return a_BMD;
}

struct tensor *mod(struct net *net, const void *mod_layers, struct tensor *x_BTD)
{
	const struct mod_layers *s = mod_layers;
	struct tensor *in[COMBINE_N_IN], *const *picked, *y_BTD;

	graph_enter(net->g, "mod");
	picked = pick(net, s->mod, x_BTD);
	graph_metric(net->g, picked[PICK_COUNT], "wanted");
	graph_metric(net->g, picked[PICK_SHARE], "share");
	in[COMBINE_YE_SO] = layers(net, s, x_BTD, picked);
	in[COMBINE_SLOT_BTK] = picked[PICK_SLOT_BT];
	in[COMBINE_GATE_BTK] = picked[PICK_GATE_BT];
	in[COMBINE_FIRST_E1] = picked[PICK_FIRST];
	in[COMBINE_TOKEN_S] = picked[PICK_TOKEN_BM];
	y_BTD = graph_apply(net->g, &op_combine, NULL, 0, in)[COMBINE_Y_BTO];
	graph_leave(net->g);
	return net_output(net, "mod", y_BTD);
}
