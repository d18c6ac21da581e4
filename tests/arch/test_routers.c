/*
 * Routers by name, and what each lets a token's output depend on: its own past (A), other sequences of
 * the batch (B), its own future (F). Classes are measured: a token is changed, and the losses that
 * change are looked up: bit for bit on the device of formulas, on the CPU beyond rounding, for a product's
 * bits may depend on how many other rows it has.
 */
#include "mixture_specs.h"
#include "rig.h"

#include "arch/routers.h"
#include "base/cpu.h"
#include "refused.h"
#include "nn/moe.h"

enum { B = 3, T = 16, N = B * T };

static const struct {
	const char *name, *spec;
	enum moe_class class;
} rules[] = {
	{"switch, over the batch", MIXTURE "capacity_factor: 0.5, group_tokens: 48}}", MOE_OTHERS},
	{"switch, by sequence", MIXTURE "capacity_factor: 0.5, group_tokens: 16}}", MOE_OWN_PAST},
	{"switch, dropless", MIXTURE "capacity_factor: 0}}", MOE_OWN_PAST},
	{"switch, capacity moved", MIXTURE "capacity_factor: 0.5, group_tokens: 16, drop_target: 0.1}}",
		MOE_OWN_PAST},
	{"one expert", "{model: {arch: transformer_moe, d_model: 8, n_blocks: 2, attn: {n_heads: 2}, moe: {n_experts: 1, "
		"d_expert: 6, group_tokens: 48}}", MOE_OWN_PAST},
	{"switch, capacity for all", MIXTURE "capacity_factor: 4, group_tokens: 48}}", MOE_OWN_PAST},
	{"switch, capacity for less", MIXTURE "capacity_factor: 1.5, group_tokens: 48}}", MOE_OTHERS},
	{"switch, capacity falling", MIXTURE "capacity_factor: 1.5, capacity_decay: 0.1, group_tokens: 48}}", MOE_OTHERS},
	{"topk", MIXTURE "router: topk}}", MOE_OWN_PAST},
	{"hmoe", MIXTURE "router: hmoe, expert_sizes: 1:3}}", MOE_OWN_PAST},
	{"unequal with capacity", MIXTURE "expert_sizes: 1:3, capacity_factor: 0.5, group_tokens: 48}}", MOE_OTHERS},
	{"topk with capacity", MIXTURE "router: topk, capacity_factor: 0.5, group_tokens: 48}}",
		MOE_OTHERS},
	{"gshard, over the batch", MIXTURE "router: gshard, capacity_factor: 0.5, allow_future: true, "
		"group_tokens: 48}}", MOE_FUTURE},
	{"gshard, by sequence", MIXTURE "router: gshard, capacity_factor: 0.5, allow_future: true, "
		"group_tokens: 16}}", MOE_FUTURE},
	{"gshard, capacity for all", MIXTURE "router: gshard, capacity_factor: 2, group_tokens: 48}}", MOE_OWN_PAST},
	{"gshard, dropless", MIXTURE "router: gshard, capacity_factor: 0}}", MOE_OWN_PAST},
	{"by score, one choice", MIXTURE "order: gate, capacity_factor: 0.5, allow_future: true, group_tokens: 16}}",
		MOE_FUTURE},
	{"next best, by sequence", MIXTURE "overflow: next, capacity_factor: 0.5, top_k: 2, group_tokens: 16}}", MOE_OWN_PAST},
	{"next best, over the batch", MIXTURE "overflow: next, group_tokens: 48}}", MOE_OTHERS},
	{"sigmoid_bias", MIXTURE "router: sigmoid_bias}}", MOE_OWN_PAST},
	{"noisy", MIXTURE "router: noisy}}", MOE_OWN_PAST},
	{"gumbel", MIXTURE "router: gumbel}}", MOE_OWN_PAST},
	{"jitter, over the batch", MIXTURE "noise: jitter, noise_scale: 0.5, capacity_factor: 0.5, "
		"group_tokens: 48}}", MOE_OTHERS},
	{"expert_choice, in time", MIXTURE "router: expert_choice, allow_future: true, group_tokens: 16}}",
		MOE_FUTURE},
	{"expert_choice, over all tokens", MIXTURE "router: expert_choice, allow_future: true}}", MOE_FUTURE},
	{"expert_choice_batch", MIXTURE "router: expert_choice_batch, capacity_factor: 1}}", MOE_OTHERS},
	{"tokens", MIXTURE "router: tokens, group_sequences: 3}}", MOE_OTHERS},
	{"topp", MIXTURE "router: topp, balance_scope: sequence}}", MOE_OWN_PAST},
	{"topp with capacity", MIXTURE "router: topp, capacity_factor: 0.2, group_tokens: 48}}", MOE_OTHERS},
	{"threshold", MIXTURE "router: threshold}}", MOE_OWN_PAST},
	{"threshold with capacity, firsts first", MIXTURE "router: threshold, capacity_factor: 0.5, "
		"order: choice, allow_future: true, group_tokens: 16}}", MOE_FUTURE},
	{"reinforce", MIXTURE "router: reinforce, balance_scope: sequence}}", MOE_OWN_PAST},
	{"fixed", MIXTURE "router: fixed}}", MOE_OWN_PAST},
	{"gshard by granularity", MIXTURE "order: choice, weight: renorm, granularity: 2, group_tokens: 16, "
		"capacity_factor: 0.5, allow_future: true}}", MOE_FUTURE},
	{"one router", INNER "conv: true, gate: true, out: true}, moe: {n_experts: 4, expert: linear, "
		"capacity_factor: 0}}", MOE_OWN_PAST},
	{"shared experts", MIXTURE "n_shared: 2, router: topk, granularity: 2}}", MOE_OWN_PAST},
	{"hash", MIXTURE "router: hash, top_k: 2}}", MOE_OWN_PAST},
	{"random", MIXTURE "router: random}}", MOE_OWN_PAST},
};

