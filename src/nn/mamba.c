#include "nn/mamba.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "nn/stream.h"
#include "op/conv_silu_step.h"
#include "op/scan_carried.h"
#include "op/scan_step.h"

static const char group[] = "mixer";

long ssm_inner_width(const struct ssm_spec *s, long d_model)
{
	return lround(s->expand * (double)d_model);
}

long ssm_dt_rank(const struct ssm_spec *s, long d_model)
{
	return s->dt_rank ? s->dt_rank : ceil_div(d_model, 16);
}

struct tensor *mamba_project(struct net *net, const char *name, struct tensor *x, long out)
{
	struct param_rule rule = rule_uniform(net, 1 / sqrt((double)tensor_width(x)), true, group);

	return linear(net, name, x, out, &rule, NULL);
}

/* The convolution over the last taps of the replay before, too. */
static struct tensor *conv_stream(struct net *net, long d_conv, struct tensor **in)
{
	in[CONV_SILU_X_BTI] = stream_extend(net, "past", in[CONV_SILU_X_BTI], d_conv - 1);
	in[CONV_SILU_START_BT] = stream_start(net, d_conv - 1, EXTEND_SEEN);
	return stream_latest(net, graph_apply(net->g, &op_conv_silu, NULL, 0, in)[CONV_SILU_Y_BTI], d_conv - 1);
}

struct tensor *mamba_conv(struct net *net, long d_conv, struct tensor *x_BTI, bool bias)
{
	long width = tensor_width(x_BTI);
	double bound = 1 / sqrt((double)d_conv);
	struct param_rule of_weight = rule_uniform(net, bound, true, group);
	struct param_rule of_bias = rule_uniform(net, bound, false, group);
	struct tensor *in[CONV_SILU_STEP_N_IN] = {[CONV_SILU_X_BTI] = x_BTI,
		[CONV_SILU_START_BT] = net->start_BT};

	in[CONV_SILU_W_IK] = graph_param(net->g, "conv1d.weight",
		tensor_of(REAL, 3, width, 1L, d_conv), &of_weight);
	if (bias)
		in[CONV_SILU_BIAS_I] = graph_param(net->g, "conv1d.bias", tensor_of(REAL, 1, width), &of_bias);
	if (d_conv == 1)	/* mixes no tokens */
		in[CONV_SILU_START_BT] = NULL;
	if (!net->env.carry || d_conv == 1)
		return graph_apply(net->g, &op_conv_silu, NULL, 0, in)[CONV_SILU_Y_BTI];
	if (net->env.stream)
		return conv_stream(net, d_conv, in);
	in[CONV_SILU_STEP_PAST_BKI] = graph_carried(net->g, "past",
		tensor_of(REAL, 3, net->env.batch, d_conv - 1, width));
	return graph_apply(net->g, &op_conv_silu_step, NULL, 0, in)[CONV_SILU_Y_BTI];
}

struct tensor *mamba_norm(struct net *net, const struct gated_norm_attr *attr, long weights, struct tensor *y_BTI,
	struct tensor *z_BTI)
{
	struct param_rule one = rule_constant(net, 1, group);
	struct tensor *in[GATED_NORM_N_IN] = {[GATED_NORM_X_BTI] = y_BTI, [GATED_NORM_Z_BTI] = z_BTI,
		[GATED_NORM_WEIGHT_I] = graph_param(net->g, "norm.weight", tensor_of(REAL, 1, weights), &one)};

	return graph_apply(net->g, &op_gated_norm, attr, sizeof *attr, in)[GATED_NORM_Y_BTI];
}

struct tensor *mamba_project_out(struct net *net, struct tensor *y_BTI, bool rescaled)
{
	double fan_in = (double)tensor_width(y_BTI) * (rescaled ? (double)net->s->n_blocks : 1);
	struct param_rule rule = rule_uniform(net, 1 / sqrt(fan_in), true, group);

	return linear(net, "out_proj", y_BTI, net->s->d_model, &rule, NULL);
}

/* Parameters of the recurrence: A_log, D and the bias of dt. */
static void ssm_params(struct net *net, const struct ssm_spec *s, long width, struct tensor **in)
{
	struct param_rule a_log = rule_vector(net, FILL_A_LOG, 0, 0, group);
	struct param_rule d = rule_constant(net, 1, group);
	struct param_rule dt = rule_vector(net, FILL_DT_BIAS, s->dt_min, s->dt_max, group);

	in[SCAN_ALOG_IN] = graph_param(net->g, "A_log", tensor_of(REAL, 2, width, s->d_state), &a_log);
	in[SCAN_D_I] = graph_param(net->g, "D", tensor_of(REAL, 1, width), &d);
	in[SCAN_DTBIAS_I] = graph_param(net->g, "dt_proj.bias", tensor_of(REAL, 1, width), &dt);
}

