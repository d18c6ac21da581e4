#include "nn/gdn.h"

#include "base/num.h"
#include "nn/mamba.h"
#include "op/delta_carried.h"
#include "op/delta_step.h"

static const char group[] = "mixer";

static long n_heads(const struct gdn_spec *s, long d_model)
{
	return max_long(s->n_heads ? s->n_heads : d_model * 3 / 4 / s->d_key, 1);
}

static long value_width(const struct gdn_spec *s)
{
	return s->d_value ? s->d_value : 2 * s->d_key;
}

static struct tensor *recurrence(struct net *net, const struct gdn_spec *s, struct tensor *qkv,
	struct tensor *beta_BTH, struct tensor *dt_BTH)
{
	long heads = tensor_width(beta_BTH), keys = heads * s->d_key, value = value_width(s);
	struct delta_attr attr = {.chunk = DELTA_CHUNK};
	struct param_rule a_log = rule_vector(net, FILL_LOG_UNIFORM, s->a_min, s->a_max, group);
	struct param_rule dt_bias = rule_vector(net, FILL_DT_BIAS, s->dt_min, s->dt_max, group);
	struct tensor shape = tensor_of(REAL, 1, heads);
	struct tensor *in[DELTA_CARRIED_N_IN] = {[DELTA_BRAW_BTH] = beta_BTH, [DELTA_DTRAW_BTH] = dt_BTH,
		[DELTA_START_BT] = net->start_BT, [DELTA_Q_BTK] = graph_slice(net->g, qkv, 0, keys),
		[DELTA_K_BTK] = graph_slice(net->g, qkv, keys, keys),
		[DELTA_V_BTV] = graph_slice(net->g, qkv, 2 * keys, heads * value),
		[DELTA_ALOG_H] = graph_param(net->g, "A_log", shape, &a_log),
		[DELTA_DTBIAS_H] = graph_param(net->g, "dt_bias", shape, &dt_bias)};

	if (!net->env.carry)
		return graph_apply(net->g, &op_delta, &attr, sizeof attr, in)[DELTA_Y_BTV];
	in[DELTA_S_BKV] = graph_carried(net->g, "S", tensor_of(MASTER, 3, net->env.batch, keys, value));
	return graph_apply(net->g, net->env.stream ? &op_delta_carried : &op_delta_step, &attr, sizeof attr,
		in)[DELTA_Y_BTV];
}

struct tensor *gdn(struct net *net, const void *gdn_spec, struct tensor *x_BTD)
{
	const struct gdn_spec *s = gdn_spec;
	long heads = n_heads(s, net->s->d_model), values = heads * value_width(s);
	long mixed = 2 * heads * s->d_key + values;
	struct gated_norm_attr norm = {.n_groups = (int)heads, .gate_last = true, .eps = s->norm_eps};
	struct tensor *all, *y_BTV;

	graph_enter(net->g, "mixer");
	all = mamba_project(net, "in_proj", x_BTD, mixed + values + 2 * heads);
	y_BTV = recurrence(net, s, mamba_conv(net, s->d_conv, graph_slice(net->g, all, 0, mixed), false),
		graph_slice(net->g, all, mixed + values, heads),
		graph_slice(net->g, all, mixed + values + heads, heads));
	y_BTV = mamba_norm(net, &norm, value_width(s), y_BTV, graph_slice(net->g, all, mixed, values));
	y_BTV = mamba_project(net, "out_proj", y_BTV, net->s->d_model);
	graph_leave(net->g);
	return net_output(net, "mixer", y_BTV);
}
