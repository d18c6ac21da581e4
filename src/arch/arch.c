#include "arch/arch.h"

#include <stdio.h>
#include <string.h>

#include "arch/check.h"
#include "arch/fields.h"
#include "arch/refuse.h"
#include "arch/routers.h"
#include "base/error.h"
#include "base/num.h"
#include "op/assign.h"
#include "op/copied.h"
#include "op/extend_start.h"
#include "op/moba.h"
#include "op/position_weight.h"
#include "op/rope.h"
#include "spec/run_spec.h"

#define X(name) extern const struct arch arch_##name;
#include "arch.inc"
#undef X

const struct arch *const arch_list[] = {
#define X(name) &arch_##name,
#include "arch.inc"
#undef X
	NULL,
};

enum { MAX_ARCHES = ARRAY_SIZE(arch_list), MAX_PRESETS = 128 };

/* Presets of runs, then those of routers. */
static int join_presets(struct preset *all)
{
	CHECK(n_run_presets + n_router_presets <= MAX_PRESETS);
	memcpy(all, run_presets, (size_t)n_run_presets * sizeof *all);
	memcpy(all + n_run_presets, router_presets, (size_t)n_router_presets * sizeof *all);
	return n_run_presets + n_router_presets;
}

const struct schema *spec_schema(void)
{
	static const struct field_table *tables[MAX_ARCHES][ARCH_MAX_PARTS + 1];
	static struct schema_choice choices[MAX_ARCHES];
	static const struct field_table *const common[] = {&run_fields, NULL};
	static struct preset presets[MAX_PRESETS];
	static struct schema schema = {.common = common, .selector = "model.arch", .choices = choices,
		.presets = presets};

	if (schema.n_choices)
		return &schema;
	for (int i = 0; arch_list[i]; i++) {
		for (int k = 0; k < ARCH_MAX_PARTS; k++)
			tables[i][k] = arch_list[i]->parts[k].table;
		choices[i] = (struct schema_choice){arch_list[i]->name, arch_list[i]->help, tables[i]};
		schema.n_choices++;
	}
	schema.n_presets = join_presets(presets);
	return &schema;
}

static const struct arch *arch_find(const char *name)
{
	for (int i = 0; arch_list[i]; i++)
		if (!strcmp(arch_list[i]->name, name))
			return arch_list[i];
	BUG("no architecture \"%s\"", name);
}

static const struct skeleton *model_skeleton(const struct model *m)
{
	return m->spec;		/* each spec begins with it */
}

/* Parts of which a model has one, so that every layer reads it; layers of a pattern are checked one by one. */
static int check_layers(const struct model *m, const struct config *c)
{
	const struct skeleton *s = model_skeleton(m);

	for (const struct arch_part *p = m->arch->parts; p->table; p++) {
		const void *part = (const char *)m->spec + p->offset;
		if ((p->table == &attn_fields && check_heads(c, s, part)) ||
			(p->table == &mamba2_fields && check_mamba2(c, s, part)))
			return -1;
	}
	return 0;
}

int model_open(struct model *m, const struct config *c, struct arena *a)
{
	bool pattern = config_find(c, "model.pattern");

	m->arch = arch_find(c->choice);
	m->spec = arena_get(a, m->arch->spec_bytes);
	for (const struct arch_part *p = m->arch->parts; p->table; p++) {
		void *part = (char *)m->spec + p->offset;
		config_bind(c, p->table, part);
		if (p->table == &ssm_fields && check_ssm(c, model_skeleton(m), part))
			return -1;
		if ((!pattern || p->table == &skeleton_fields) &&
			check_part_effect(c, p->table, part, NULL, a))
			return -1;
		if (p->table == &moe_fields && (check_moe(c, part) ||
			(!pattern && check_effect(c, part, NULL, a))))
			return -1;
	}
	m->patch = model_skeleton(m)->patch ? model_skeleton(m)->patch : 1;
	m->forecasts = net_forecasts(model_skeleton(m));
	if (check_ends(c, model_skeleton(m)) || (!pattern && check_layers(m, c)))
		return -1;
	return m->arch->check ? m->arch->check(m->spec, c, a) : 0;
}

/* An operator that is told where documents begin mixes tokens, but for those that only ask for places; of copied
   op/remember.h carries. */
