#include "nn/mamba2.h"

#include <math.h>

#include "nn/mamba.h"
#include "op/ssd_carried.h"
#include "op/ssd_step.h"

static const char group[] = "mixer";

long mamba2_inner_width(const struct mamba2_spec *s, long d_model)
{
	return lround(s->expand * (double)d_model);
}

static struct tensor *recurrence(struct net *net, const struct mamba2_spec *s, struct tensor *ubc,
	struct tensor *dt_BTH)
{
	long n = s->n_groups * s->d_state, width = tensor_width(ubc) - 2 * n, heads = tensor_width(dt_BTH);
	struct ssd_attr attr = {.n_groups = (int)s->n_groups, .chunk = SSD_CHUNK};
	struct param_rule a_log = rule_vector(net, FILL_LOG_UNIFORM, s->a_min, s->a_max, group);
	struct param_rule dt_bias = rule_vector(net, FILL_DT_BIAS, s->dt_min, s->dt_max, group);
	struct param_rule d = rule_constant(net, 1, group);
	struct tensor shape = tensor_of(REAL, 1, heads);
	struct tensor *in[SSD_CARRIED_N_IN] = {[SSD_DTRAW_BTH] = dt_BTH, [SSD_START_BT] = net->start_BT,
		[SSD_X_BTI] = graph_slice(net->g, ubc, 0, width),
		[SSD_B_BTN] = graph_slice(net->g, ubc, width, n),
		[SSD_C_BTN] = graph_slice(net->g, ubc, width + n, n),
		[SSD_ALOG_H] = graph_param(net->g, "A_log", shape, &a_log),
		[SSD_D_H] = graph_param(net->g, "D", shape, &d),
		[SSD_DTBIAS_H] = graph_param(net->g, "dt_bias", shape, &dt_bias)};

	if (!net->env.carry)
		return graph_apply(net->g, &op_ssd, &attr, sizeof attr, in)[SSD_Y_BTI];
	in[SSD_H_BIN] = graph_carried(net->g, "h",
		tensor_of(MASTER, 3, net->env.batch, width, s->d_state));
	return graph_apply(net->g, net->env.stream ? &op_ssd_carried : &op_ssd_step, &attr, sizeof attr,
		in)[SSD_Y_BTI];
}

struct tensor *mamba2(struct net *net, const void *mamba2_spec, struct tensor *x_BTD)
{
	const struct mamba2_spec *s = mamba2_spec;
	long width = mamba2_inner_width(s, net->s->d_model), n = s->n_groups * s->d_state;
	long heads = width / s->d_head, mixed = width + 2 * n;
	struct gated_norm_attr norm = {.n_groups = (int)s->n_groups, .eps = s->norm_eps};
	struct tensor *all, *y_BTI;

	graph_enter(net->g, "mixer");
	all = mamba_project(net, "in_proj", x_BTD, width + mixed + heads);
	y_BTI = recurrence(net, s, mamba_conv(net, s->d_conv, graph_slice(net->g, all, width, mixed), true),
		graph_slice(net->g, all, width + mixed, heads));
	y_BTI = mamba_norm(net, &norm, width, y_BTI, graph_slice(net->g, all, 0, width));
	y_BTI = mamba_project_out(net, y_BTI, s->rescale);
	graph_leave(net->g);
	return net_output(net, "mixer", y_BTI);
}
