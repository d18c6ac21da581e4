#include "nn/mamba3.h"

#include <math.h>

#include "nn/mamba.h"
#include "nn/stream.h"
#include "op/phase.h"
#include "op/ssd_carried.h"
#include "op/swish_gate.h"
#include "op/trapezoid_step.h"
#include "op/turn.h"

static const char group[] = "mixer";

long mamba3_inner_width(const struct mamba3_spec *s, long d_model)
{
	return lround(s->expand * (double)d_model);
}

long mamba3_angles(const struct mamba3_spec *s)
{
	return (long)(s->turned * (double)s->d_state / 2);
}

/* Slices of the input projection, and how many heads there are. */
struct parts {
	struct tensor *z, *u, *B, *C, *dt, *a, *l, *angle;
	long heads;
};

static struct parts project(struct net *net, const struct mamba3_spec *s, struct tensor *x_BTD)
{
	long width = mamba3_inner_width(s, net->s->d_model), heads = width / s->d_head, n = s->n_groups * s->d_state;
	long widths[] = {width, width, n, n, heads, heads, heads, mamba3_angles(s)}, all = 0;
	struct tensor *x, *slice[8];

	for (int i = 0; i < 8; i++)
		all += widths[i];
	x = mamba_project(net, "in_proj", x_BTD, all);
	all = 0;
	for (int i = 0; i < 8; i++) {
		slice[i] = graph_slice(net->g, x, all, widths[i]);
		all += widths[i];
	}
	return (struct parts){slice[0], slice[1], slice[2], slice[3], slice[4], slice[5], slice[6], slice[7], heads};
}

/* Token by token. */
static bool is_decoding(const struct net *net)
{
	return net->env.carry && !net->env.stream;
}

/* phi of each head, which goes on from replay to replay. */
static struct tensor *phases(struct net *net, const struct parts *p, struct tensor *dt_BTH)
{
	struct tensor *in[PHASE_N_IN] = {[PHASE_ANGLE_BTS] = p->angle, [PHASE_DT_BTH] = dt_BTH,
		[PHASE_START_BT] = net->start_BT};

	if (net->env.carry)
		in[PHASE_CARRIED_BHS] = graph_carried(net->g, "phi",
			tensor_of(MASTER, 3, net->env.batch, p->heads, tensor_width(p->angle)));
	return graph_apply(net->g, &op_phase, NULL, 0, in)[PHASE_PHI_BTM];
}

/* B or C of each head: `name` is the letter. */
static struct tensor *turn(struct net *net, const struct mamba3_spec *s, const char *name, struct tensor *x,
	long heads, struct tensor *phi)
{
	struct turn_attr attr = {.n_groups = (int)s->n_groups, .eps = s->norm_eps};
	struct param_rule one = rule_constant(net, 1, group);
	struct tensor *in[TURN_N_IN] = {[TURN_X_BTN] = x, [TURN_PHI_BTM] = phi};
	struct arena *a = graph_arena(net->g);

	in[TURN_WEIGHT_N] = graph_param(net->g, arena_printf(a, "%s_norm.weight", name),
		tensor_of(REAL, 1, s->d_state), &one);
	in[TURN_BIAS_HN] = graph_param(net->g, arena_printf(a, "%s_bias", name),
		tensor_of(REAL, 2, heads, s->d_state), &one);
	return graph_apply(net->g, &op_turn, &attr, sizeof attr, in)[TURN_Y_BTM];
}

/* With weights that know of the next token. steps: outputs of op_trapezoid. On streams the last token of the
   replay before stands in front, since the first one takes of it, and start_BT is of as many rows. */
static struct tensor *recurrence(struct net *net, const struct mamba3_spec *s, const struct parts *p,
	struct tensor *B, struct tensor *C, struct tensor *D_H, struct tensor *start_BT, struct tensor *const *steps)
{
	struct ssd_attr attr = {.n_groups = (int)p->heads, .chunk = SSD_CHUNK};
	struct tensor *in[SSD_CARRIED_N_IN] = {[SSD_X_BTI] = p->u, [SSD_B_BTN] = B, [SSD_C_BTN] = C, [SSD_D_H] = D_H,
		[SSD_START_BT] = start_BT, [SSD_DECAY_BTH] = steps[TRAPEZOID_DECAY_BTH],
		[SSD_WEIGHT_BTH] = steps[TRAPEZOID_WEIGHT_BTH], [SSD_OWN_BTH] = steps[TRAPEZOID_OWN_BTH]};