static void losses_of(struct rig *rig, double *nll)
{
	rig_loss(rig);
	graph_read_all(rig->g, "nll", nll);
}

#define ROUNDING 1e-5	/* of float32 losses, which are about 2 */

/* What a change of any token does; a change of its own future in a sequence is the worst. */
static enum moe_class measured(struct rig *rig, double limit)
{
	double before[N], after[N];
	enum moe_class worst = MOE_OWN_PAST;

	losses_of(rig, before);
	for (int at = 0; at < N; at++) {
		int old = rig->tokens[at];
		rig->tokens[at] = (old + 7) % VOCAB;
		losses_of(rig, after);
		rig->tokens[at] = old;
		for (int i = 0; i < N; i++) {
			if (fabs(before[i] - after[i]) <= limit)
				continue;
			if (i / T == at / T && i < at)
				worst = MOE_FUTURE;
			else if (i / T != at / T && worst == MOE_OWN_PAST)
				worst = MOE_OTHERS;
		}
	}
	return worst;
}

static const struct moe_spec *moe_of(const struct rig *rig)
{
	for (const struct arch_part *p = rig->model.arch->parts; p->table; p++)
		if (!strcmp(p->table->rows[0].key, "model.moe.n_experts"))
			return (const void *)((const char *)rig->model.spec + p->offset);
	fail_msg("the model has no mixture");
	return NULL;
}

static void test_classes(void **state)
{
	(void)state;
	for (size_t k = 0; k < 2 * ARRAY_SIZE(rules); k++) {
		enum moe_class class = rules[k / 2].class;
		enum device_id device = k % 2 ? REF : CPU;
		struct rig rig;
		rig_open(&rig, rules[k / 2].spec, (struct rig_options){.device = device, .batch = B, .context = T,
			.noise = true});
		enum moe_class says = moe_class(moe_of(&rig), T), is = measured(&rig, device == REF ? 0 : ROUNDING);
		if (says != class || is != says)
			fail_msg("%s on %s: expected class %d, says %d, is %d", rules[k / 2].name,
				device_list[device].name, class, says, is);
		rig_close(&rig);
	}
}

/* The one operator of Switch routing knows places by token and drops alone. */
static void test_rules_that_switch_routing_lacks(void **state)
{
	static const char *const specs[] = {MIXTURE "capacity_factor: 0.5, group_tokens: 48}}",
		MIXTURE "capacity_factor: 0.5, group_tokens: 48, order: gate, allow_future: true}}",
		MIXTURE "capacity_factor: 0.5, group_tokens: 48, overflow: next}}"};
	double nll[ARRAY_SIZE(specs)][N];

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(specs); k++) {
		struct rig rig;
		rig_open(&rig, specs[k], (struct rig_options){.device = REF, .batch = B, .context = T});
		losses_of(&rig, nll[k]);
		rig_close(&rig);
		assert_true(k == 0 || memcmp(nll[0], nll[k], sizeof nll[0]));
	}
}

