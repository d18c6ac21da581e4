#include "nn/moe.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "nn/moe_route.h"
#include "op/combine.h"
#include "op/dispatch.h"
#include "op/emit.h"
#include "op/experts.h"
#include "op/merge.h"
#include "op/share.h"

/* ---- what a spec says ----------------------------------------------------------------------- */

bool moe_moves_capacity(const struct moe_spec *s)
{
	return s->drop_target > 0 || s->capacity_decay > 0;
}

bool moe_takes(const struct moe_spec *s)
{
	return !strcmp(s->select, "expert_choice") || !strcmp(s->select, "expert_choice_batch");
}

bool moe_mixes(const struct moe_spec *s)
{
	return !strcmp(s->select, "tokens");
}

bool moe_has_losses(const struct moe_spec *s)
{
	return s->balance != 0 || s->z_loss != 0 || s->importance != 0 || s->mean_entropy != 0 ||
		s->token_entropy != 0 || s->load != 0;
}

long moe_choices(const struct moe_spec *s)
{
	return !strcmp(s->select, "threshold") ? min_long(s->max_k, s->n_experts) : s->top_k;
}

bool moe_holds_all(const struct moe_spec *s)
{
	return s->capacity_factor == 0 ||
		(floor(s->capacity_factor) * (double)s->top_k >= (double)s->n_experts &&
		!moe_moves_capacity(s));
}

enum moe_class moe_class(const struct moe_spec *s, long context)
{
	if (moe_mixes(s))
		return MOE_OTHERS;
	if (moe_takes(s))
		return !strcmp(s->select, "expert_choice") ? MOE_FUTURE : MOE_OTHERS;
	if (moe_holds_all(s))
		return MOE_OWN_PAST;
	if (!strcmp(s->order, "gate") || (!strcmp(s->order, "choice") && moe_choices(s) * s->granularity > 1))
		return MOE_FUTURE;
	return s->group_tokens && context % s->group_tokens == 0 ? MOE_OWN_PAST : MOE_OTHERS;
}

long moe_width(const struct moe_spec *s, long d_model)
{
	return s->d_expert ? s->d_expert : 3 * d_model;
}

enum { MOST_OF_PROPORTION = 1 << 16 };

/* Numbers of "9:11:13"; 0: it is no such text. first: their sums. */
static int read_proportions(const char *text, long first[UNITS_MAX + 1])
{
	int n = 0;

	for (first[0] = 0; n < UNITS_MAX; text++) {
		char *end;
		long v = isdigit((unsigned char)*text) ? strtol(text, &end, 10) : 0;
		if (v < 1 || v > MOST_OF_PROPORTION)
			return 0;
		first[n + 1] = first[n] + v;
		n++;
		text = end;
		if (*text != ':')
			return *text ? 0 : n;
	}
	return 0;
}

/* Borders are rounded down, so that all have the units that equal experts would have. */
const char *moe_units(const struct moe_spec *s, long d_model, struct units *u)
{
	long first[UNITS_MAX + 1], width = moe_width(s, d_model) / s->granularity;
	int n = read_proportions(s->expert_sizes, first);
	bool equal = true;

	*u = (struct units){.n = n};
	if (*s->expert_sizes && !n)
		return "no proportions as 9:11:13 are, of at most 64 whole numbers from 1 to 65536";
	if (n && s->n_experts % n)
		return "the number of widths must divide model.moe.n_experts";
	for (int i = 0; i < n; i++) {
		u->first[i + 1] = (int)(n * width * first[i + 1] / first[n]);
		if (u->first[i + 1] == u->first[i])
			return "an expert would have no hidden unit: raise model.moe.d_expert, the mean width";
		equal &= u->first[i + 1] == (i + 1) * width;
	}
	if (equal)
		*u = (struct units){0};
	return NULL;
}

/* The experts as they are made. */
static struct moe_spec granular(const struct net *net, const struct moe_spec *s)
{
	struct moe_spec made = *s;
	long G = s->granularity;

	made.granularity = 1;
	made.d_expert = moe_width(s, net->s->d_model) / G;
	made.n_experts *= G;
	made.top_k *= G;
	made.max_k *= G;
	if (moe_takes(s))
		made.capacity_factor *= (double)G;
	return made;
}

/* ---- experts -------------------------------------------------------------------------------- */

