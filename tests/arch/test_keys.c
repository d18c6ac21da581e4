/* Keys of layers and routers: what is refused, since nothing reads it or since it does not go with others, and what
   stands. */
#include "mixture_specs.h"
#include "refused.h"

static void expect_open(const char *spec)
{
	struct rig rig = {0};

	rig_spec(&rig, spec);
	assert_int_equal(model_open(&rig.model, &rig.config, &rig.arena), 0);
	arena_release(&rig.arena);
}

/* A value that nothing reads would make another run of the same numbers: refused, with who reads it. */
static void test_keys_without_effect(void **state)
{
	static const struct {
		const char *idle, *read, *said;
	} cases[] = {
		{"top_p: 0.3", "top_p: 0.3, router: topp", "top_p has no effect here"},
		{"max_k: 3", "max_k: 3, router: threshold", "router threshold"},
		{"threshold_rate: 1", "threshold_rate: 1, router: threshold", "router threshold"},
		{"cutoff_rate: 0.5", "cutoff_rate: 0.5, router: expert_choice_batch", "routers expert_choice"},
		{"noise_scale: 0.1", "noise_scale: 0.1, noise: jitter", "routers noisy, gumbel"},
		{"order: choice", "order: token", "order has no effect"},
		{"order: gate, allow_future: true, capacity_factor: 0", "order: gate, allow_future: true", "capacity_factor above"},
		{"order: gate, allow_future: true, router: hash, capacity_factor: 1", "router: hash", "leave it at token"},
		{"overflow: next, capacity_factor: 0", "overflow: next", "overflow has no effect"},
		{"overflow: next, top_k: 4", "overflow: next, top_k: 3", "more than top_k experts"},
		/* a capacity for all choices runs out nowhere */
		{"order: choice, top_k: 2, capacity_factor: 2", "order: choice, allow_future: true, top_k: 2, capacity_factor: 1.9",
			"times top_k below n_experts"},
		{"order: gate, capacity_factor: 4", "order: gate, allow_future: true, capacity_factor: 3.9", "times top_k"},
		{"overflow: next, capacity_factor: 4", "overflow: next, capacity_factor: 3.9", "overflow has no effect"},
		{"overflow: next, router: topp, capacity_factor: 1", "overflow: next, router: topp, capacity_factor: 0.9",
			"overflow has no effect"},
		{"group_tokens: 48, capacity_factor: 4, balance_scope: sequence", "group_tokens: 48, balance_scope: sequence",
			"group_tokens has no effect"},
		{"group_tokens: 48, router: topk, balance_scope: step", "group_tokens: 48, router: topk", "or balance_scope group"},
		{"top_k: 4, bias_rate: 0.1", "top_k: 3, bias_rate: 0.1", "between which it decides"},
		{"control_rate: 1", "control_rate: 1, drop_target: 0.1", "balance_target or drop_target"},
		{"temperature_least: 0.1", "temperature_least: 0.1, temperature_decay: 0.1", "temperature_decay above 0"},
		{"router: hash, score: sigmoid", "score: sigmoid", "routers with weights"},
		{"router: fixed, temperature: 2", "temperature: 2", "routers with weights"},
		{"router: hash, frozen: true", "router: random, frozen: true", "routers with weights"},
		{"balance: 0, expert_sizes: 1:3, balance_by: width", "expert_sizes: 1:3, balance_by: width", "balance above 0"},
		{"balance_by: width", "router: hmoe, top_k: 1, weight: raw, expert_sizes: \"\"", "with expert_sizes"},
		{"balance: 0, balance_scope: step", "balance_scope: step", "losses of the router"},
		{"balance: 0, aux_reduce: sum", "balance: 0, aux_reduce: sum, z_loss: 0.1", "losses of the router"},
		{"capacity_least: 0.5", "capacity_least: 0.5, capacity_decay: 0.1", "capacity_decay above 0"},
		/* what a name stands for is not asked for */
		{"router: topk, order: choice", "router: gshard, capacity_factor: 0", "leave it at token"},
	};
	char spec[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(spec, sizeof spec, MIXTURE "%s}}", cases[i].idle);
		expect_refused(spec, cases[i].said);
		snprintf(spec, sizeof spec, MIXTURE "%s}}", cases[i].read);
		expect_open(spec);
	}
	expect_refused(INNER "out: true}, moe: {n_experts: 4, expert: linear, capacity_factor: 0, init_fan: one}}",
		"expert ffn or gated");
}