/* A capacity for all choices is none while nothing moves it. */
static void test_capacity_for_all_may_shrink(void **state)
{
	struct rig rig;

	(void)state;
	for (int k = 0; k < 2; k++) {
		rig_open(&rig, k ? MIXTURE "capacity_factor: 4, group_tokens: 48, capacity_decay: 0.1}}"
			: MIXTURE "capacity_factor: 4, group_tokens: 48, drop_target: 0.1}}",
			(struct rig_options){.device = REF, .batch = B, .context = T});
		assert_int_equal(moe_class(moe_of(&rig), T), MOE_OTHERS);
		rig_close(&rig);
	}
}

/* Picked tokens take rows of a sequence, the earlier ones first: also where rows are too few. */
static void test_picks_depend_on_the_own_past(void **state)
{
	static const char *const specs[] = {"share: 0.5, capacity_factor: 1", "share: 0.125, capacity_factor: 2"};

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(specs); k++) {
		char spec[256];
		struct rig rig;
		snprintf(spec, sizeof spec, "{model: {arch: stack, d_model: 8, n_blocks: 2, attn: {n_heads: 2}, "
			"ffn: {d_hidden: 6}, mod: {%s}, pattern: [mamba, {mod: [attn, ffn]}]}", specs[k]);
		rig_open(&rig, spec, (struct rig_options){.device = CPU, .batch = B, .context = T, .noise = true});
		assert_int_equal(measured(&rig, ROUNDING), MOE_OWN_PAST);
		rig_close(&rig);
	}
}

/* Experts that choose do it by the past alone where nothing has a group, and in evaluation where groups
   are in time. */
static void test_cutoffs_know_the_past_alone(void **state)
{
	static const struct {
		const char *spec;
		bool masked, dropless;
		enum moe_class class;
	} cases[] = {
		{MIXTURE "router: expert_choice, allow_future: true}}", true, false, MOE_OWN_PAST},
		{MIXTURE "router: expert_choice, allow_future: true}}", true, true, MOE_OWN_PAST},
		{MIXTURE "router: expert_choice_batch, capacity_factor: 1}}", true, false, MOE_OTHERS},
		{MIXTURE "router: expert_choice_batch, capacity_factor: 1}}", true, true, MOE_OWN_PAST},
	};

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
		struct rig rig;
		rig_open(&rig, cases[k].spec, (struct rig_options){.device = CPU, .batch = B, .context = T,
			.masked = cases[k].masked, .dropless = cases[k].dropless});
		assert_int_equal(measured(&rig, ROUNDING), cases[k].class);
		rig_close(&rig);
	}
}

/* Whoever adds a name says what its tokens depend on; switch is what rows without a name have. */
static void test_every_name_is_measured(void **state)
{
	char names[] = ROUTER_CHOICES, *rest = names, row[64];

	(void)state;
	for (char *name; (name = strsep(&rest, "|"));) {
		bool found = !strcmp(name, "switch");
		snprintf(row, sizeof row, "router: %s", name);
		for (size_t k = 0; k < ARRAY_SIZE(rules) && !found; k++) {
			const char *at = strstr(rules[k].spec, row);
			found = at && strchr(",}", at[strlen(row)]);
		}
		if (!found)
			fail_msg("router %s of src/arch/routers.h has no row in rules", name);
	}
}

static const char *value(const struct config *c, const char *key)
{
	return config_find(c, key)->text;
}

static void test_names_are_defaults(void **state)
{
	struct rig rig = {0};

	(void)state;
	rig_spec(&rig, MIXTURE "router: sigmoid_bias, top_k: 3}}");
	assert_string_equal(value(&rig.config, "model.moe.score"), "sigmoid");
	assert_string_equal(value(&rig.config, "model.moe.weight"), "renorm");
	assert_string_equal(value(&rig.config, "model.moe.top_k"), "3");
	assert_string_equal(value(&rig.config, "model.moe.bias_rate"), "0.001");
	assert_string_equal(value(&rig.config, "model.moe.balance"), "0");
	arena_release(&rig.arena);
}

/* Experts of four that a token goes to. */
static void expect_active(const struct rig *rig, const char *name, double experts)
{
	const struct param *p = &rig->params.list[params_find(&rig->params, name)];

	assert_true(param_active(p) == experts / 4 * (double)param_elements(p));
}