/* W_x u: dt, B and C. */
static void project_dbc(struct net *net, const struct ssm_spec *s, struct tensor *u_BTI, struct tensor *dbc[3])
{
	static const char *const norms[3] = {"dt_layernorm", "b_layernorm", "c_layernorm"};
	long rank = ssm_dt_rank(s, net->s->d_model), n = s->d_state;
	struct tensor *all = mamba_project(net, "x_proj", u_BTI, rank + 2 * n);

	dbc[0] = graph_slice(net->g, all, 0, rank);
	dbc[1] = graph_slice(net->g, all, rank, n);
	dbc[2] = graph_slice(net->g, all, rank + n, n);
	for (int i = 0; s->norm && i < 3; i++)
		dbc[i] = rms_norm_of(net, norms[i], dbc[i]);
}

struct tensor *mamba_ssm(struct net *net, const struct ssm_spec *s, struct tensor *u_BTI,
	struct tensor *z_BTI)
{
	long width = tensor_width(u_BTI), rank = ssm_dt_rank(s, net->s->d_model);
	struct param_rule dt_weight = rule_uniform(net, 1 / sqrt((double)rank), true, group);
	struct tensor *dbc[3], *in[SCAN_CARRIED_N_IN] = {[SCAN_U_BTI] = u_BTI, [SCAN_Z_BTI] = z_BTI,
		[SCAN_START_BT] = net->start_BT};

	project_dbc(net, s, u_BTI, dbc);
	in[SCAN_DTRAW_BTI] = linear(net, "dt_proj", dbc[0], width, &dt_weight, NULL);
	in[SCAN_B_BTN] = dbc[1];
	in[SCAN_C_BTN] = dbc[2];
	ssm_params(net, s, width, in);
	if (!net->env.carry)
		return graph_apply(net->g, &op_scan, NULL, 0, in)[SCAN_Y_BTI];
	in[SCAN_H_BIN] = graph_carried(net->g, "h", tensor_of(MASTER, 3, net->env.batch, width, s->d_state));
	return graph_apply(net->g, net->env.stream ? &op_scan_carried : &op_scan_step, NULL, 0, in)[SCAN_Y_BTI];
}

/* A mixture in place of a projection. there: of the layer's router; NULL: it has its own. */
static struct tensor *mixture(struct net *net, const char *name, const struct mamba_inner *m,
	const struct moe_places *there, bool weighted, struct tensor *x, long out)
{
	return there ? moe_project_there(net, name, m->moe, there, weighted, x, out)
		: moe_project(net, name, m->moe, x, out);
}

/* The two halves of the input projection: one product, or an own layer for each half. */
static void project_in(struct net *net, const struct mamba_inner *m, const struct moe_places *there,
	struct tensor *x_BTD, long width, struct tensor **x_BTI, struct tensor **z_BTI)
{
	const struct inner_spec *inner = m->inner;

	if (!inner || (!inner->conv && !inner->gate)) {
		struct tensor *xz = mamba_project(net, "in_proj", x_BTD, 2 * width);
		*x_BTI = graph_slice(net->g, xz, 0, width);
		*z_BTI = graph_slice(net->g, xz, width, width);
		return;
	}
	*x_BTI = inner->conv ? mixture(net, "conv_moe", m, there, false, x_BTD, width)
		: mamba_project(net, "in_proj", x_BTD, width);
	*z_BTI = inner->gate ? mixture(net, "gate_moe", m, there, false, x_BTD, width)
		: mamba_project(net, "in_proj", x_BTD, width);
}

struct tensor *mamba_with_inner_moe(struct net *net, const void *mamba_inner, struct tensor *x_BTD)
{
	const struct mamba_inner *m = mamba_inner;
	long width = ssm_inner_width(m->ssm, net->s->d_model);
	bool out_moe = m->inner && m->inner->out;
	struct tensor *x_BTI, *z_BTI, *y_BTI, *out_BTD;
	const struct moe_places *there = NULL;

	graph_enter(net->g, "mixer");
	if (m->inner && !strcmp(m->inner->router, "shared"))
		there = moe_route_once(net, m->moe, x_BTD);
	project_in(net, m, there, x_BTD, width, &x_BTI, &z_BTI);
	y_BTI = mamba_ssm(net, m->ssm, mamba_conv(net, m->ssm->d_conv, x_BTI, true), z_BTI);
	out_BTD = out_moe ? mixture(net, "out_moe", m, there, true, y_BTI, net->s->d_model)
		: mamba_project(net, "out_proj", y_BTI, net->s->d_model);
	graph_leave(net->g);
	return out_moe ? out_BTD : net_output(net, "mixer", out_BTD);
}

struct tensor *mamba(struct net *net, const void *ssm_spec, struct tensor *x_BTD)
{
	struct mamba_inner plain = {.ssm = ssm_spec};

	return mamba_with_inner_moe(net, &plain, x_BTD);
}