/* The same of attention and of the head. */
static void test_keys_of_parts_without_effect(void **state)
{
	static const struct {
		const char *idle, *read, *said;
	} cases[] = {
		{"attn: {chosen: 5}", "attn: {chosen: 5, segment: 4}",
			"spec.yaml:1): it is for model.attn.segment above 0"},
		{"attn: {earlier: summary}", "attn: {earlier: summary, segment: 4}",
			"model.attn.earlier has no effect here"},
		{"attn: {earlier: summary, segment: 4, chosen: 5}", "attn: {earlier: chosen, segment: 4, chosen: 5}",
			"it is for model.attn.segment above 0, earlier chosen; leave it at 3"},
		{"attn: {rope: false, rope_base: 500}", "attn: {rope_base: 500}",
			"leave it at 10000"},
		{"copy_width: 32", "copy_width: 32, head: copy",
			"model.copy_width has no effect here"},
	};
	static const char *const forms[] = {
		"{model: {arch: transformer, d_model: 128, n_blocks: 1, %s}",
		"{model: {arch: stack, d_model: 128, n_blocks: 1, %s, pattern: [mamba, attn]}"};
	char spec[512];

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		snprintf(spec, sizeof spec, forms[i % 2], cases[i / 2].idle);
		expect_refused(spec, cases[i / 2].said);
		snprintf(spec, sizeof spec, forms[i % 2], cases[i / 2].read);
		expect_open(spec);
	}
	expect_refused(
		"{model: {arch: stack, d_model: 128, n_blocks: 1, pattern: [mamba,\n{hymba: {\nchosen: 5}}]}",
		"spec.yaml:3): it is for model.attn.segment above 0");
	expect_open(
		"{model: {arch: stack, d_model: 128, n_blocks: 1, pattern: [{mod: [{attn: {segment: 4, chosen: 5}}]}]}");
}

/* Entries of a pattern have keys of their own, which may be the only ones that read the model's. */
static void test_keys_with_effect_in_a_pattern(void **state)
{
	static const char stack[] = "{model: {arch: stack, d_model: 8, n_blocks: 1, moe: {max_k: 2}, pattern: [mamba, "
		"{moe: {%s}}]}";
	char spec[512];

	(void)state;
	snprintf(spec, sizeof spec, stack, "router: threshold");
	expect_open(spec);
	snprintf(spec, sizeof spec, stack, "router: topk");
	expect_refused(spec, "max_k has no effect here (");
	expect_refused(spec, "leave it at 4, or set it in the entries of model.pattern that are such\n");
	expect_refused("{model: {arch: stack, d_model: 8, n_blocks: 1, pattern: [mamba,\n{moe: {\nmax_k: 2}}]}",
		"spec.yaml:3): it is for select threshold (router threshold); leave it at 4\n");
	expect_refused("{model: {arch: stack, d_model: 8, n_blocks: 1, pattern: [{moe: {topk: 2}}]}",
		"layer \"moe\" has no key \"topk\" (did you mean \"top_k\"?)");
	expect_refused("{model: {arch: stack, d_model: 8, n_blocks: 1, pattern: [{moe: {windowed: 2}}]}",
		"layer \"moe\" has no key \"windowed\" (moelab help spec lists those of model.moe.*)");
}