/* Parameters and their active ones are those of whole experts but for the router, shared ones all active. */
static void test_granular_and_shared_experts(void **state)
{
	struct rig whole, fine;
	struct rig_options o = {.device = REF, .batch = B, .context = T, .training = true};
	double more[2] = {0};

	(void)state;
	rig_open(&whole, MIXTURE "top_k: 2}}", o);
	rig_open(&fine, MIXTURE "top_k: 2, granularity: 3, n_shared: 2}}", o);
	for (int k = 0; k < 2; k++) {
		const struct params *p = k ? &fine.params : &whole.params;
		for (int i = 0; i < p->n; i++) {
			more[0] += (k ? 1 : -1) * (double)param_elements(&p->list[i]);
			more[1] += (k ? 1 : -1) * param_active(&p->list[i]);
		}
	}
	/* Of both layers: 8 rows more of a router, and 2 shared experts of 2 x 8 x 2. */
	assert_true(fabs(more[0] - 2 * (8 * 8 + 64)) < 1e-9 && fabs(more[1] - more[0]) < 1e-9);
	expect_active(&fine, "layers.1.moe.w1", 2);
	rig_close(&whole);
	rig_close(&fine);
}

/* One router a layer; matrices as a Mamba layer's, one of four for a token, and gated experts of three. */
static void test_experts_of_other_kinds(void **state)
{
	struct rig_options o = {.device = REF, .batch = B, .context = T, .training = true};
	struct rig rig;

	(void)state;
	rig_open(&rig, INNER "conv: true, gate: true, out: true}, moe: {n_experts: 4, expert: linear, "
		"capacity_factor: 0}}", o);
	assert_int_equal(params_find(&rig.params, "layers.0.mixer.out_moe.router.weight"), -1);
	expect_active(&rig, "layers.0.mixer.conv_moe.w", 1);
	const struct param *p = &rig.params.list[params_find(&rig.params, "layers.0.mixer.router.weight")];
	assert_int_equal(param_elements(p), 4 * 6);
	p = &rig.params.list[params_find(&rig.params, "layers.0.mixer.out_moe.w")];
	assert_int_equal(param_elements(p), 4 * 6 * 12);
	rig_close(&rig);
	rig_open(&rig, MIXTURE "expert: gated}}", o);
	p = &rig.params.list[params_find(&rig.params, "layers.1.moe.w1")];
	assert_int_equal(param_elements(p), 4 * 2 * 6 * 8);
	expect_active(&rig, "layers.1.moe.w1", 1);
	rig_close(&rig);
}

/* An expert computes one row for the 3 tokens of a group. */
static void test_active_share_of_mixed_tokens(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, MIXTURE "router: tokens, group_sequences: 3}}",
		(struct rig_options){.device = REF, .batch = B, .context = T, .training = true});
	expect_active(&rig, "layers.1.moe.w1", 4 / 3.0);
	rig_close(&rig);
}

/* A sequence that is not there has no share in what experts see: the others do not feel its tokens. */
static void test_masked_tokens_are_not_mixed(void **state)
{
	double before[N], after[N];
	struct rig rig;

	(void)state;
	rig_open(&rig, MIXTURE "router: tokens, group_sequences: 3}}",
		(struct rig_options){.device = CPU, .batch = B, .context = T, .masked = true});
	for (int i = 2 * T; i < N; i++)
		rig.targets[i] = -1;
	losses_of(&rig, before);
	for (int i = 2 * T; i < N; i++)
		rig.tokens[i] = (rig.tokens[i] + 7) % VOCAB;
	losses_of(&rig, after);
	assert_memory_equal(before, after, 2 * T * sizeof *before);
	rig_close(&rig);
}

static void expect_not_whole(struct rig *rig, struct net_env env, const char *advice)
{
	struct graph *g = graph_new(&rig->arena, &rig->params, &device_list[CPU], false);

	env.batch = 1;
	env.context = env.group_tokens = T;
	env.n_vocab = VOCAB;
	catch_messages();
	assert_int_equal(model_record(&rig->model, g, env, &rig->config), -1);
	error_sink = NULL;
	assert_caught("no whole groups");
	assert_caught(advice);
	graph_release(g);
}

/* A sequence has no output without the others of its group: who trains is told how it would, who has a trained
   model what can be done with it. */