	if (!net->env.stream)
		return graph_apply(net->g, &op_ssd, &attr, sizeof attr, in)[SSD_Y_BTI];
	in[SSD_X_BTI] = stream_extend(net, "past_x", p->u, 1);
	in[SSD_B_BTN] = stream_extend(net, "past_B", B, 1);
	in[SSD_C_BTN] = stream_extend(net, NULL, C, 1);
	in[SSD_H_BIN] = graph_carried(net->g, "h",
		tensor_of(MASTER, 3, net->env.batch, tensor_width(p->u), s->d_state));
	return stream_latest(net, graph_apply(net->g, &op_ssd_carried, &attr, sizeof attr, in)[SSD_Y_BTI], 1);
}

/* in: inputs of op_trapezoid, room for the others. */
static struct tensor *recurrence_step(struct net *net, const struct mamba3_spec *s, const struct parts *p,
	struct tensor *B, struct tensor *C, struct tensor *D_H, struct tensor **in)
{
	long batch = net->env.batch, width = tensor_width(p->u);

	in[TRAPEZOID_STEP_X_BTI] = p->u;
	in[TRAPEZOID_STEP_B_BTM] = B;
	in[TRAPEZOID_STEP_C_BTM] = C;
	in[TRAPEZOID_STEP_D_H] = D_H;
	in[TRAPEZOID_STEP_H_BIN] = graph_carried(net->g, "h", tensor_of(MASTER, 3, batch, width, s->d_state));
	in[TRAPEZOID_STEP_PASTX_BI] = graph_carried(net->g, "past_x", tensor_of(REAL, 2, batch, width));
	in[TRAPEZOID_STEP_PASTB_BM] = graph_carried(net->g, "past_B", tensor_of(REAL, 2, batch, tensor_width(B)));
	return graph_apply(net->g, &op_trapezoid_step, NULL, 0, in)[TRAPEZOID_STEP_Y_BTI];
}

static struct tensor *mix_tokens(struct net *net, const struct mamba3_spec *s, const struct parts *p)
{
	struct param_rule dt_bias = rule_vector(net, FILL_DT_BIAS, s->dt_min, s->dt_max, group);
	struct param_rule one = rule_constant(net, 1, group);
	struct tensor shape = tensor_of(REAL, 1, p->heads), *const *steps, *phi, *B, *C, *D_H;
	struct tensor *start_BT = net->start_BT;
	struct trapezoid_attr attr = {net->env.stream};
	struct tensor *in[TRAPEZOID_STEP_N_IN] = {[TRAPEZOID_DTRAW_BTH] = p->dt, [TRAPEZOID_ARAW_BTH] = p->a,
		[TRAPEZOID_LRAW_BTH] = p->l};

	in[TRAPEZOID_DTBIAS_H] = graph_param(net->g, "dt_bias", shape, &dt_bias);
	if (net->env.stream)
		start_BT = stream_start(net, 1, EXTEND_HELD);
	in[TRAPEZOID_START_BT] = is_decoding(net) ? NULL : start_BT;	/* then step sizes alone are read */
	steps = graph_apply(net->g, &op_trapezoid, &attr, sizeof attr, in);
	in[TRAPEZOID_START_BT] = net->start_BT;
	phi = phases(net, p, steps[TRAPEZOID_DT_BTH]);
	B = turn(net, s, "B", p->B, p->heads, phi);
	C = turn(net, s, "C", p->C, p->heads, phi);
	D_H = graph_param(net->g, "D", shape, &one);
	return is_decoding(net) ? recurrence_step(net, s, p, B, C, D_H, in)
		: recurrence(net, s, p, B, C, D_H, start_BT, steps);
}

struct tensor *mamba3(struct net *net, const void *mamba3_spec, struct tensor *x_BTD)
{
	const struct mamba3_spec *s = mamba3_spec;
	struct tensor *in[SWISH_GATE_N_IN], *y_BTI;
	struct parts p;

	graph_enter(net->g, "mixer");
	p = project(net, s, x_BTD);
	in[SWISH_GATE_X_BTI] = mix_tokens(net, s, &p);
	in[SWISH_GATE_Z_BTI] = p.z;
	y_BTI = graph_apply(net->g, &op_swish_gate, NULL, 0, in)[SWISH_GATE_Y_BTI];
	y_BTI = mamba_project_out(net, y_BTI, s->rescale);
	graph_leave(net->g);
	return net_output(net, "mixer", y_BTI);
}