/* A convolution that a layer leaves out, named by the model or by the entry; other layers may have one. */
static void test_no_convolution(void **state)
{
	static const char form[] = "{model: {arch: stack, d_model: 16, n_blocks: 1, %s, pattern: [mamba, %s]}";
	static const struct {
		const char *keys, *entry, *said;
	} cases[] = {
		{"attn: {n_heads: 2}", "{local: {place: conv}}", NULL},
		{"attn: {n_heads: 2}", "{local: {place: conv, d_conv: 2}}", "place conv of the layer local leaves out"},
		{"attn: {n_heads: 2}, ssm: {d_conv: 2}", "{local: {place: conv}}", "model.ssm.d_conv has no effect here ("},
		{"attn: {n_heads: 2}, ssm: {d_conv: 2}", "{local: {place: conv, d_conv: 4}}", NULL},
		{"attn: {n_heads: 2}, ssm: {d_conv: 2}", "{local: {place: output}}", NULL},
	};
	char spec[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(spec, sizeof spec, form, cases[i].keys, cases[i].entry);
		if (cases[i].said)
			expect_refused(spec, cases[i].said);
		else
			expect_open(spec);
	}
}

/* Keys of layers that a pattern has not; what some layer reads, named as itself or inside another, stands. */
static void test_keys_of_no_layer(void **state)
{
	static const struct {
		const char *keys, *without, *with;
	} cases[] = {
		{"moe: {n_experts: 4}", "mamba, ffn", "mamba, {inner: {out: true}}"},
		{"moe: {router: topk}", "mamba, ffn", "mamba, moe"},
		{"moe: {z_loss: 0.1}", "mamba", "{parallel: [mamba, moe]}"},
		{"ssm: {d_state: 4}", "attn, ffn", "shared"},
		{"ffn: {d_hidden: 8}", "mamba, attn", "shared"},
		{"attn: {n_heads: 2}", "mamba", "shared"},
		{"attn: {rope: false}", "mamba", "{mod: [attn]}"},
		{"mod: {rate: 2}", "attn", "{mod: {of: [attn]}}"},
		{"mix: {weights: true}", "{parallel: [attn, mamba]}", "{mix: [attn, mamba]}"},
		{"xattn: {queries: input}", "local", "xattn"},
		{"gdn: {d_conv: 2}", "mamba2", "gdn"},
	};
	static const char form[] = "{model: {arch: stack, d_model: 128, n_blocks: 1, %s, pattern: [%s]}";
	char spec[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(spec, sizeof spec, form, cases[i].keys, cases[i].with);
		expect_open(spec);
		snprintf(spec, sizeof spec, form, cases[i].keys, cases[i].without);
		expect_refused(spec, "no layer of model.pattern reads it");
	}
}

/* A layer's router has no values of another name, the model's: switch says none. */
static void test_routers_of_a_pattern(void **state)
{
	static const char stack[] = "{model: {arch: stack, d_model: 8, n_blocks: 1, moe: {router: %s}, pattern: [mamba, "
		"moe, {moe: {router: %s}}]}";
	static const char *const cases[][2] = {{"switch", "hash"}, {"topk", "topk"}, {"topk", "switch"}, {"topk", "hash"}};
	char spec[512];

	(void)state;
	for (int i = 0; i < 4; i++) {
		snprintf(spec, sizeof spec, stack, cases[i][0], cases[i][1]);
		if (i < 2)
			expect_open(spec);
		else
			expect_refused(spec, "leave model.moe.router at switch, and name topk in the layers");
	}
}

/* A run that is there already is read as it was written. */
static void test_keys_of_runs_stand(void **state)
{
	static const char text[] = MIXTURE "max_k: 2}}, train: {tokens: 1000}, data: {path: none}}";
	struct rig rig = {0};

	(void)state;
	assert_int_equal(config_parse(&rig.arena, "config.yaml", text, NULL, 0, spec_schema(), &rig.config), 0);
	assert_int_equal(model_open(&rig.model, &rig.config, &rig.arena), 0);
	arena_release(&rig.arena);
}