static struct tensor *gather(struct net *net, struct tensor *x_BTD, const struct moe_places *p)
{
	struct tensor *in[DISPATCH_N_IN] = {[DISPATCH_X_BTD] = x_BTD,
		[DISPATCH_SLOT_BTK] = p->slot, [DISPATCH_FIRST_E1] = p->first,
		[DISPATCH_TOKEN_S] = p->token};

	return graph_apply(net->g, &op_dispatch, NULL, 0, in)[DISPATCH_XE_SD];
}

/* What the std of the second matrix is made from. */
static double fan_in(const struct moe_spec *s, long f)
{
	if (!strcmp(s->init_fan, "all_experts"))
		return (double)(s->n_experts * f);
	if (!strcmp(s->init_fan, "chosen"))
		return (moe_takes(s) ? s->capacity_factor : (double)s->top_k) * (double)f;
	return (double)f;
}

static bool is_linear(const struct moe_spec *s)
{
	return !strcmp(s->expert, "linear");
}

/* A weight of all experts, of which a token uses those of its choices. */
static struct tensor *expert_weight(struct net *net, const struct moe_spec *s, const struct moe_places *p,
	const char *name, struct tensor shape, struct param_rule rule)
{
	rule.active = p->choices;
	rule.of = s->n_experts * net->env.batch * net->env.context;
	return graph_param(net->g, name, shape, &rule);
}

static struct tensor *experts(struct net *net, const struct moe_spec *s, struct tensor *xe_SD,
	const struct moe_places *p, long width_out)
{
	struct experts_attr attr = {.fn = act_fn_find(s->activation), .tokens = p->choices,
		.gated = !strcmp(s->expert, "gated")};
	long f = s->d_expert, width_in = tensor_width(xe_SD), E = s->n_experts, U = E * f, per = attr.gated ? 2 : 1;
	struct tensor *in[EXPERTS_N_IN] = {[EXPERTS_XE_SD] = xe_SD, [EXPERTS_FIRST_E1] = p->first};
	struct tensor w1 = tensor_of(REAL, 3, E, per * f, width_in), w2 = tensor_of(REAL, 3, E, width_out, f);

	if (is_linear(s)) {
		in[EXPERTS_W2_EOF] = expert_weight(net, s, p, "w", tensor_of(REAL, 3, E, width_out, width_in),
			rule_uniform(net, 1 / sqrt((double)width_in), true, "experts"));
		return graph_apply(net->g, &op_experts, &attr, sizeof attr, in)[EXPERTS_YE_SO];
	}
	CHECK(!moe_units(s, net->s->d_model, &attr.units));
	if (attr.units.n) {
		w1 = tensor_of(REAL, 2, per * U, width_in);
		w2 = tensor_of(REAL, 2, width_out, U);
	}
	in[EXPERTS_W1_EHD] = expert_weight(net, s, p, "w1", w1, rule_normal(net, (double)width_in, "experts"));
	in[EXPERTS_W2_EOF] = expert_weight(net, s, p, "w2", w2, rule_normal(net, fan_in(s, f), "experts"));
	return graph_apply(net->g, &op_experts, &attr, sizeof attr, in)[EXPERTS_YE_SO];
}

/* ---- tokens go to experts ------------------------------------------------------------------- */

static struct tensor *send_tokens(struct net *net, const struct moe_spec *s, const struct moe_places *p,
	struct tensor *gate, struct tensor *x_BTD, long out)
{
	struct combine_attr attr = {p->choices};
	struct tensor *in[COMBINE_N_IN] = {[COMBINE_SLOT_BTK] = p->slot, [COMBINE_GATE_BTK] = gate,
		[COMBINE_FIRST_E1] = p->first, [COMBINE_TOKEN_S] = p->token};

	in[COMBINE_YE_SO] = experts(net, s, gather(net, x_BTD, p), p, out);
	return graph_apply(net->g, &op_combine, &attr, sizeof attr, in)[COMBINE_Y_BTO];
}

/* ---- or mixtures of tokens do --------------------------------------------------------------- */

/* Of tokens that no sequence beside theirs would complete, model_record() tells. */
static long group_sequences(struct net *net, const struct moe_spec *s)
{
	net->scarce = max_long(net->scarce, s->group_sequences * net->env.context);
	if (net->env.batch % s->group_sequences == 0)
		return s->group_sequences;
	net->alone = s->group_sequences;
	return 1;
}