static bool mixes_tokens(const struct graph_node_info *n, const struct tensor *start_BT, bool *carries)
{
	bool mixes = false, places = n->op == &op_rope || n->op == &op_position_weight ||
		n->op == &op_extend_start || n->op == &op_assign || n->op == &op_copied;

	*carries = false;
	for (int i = 0; i < n->op->n_in; i++) {
		const struct tensor *x = n->shapes->in[i];
		mixes |= x && x->id == start_BT->id && !places;
		*carries |= x && (n->op->in[i].flags & IN_UPDATED);
	}
	return mixes;
}

/* From replay to replay every operator that mixes tokens must carry something on. */
static int check_carried(const struct net *net, const struct config *c)
{
	for (int i = 0; net->env.carry && i < graph_n_nodes(net->g); i++) {
		struct graph_node_info n = graph_node_info(net->g, i);
		bool carries;
		if (!mixes_tokens(&n, net->start_BT, &carries) || carries)
			continue;
		return net->env.stream
			? refuse(c, "%s: operator %s carries nothing from window to window yet: set data.sampling=shuffle",
				n.name, n.op->name)
			: refuse(c, "%s: operator %s carries nothing from token to token yet, so the model cannot be run "
				"a token at a time", n.name, n.op->name);
	}
	return 0;
}

/* Sequences at once that are no whole groups of mixed tokens: in decoding, on a trained model, in training. */
static int refuse_alone(const struct net *net, const struct config *c)
{
	const struct net_env *env = &net->env;
	const char *eval = "`moelab eval RUN --length 1x --tokens N` measures it, N a multiple of";
	char what[128];

	snprintf(what, sizeof what, "model.moe.select tokens mixes %ld sequences (group_sequences), and %ld at once "
		"are no whole groups", net->alone, env->batch);
	if (env->carry && !env->stream)
		return refuse(c, "%s: such a model writes no text (set samples.every to 0); %s %ld x train.context",
			what, eval, net->alone);
	if (env->masked && env->dropless)
		return refuse(c, "%s: %s %ld x train.context", what, eval, net->alone);
	return refuse(c, "%s: set train.batch and train.micro_batch to multiples of it, for test sets of longer rows to "
		"larger ones", what);
}

/* What layers found that does not go together. 0, or -1 after a message. */
static int check_recorded(const struct net *net, const struct config *c)
{
	const struct net_env *env = &net->env;

	if (net->n_routers > NET_ROUTERS_MAX)
		return refuse(c, "%d mixtures of experts in one model, at most %d are possible: lower model.n_blocks",
			net->n_routers, NET_ROUTERS_MAX);
	if (net->untaught)
		return refuse(c, "model.moe.select sample is taught by the loss of each token, and a forecast has none: set "
			"model.moe.router to another one");
	if (net->crowded)
		return refuse(c, "%ld tokens have more segments of model.attn.segment than a token can choose among, %d: set "
			"it to %ld or more, or take fewer tokens at once", net->crowded,
			MOBA_MAX_SEGMENTS, ceil_div(net->crowded, MOBA_MAX_SEGMENTS));
	if (net->alone)
		return refuse_alone(net, c);
	if (net->split)
		return refuse(c, "model.moe.balance_scope step takes losses of a router over the %ld tokens of a batch, and "
			"a micro-batch has %ld: set train.micro_batch to 0, or balance_scope to group or sequence",
			net->split, env->batch * env->context);
	if (net->misfit)
		return refuse(c, "a micro-batch of %ld tokens does not hold whole routing groups of %ld: "
			"set train.batch and train.micro_batch to multiples of %ld sequences, or model.moe.group_tokens "
			"(of groups across sequences group_sequences) to a divisor of a micro-batch",
			env->batch * env->context, net->misfit, net->misfit / common_divisor(net->misfit, env->context));
	return check_carried(net, c);
}

int model_record(struct model *m, struct graph *g, struct net_env env, const struct config *c)
{
	struct net *net = ARENA_NEW(graph_arena(g), struct net);

	if (env.carry && model_skeleton(m)->patch)
		return refuse(c, "model.patch: the model reads values and answers once, so it is not run a token at a time, "
			"and writes no text");
	if (env.context % m->patch)
		return refuse(c, "rows of %ld values are no whole positions of model.patch %ld: set it to a divisor",
			env.context, m->patch);
	net_begin(net, g, model_skeleton(m), env);
	m->arch->record(net, m->spec);
	net_end(net);
	m->depends = (const char *[]){"A", "B", "F"}[net->depends];
	m->rule = net->rule;
	m->raised = net->raised;
	m->scarce = net->scarce;
	return check_recorded(net, c);
}