static void test_rules_that_do_not_go_together(void **state)
{
	(void)state;
	expect_refused(MIXTURE "router: gshard}}", "with model.moe.order choice a token's later neighbours");
	expect_refused(MIXTURE "order: gate}}", "with model.moe.order gate a token's later neighbours");
	expect_refused(MIXTURE "order: gate}}", "allow_future");
	expect_refused(MIXTURE "overflow: next, order: gate, allow_future: true}}", "order to token");
	expect_refused(MIXTURE "overflow: next, router: gshard, allow_future: true}}", "order to token");
	expect_refused(MIXTURE "overflow: next, router: threshold, capacity_factor: 1}}", "down the scores");
	expect_refused(MIXTURE "overflow: next, router: hash, capacity_factor: 1}}", "down the scores");
	expect_open(MIXTURE "overflow: next, router: topp, capacity_factor: 0.9}}");
	expect_refused(MIXTURE "router: expert_choice}}", "expert_choice_batch");
	expect_refused(MIXTURE "router: expert_choice_batch, balance: 0.01}}", "experts choose tokens");
	expect_refused(MIXTURE "router: expert_choice_batch, capacity_factor: 0}}", "experts choose tokens");
	expect_refused(MIXTURE "router: expert_choice_batch, group_tokens: 16}}", "group_sequences");
	expect_refused(MIXTURE "router: expert_choice, allow_future: true, group_sequences: 3}}", "group_tokens");
	expect_refused(MIXTURE "router: tokens, group_sequences: 0}}", "group_sequences");
	expect_refused(MIXTURE "router: tokens, z_loss: 0.1}}", "chooses nothing");
	expect_refused(MIXTURE "granularity: 4}}", "width of an expert, 6");
	expect_refused(MIXTURE "expert: linear}}", "no hidden width");
	expect_refused(INNER "conv: true}, moe: {expert: linear, capacity_factor: 0}}", "inner.out");
	expect_refused(INNER "out: true}, moe: {expert: linear}}", "capacity_factor");
	expect_refused(INNER "out: true}, moe: {out_norm: true}}", "residual stream");
	expect_refused(INNER "out: true}, moe: {router: expert_choice_batch}}", "capacity_factor");
	expect_refused(MIXTURE "weight: renorm}}", "top_k to 2 or more");
	expect_open(MIXTURE "router: threshold, weight: renorm}}");
	expect_refused(MIXTURE "router: threshold, weight: renorm, max_k: 1}}", "max_k to 2 or more");
	expect_refused(MIXTURE "weight: one, balance: 0}}", "nothing teaches the router");
	expect_refused(MIXTURE "router: sigmoid_bias, weight: one}}", "nothing teaches the router");
	expect_refused(MIXTURE "router: expert_choice_batch, weight: one}}", "nothing teaches the router");
	expect_refused(MIXTURE "router: reinforce, reinforce: 0, balance: 0, token_entropy: 0}}", "nothing teaches");
	expect_open(MIXTURE "weight: one, balance: 0, z_loss: 0.1}}");
	expect_open(MIXTURE "weight: one, balance: 0, frozen: true}}");
	expect_open(MIXTURE "weight: one, balance: 0, top_k: 4}}");
	expect_open(MIXTURE "router: reinforce, balance: 0, token_entropy: 0}}");
	expect_refused(MIXTURE "top_k: 5}}", "n_experts");
	expect_refused(MIXTURE "router: hash, balance: 0.01}}", "has no router");
	expect_refused(MIXTURE "router: hash, weight: raw}}", "has no router");
	expect_refused(MIXTURE "router: hash, noise: gumbel}}", "has no router");
	expect_refused(MIXTURE "router: fixed, weight: raw}}", "has no router");
	expect_refused(MIXTURE "router: threshold, bias_rate: 0.1}}", "bias_rate to 0");
	expect_refused(MIXTURE "router: threshold, max_k: 1, top_k: 2}}", "max_k 1 is below");
	expect_refused(MIXTURE "router: threshold, max_k: 5}}", "spec.yaml:1) is more than model.moe.n_experts 4");
	expect_open("{model: {d_model: 8, n_blocks: 1, arch: moe_mamba, moe: {router: threshold, n_experts: 2}}");
	expect_refused(MIXTURE "router: sigmoid_bias, drop_target: 0.1}}", "more than one rule");
	expect_refused(MIXTURE "router: topk, drop_target: 0.1}}", "drop_target moves a capacity");
	expect_refused(MIXTURE "router: topk, capacity_decay: 0.1}}", "capacity_decay moves a capacity");
	expect_refused(MIXTURE "router: expert_choice_batch, capacity_decay: 0.1}}", "capacity_decay moves a capacity");
	expect_refused(MIXTURE "capacity_decay: 0.1, drop_target: 0.1}}", "both move the capacity");
	expect_refused(MIXTURE "capacity_decay: 0.1, capacity_factor: 0.5}}", "capacity_least 1 is not below");
	expect_refused(MIXTURE "balance: 0, balance_target: 0.1}}", "which is 0");
	expect_refused(MIXTURE "load: 0.1}}", "Gaussian noise");
	expect_refused(MIXTURE "router: noisy, top_k: 4}}", "Gaussian noise");
	expect_refused(MIXTURE "router: reinforce, weight: raw}}", "draws one expert");
	expect_refused(MIXTURE "router: reinforce}}, train.position_from: 4", "every token alike");
	expect_refused(MIXTURE "router: reinforce}}, train.position_gain: 0.5", "every token alike");
	expect_refused(MIXTURE "reinforce: 1}}", "select to sample");
	expect_refused(MIXTURE "temperature_decay: 0.1, temperature_least: 2}}", "temperature_least 2 is above");
	expect_refused(MIXTURE "router: random, weight: raw}}", "teach the router");
	expect_refused(MIXTURE "router: reinforce, frozen: true, balance: 0, token_entropy: 0}}", "teach the router");
	expect_refused(MIXTURE "router: expert_choice_batch, weight: renorm}}", "to raw or straight_through (");
	expect_refused(MIXTURE "router: hash, load: 0.1}}", "importance, load, mean_entropy");
}