static struct tensor *mix_tokens(struct net *net, const struct moe_spec *s, struct tensor *x_BTD, long out)
{
	struct share_attr share = {group_sequences(net, s), s->temperature};
	struct merge_attr group = {share.members};
	struct tensor *in[SHARE_N_IN] = {[SHARE_LOGIT_BTE] = moe_logits(net, s, x_BTD),
		[SHARE_MASK_BT] = net->mask_BT}, *s_BTE, *y_EGO, *const *merged;
	struct moe_places p = {.choices = tensor_rows(x_BTD) / group.members * s->n_experts};

	s_BTE = graph_apply(net->g, &op_share, &share, sizeof share, in)[SHARE_S_BTE];
	merged = graph_apply(net->g, &op_merge, &group, sizeof group,
		(struct tensor *[MERGE_N_IN]){[MERGE_X_BTD] = x_BTD, [MERGE_S_BTE] = s_BTE});
	p.first = merged[MERGE_FIRST_E1];
	y_EGO = experts(net, s, merged[MERGE_XE_EGD], &p, out);
	return graph_apply(net->g, &op_emit, &group, sizeof group,
		(struct tensor *[EMIT_N_IN]){[EMIT_YE_EGO] = y_EGO, [EMIT_S_BTE] = s_BTE})[EMIT_Y_BTO];
}

/* ---- and beside both ------------------------------------------------------------------------ */

static struct tensor *shared_experts(struct net *net, const struct moe_spec *s, struct tensor *x_BTD, long out)
{
	bool gated = !strcmp(s->expert, "gated");
	long width = s->n_shared * s->d_expert;
	struct param_rule w1 = rule_normal(net, (double)tensor_width(x_BTD), "experts"),
		w2 = rule_normal(net, (double)width, "experts");
	struct tensor *h_BTF = linear(net, "shared.in", x_BTD, gated ? 2 * width : width, &w1, NULL);

	h_BTF = activation(net, s->activation, gated, h_BTF);
	return linear(net, "shared.out", h_BTF, out, &w2, NULL);
}

static void note_class(struct net *net, const struct moe_spec *s)
{
	net->depends = (int)max_long(moe_class(s, net->env.context), net->depends);
}

struct moe_places *moe_route_once(struct net *net, const struct moe_spec *spec, struct tensor *x_BTD)
{
	struct moe_places *p = ARENA_NEW(graph_arena(net->g), struct moe_places);
	struct moe_spec s = granular(net, spec);

	note_class(net, &s);
	moe_route(net, &s, x_BTD, true, p);
	return p;
}

struct tensor *moe_project_there(struct net *net, const char *name, const struct moe_spec *spec,
	const struct moe_places *there, bool weighted, struct tensor *x_BTD, long out)
{
	struct moe_spec s = granular(net, spec);
	struct tensor *y;

	graph_enter(net->g, "%s", name);
	y = send_tokens(net, &s, there, weighted ? there->gate : there->one, x_BTD, out);
	graph_leave(net->g);
	return net_output(net, name, y);
}

struct tensor *moe_project(struct net *net, const char *name, const struct moe_spec *spec,
	struct tensor *x_BTD, long out)
{
	struct moe_spec s = granular(net, spec);
	struct moe_places p;
	struct tensor *y;

	note_class(net, &s);
	graph_enter(net->g, "%s", name);
	if (moe_mixes(&s)) {
		y = mix_tokens(net, &s, x_BTD, out);
	} else {
		moe_route(net, &s, x_BTD, false, &p);
		y = send_tokens(net, &s, &p, p.gate, x_BTD, out);
	}
	if (s.n_shared)
		y = plus(net, y, shared_experts(net, &s, x_BTD, out));
	graph_leave(net->g);
	return net_output(net, name, y);
}

struct tensor *moe(struct net *net, const void *moe_spec, struct tensor *x_BTD)
{
	struct tensor *y_BTD = moe_project(net, "moe", moe_spec, x_BTD, net->s->d_model);

	return ((const struct moe_spec *)moe_spec)->out_norm ? norm_of(net, "moe.norm", y_BTD, NULL) : y_BTD;
}