static void test_mixed_tokens_need_whole_groups(void **state)
{
	struct rig rig = {0};

	(void)state;
	rig_spec(&rig, MIXTURE "router: tokens, group_sequences: 3}}");
	assert_int_equal(model_open(&rig.model, &rig.config, &rig.arena), 0);
	params_init(&rig.params, &rig.arena, &device_list[CPU]);
	expect_not_whole(&rig, (struct net_env){.noise = true}, "set train.batch and train.micro_batch");
	expect_not_whole(&rig, (struct net_env){.masked = true, .dropless = true}, "N a multiple of 3 x train.context");
	params_release(&rig.params);
	arena_release(&rig.arena);
}

/* A micro-batch need not hold a group where nothing is dropped and no loss is a mean over one. */
static void test_groups_that_nothing_needs(void **state)
{
	static const struct {
		const char *spec;
		int ret;
	} cases[] = {
		{MIXTURE "router: threshold}}", 0}, {MIXTURE "router: sigmoid_bias}}", 0}, {MIXTURE "router: hash}}", 0},
		{MIXTURE "router: threshold, z_loss: 0.1}}", -1}, {MIXTURE "router: topk}}", -1},
		{MIXTURE "router: hash, capacity_factor: 1}}", -1},
		{MIXTURE "router: topk, balance_scope: sequence}}", 0}, {MIXTURE "capacity_factor: 0, balance: 0}}", 0},
		{MIXTURE "capacity_factor: 0}}", -1}, {MIXTURE "balance: 0}}", -1},
		{MIXTURE "router: expert_choice_batch, group_sequences: 3}}", -1},
	};

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
		struct rig rig = {0};
		struct graph *g;
		rig_spec(&rig, cases[k].spec);
		assert_int_equal(model_open(&rig.model, &rig.config, &rig.arena), 0);
		params_init(&rig.params, &rig.arena, &device_list[CPU]);
		g = graph_new(&rig.arena, &rig.params, &device_list[CPU], false);
		catch_messages();
		assert_int_equal(model_record(&rig.model, g, (struct net_env){.batch = 1, .context = T, .noise = true,
			.group_tokens = N, .n_vocab = VOCAB}, &rig.config), cases[k].ret);
		error_sink = NULL;
		graph_release(g);
		params_release(&rig.params);
		arena_release(&rig.arena);
	}
}

/* Capacities are whole tokens: 3 of 16 in place of 3.2. */
static void test_active_share_of_experts_that_choose(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, MIXTURE "router: expert_choice, allow_future: true, capacity_factor: 0.8, group_tokens: 16}}",
		(struct rig_options){.device = REF, .batch = B, .context = T, .training = true});
	expect_active(&rig, "layers.1.moe.w1", 4 * 3 / 16.0);
	rig_close(&rig);
}

/* The same in an entry of a pattern, where the entry's own keys go before the router's. */
static void test_names_in_a_pattern(void **state)
{
	static const char text[] = "{model: {arch: stack, d_model: 8, n_blocks: 1, pattern: [{moe: "
		"{top_k: 3, router: topk, n_experts: 4, d_expert: 6}}, {moe: {n_experts: 4, d_expert: 6}}]}";
	struct rig rig;

	(void)state;
	rig_open(&rig, text, (struct rig_options){.device = REF, .batch = 1, .context = 8});
	expect_active(&rig, "layers.0.moe.w1", 3);
	expect_active(&rig, "layers.1.moe.w1", 1);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classes),
		cmocka_unit_test(test_rules_that_switch_routing_lacks),
		cmocka_unit_test(test_capacity_for_all_may_shrink),
		cmocka_unit_test(test_picks_depend_on_the_own_past),
		cmocka_unit_test(test_cutoffs_know_the_past_alone),
		cmocka_unit_test(test_active_share_of_experts_that_choose),
		cmocka_unit_test(test_active_share_of_mixed_tokens),
		cmocka_unit_test(test_granular_and_shared_experts),
		cmocka_unit_test(test_experts_of_other_kinds),
		cmocka_unit_test(test_mixed_tokens_need_whole_groups),
		cmocka_unit_test(test_groups_that_nothing_needs),
		cmocka_unit_test(test_masked_tokens_are_not_mixed),
		cmocka_unit_test(test_every_name_is_measured),
		cmocka_unit_test(test_names_are_defaults),
		cmocka_unit_test(test_names_in_a_pattern),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