/* A file may have a key from a base: what is refused says where those keys were set that it names. */
static void test_where_refused_keys_were_set(void **state)
{
	(void)state;
	expect_refused(MIXTURE "\ntop_k: 5, z_loss: 0.1}}", "n_experts to 5 or more (model.moe.n_experts at ");
	expect_refused(MIXTURE "\ntop_k: 5, z_loss: 0.1}}", "spec.yaml:1, model.moe.top_k at ");
	expect_refused(MIXTURE "\ntop_k: 5, z_loss: 0.1}}", "spec.yaml:2)\n");
	/* a choice more than there are, and a rule that looks ahead, come with the router's name */
	expect_refused(MIXTURE "\ntop_k: 5}}", "set it to 4 at most");
	expect_refused("{model: {arch: moe_mamba, d_model: 8, n_blocks: 1, moe: {n_experts: 1,\nrouter: topk}}",
		"spec.yaml:1, model.moe.router at ");
	expect_refused(MIXTURE "\nrouter: expert_choice}}", "nonetheless (model.moe.router at ");
	expect_refused(MIXTURE "\nrouter: expert_choice}}", "spec.yaml:2)\n");
	expect_refused(MIXTURE "select: hash, \nbias_rate: 0.1}}", "to 0 (model.moe.bias_rate at ");
	expect_refused("{model: {arch: stack, d_model: 8, n_blocks: 1, pattern: [{moe: {n_experts: 2, top_k: 3}}]}",
		"3 or more (model.pattern at ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_without_effect), cmocka_unit_test(test_keys_of_parts_without_effect),
		cmocka_unit_test(test_keys_with_effect_in_a_pattern), cmocka_unit_test(test_no_convolution),
		cmocka_unit_test(test_keys_of_no_layer),
		cmocka_unit_test(test_routers_of_a_pattern), cmocka_unit_test(test_keys_of_runs_stand),
		cmocka_unit_test(test_rules_that_do_not_go_together), cmocka_unit_test(test_where_refused_keys_were_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
