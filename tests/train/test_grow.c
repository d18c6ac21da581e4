/*
 * Growth (train/grow.h): a larger model begins with the outputs of the smaller one where the choice of experts
 * does not matter to them; what no rule makes is told.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/fields.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "caught.h"
#include "train/checkpoint.h"
#include "train/grow.h"

enum { BATCH = 2, CONTEXT = 24, TOKENS = BATCH * CONTEXT, WORDS = 31 };

#define TRAIN ", train: {tokens: 10000, batch: 2, context: 24}, init: {scale: 1, cut: 2}, " \
	"data: {path: none, vocab: 31}}"
#define DENSE "{model: {arch: mamba_mlp, d_model: 12, n_blocks: 2, " \
	"ffn: {d_hidden: 24, bias: false, activation: silu}}" TRAIN
#define MIXTURE(keys) "{model: {arch: moe_mamba, d_model: 12, n_blocks: 2, moe: {capacity_factor: 0, " \
	"activation: silu, " keys "}}" TRAIN
#define PATTERN "{model: {arch: stack, d_model: 12, pattern: [mamba, {moe: {n_experts: 3, d_expert: 24, top_k: 2, " \
	"weight: renorm}}], n_blocks: 2, moe: {capacity_factor: 0, activation: silu}}" TRAIN
#define SSM(ssm, keys) "{model: {arch: moe_mamba, d_model: 12, n_blocks: 2, ssm: {dt_rank: 2, " ssm "}, moe: {" \
	"capacity_factor: 0, activation: silu, " keys "}}" TRAIN
#define SHARED(keys) "{model: {arch: inner_moe_mamba, d_model: 12, n_blocks: 2, inner: {conv: true, gate: true, " \
	"out: true, router: shared, every: 1}, moe: {capacity_factor: 0, expert: linear, " keys "}}" TRAIN

struct rig {
	struct arena arena;
	struct config config;
	struct setup setup;
};

static void rig_open(struct rig *rig, const char *spec, const char *seed)
{
	*rig = (struct rig){0};
	assert_int_equal(config_parse(&rig->arena, "test", spec, &seed, 1, spec_schema(), &rig->config), 0);
	assert_int_equal(setup_open_losses(&rig->setup, &rig->config, &device_list[CPU], WORDS, BATCH, CONTEXT, 0), 0);
	assert_int_equal(setup_allocate(&rig->setup), 0);
}

static void rig_close(struct rig *rig)
{
	setup_close(&rig->setup);
	arena_release(&rig->arena);
}

static void losses_of(const struct rig *rig, double *nll)
{
	struct graph *g = rig->setup.graphs[GRAPH_EVAL];
	int tokens[TOKENS], targets[TOKENS];

	for (int i = 0; i < TOKENS; i++) {
		tokens[i] = i * i % WORDS;
		targets[i] = (i * 7 + 3) % WORDS;
	}
	graph_set_input(g, "tokens", tokens);
	graph_set_input(g, "targets", targets);
	graph_forward(g);
	graph_fetch_metrics(g);
	graph_read_all(g, "nll", nll);
}

static int grow(struct rig *small, struct rig *large, double noise)
{
	char folder[256], *path;
	int ret;

	assert_int_equal(path_tmp_folder(folder, sizeof folder, "grow"), 0);
	path = path_join(folder, "small.safetensors");
	assert_int_equal(grow_write(&small->setup, path, "a test"), 0);
	ret = grow_weights(&large->setup, path, grow_mixture(&small->setup.model), noise);
	path_remove_tree(folder);
	free(path);
	return ret;
}

static void expect_same_outputs(const char *from, const char *to)
{
	double before[TOKENS], after[TOKENS], own[TOKENS], apart = 0;
	struct rig small, large;

	rig_open(&small, from, "seed=1");
	rig_open(&large, to, "seed=2");
	losses_of(&small, before);
	losses_of(&large, own);
	assert_int_equal(grow(&small, &large, 0), 0);
	losses_of(&large, after);
	for (int i = 0; i < TOKENS; i++) {
		if (!(fabs(before[i] - after[i]) < 1e-5))
			fail_msg("%s: loss of token %d is %.7g, of the smaller model %.7g", to, i, after[i], before[i]);
		apart += fabs(before[i] - own[i]);
	}
	assert_true(apart > 0.1);
	rig_close(&small);
	rig_close(&large);
}

static void test_dense_becomes_experts(void **state)
{
	(void)state;
	expect_same_outputs(DENSE, MIXTURE("n_experts: 3, d_expert: 24, top_k: 2, weight: renorm"));
	expect_same_outputs(DENSE, MIXTURE("n_experts: 3, d_expert: 24, weight: straight_through"));
	expect_same_outputs(DENSE, MIXTURE("n_experts: 3, d_expert: 24, top_k: 2, weight: one, weight_scale: 3"));
	/* Shards of a half and a third, of which all are chosen of each copy. */
	expect_same_outputs(DENSE, MIXTURE("n_experts: 6, d_expert: 12, top_k: 2, weight: renorm"));
	expect_same_outputs(DENSE, MIXTURE("n_experts: 2, d_expert: 24, granularity: 3, top_k: 2, weight: renorm"));
}

/* Where all experts are chosen, scores that add up to 1 are as good as even ones. */
static void test_every_rule_of_weights(void **state)
{
	char rules[256] = "", *left = rules, *rule;
	int n = 0;

	(void)state;
	for (int i = 0; i < moe_fields.n; i++)
		if (!strcmp(moe_fields.rows[i].key, "model.moe.weight"))
			snprintf(rules, sizeof rules, "%s", moe_fields.rows[i].choices);
	for (; (rule = strtok_r(left, "|", &left)); n++) {
		char *to = xasprintf(MIXTURE("n_experts: 3, d_expert: 24, top_k: 3, weight: %s"), rule);
		expect_same_outputs(DENSE, to);
		free(to);
	}
	assert_true(n >= 4);
}

static void test_experts_become_more(void **state)
{
	(void)state;
	expect_same_outputs(MIXTURE("n_experts: 3, d_expert: 10"), MIXTURE("n_experts: 6, d_expert: 10"));
	expect_same_outputs(MIXTURE("n_experts: 3, d_expert: 10, top_k: 2"),
		MIXTURE("n_experts: 9, d_expert: 10, top_k: 6"));
	expect_same_outputs(MIXTURE("n_experts: 3, d_expert: 10, top_k: 2, weight: renorm, expert: gated"),
		MIXTURE("n_experts: 6, d_expert: 10, top_k: 4, weight: renorm, expert: gated"));
	expect_same_outputs(MIXTURE("n_experts: 2, d_expert: 10, score: sigmoid, top_k: 2, bias_rate: 0.1, balance: 0"),
		MIXTURE("n_experts: 4, d_expert: 10, score: sigmoid, top_k: 4, bias_rate: 0.1, balance: 0"));
	/* States that only the larger one has. */
	expect_same_outputs(MIXTURE("n_experts: 3, d_expert: 10"), MIXTURE("n_experts: 6, d_expert: 10, bias_rate: 0.1"));
	expect_same_outputs(MIXTURE("n_experts: 3, d_expert: 10"),
		MIXTURE("n_experts: 6, d_expert: 10, balance_target: 0.1, temperature_decay: 0.1"));
	expect_same_outputs(MIXTURE("n_experts: 2, d_expert: 10, expert_sizes: 2:3"),
		MIXTURE("n_experts: 2, d_expert: 10, expert_sizes: 2:3"));
	expect_same_outputs(MIXTURE("n_experts: 3, expert: linear"), MIXTURE("n_experts: 6, expert: linear"));
	/* With one router for three projections, the output projection alone has its weights. */
	expect_same_outputs(SHARED("n_experts: 3"), SHARED("n_experts: 6"));
	expect_same_outputs(SHARED("n_experts: 3, top_k: 2, weight: renorm"),
		SHARED("n_experts: 6, top_k: 4, weight: renorm"));
}

/* Noise tells copies apart, from the second on, by its size. */
static void test_noise_of_copies(void **state)
{
	struct rig small, large;
	double apart = 0, size = 0;

	(void)state;
	rig_open(&small, MIXTURE("n_experts: 3, d_expert: 10"), "seed=1");
	rig_open(&large, MIXTURE("n_experts: 6, d_expert: 10"), "seed=2");
	assert_int_equal(grow(&small, &large, 0.2), 0);
	const struct params *p = &small.setup.params, *q = &large.setup.params;
	const float *a = (const float *)small.setup.memory.blob[BLOB_WEIGHTS] +
		p->list[params_find(p, "layers.1.moe.router.weight")].offset;
	const float *b = (const float *)large.setup.memory.blob[BLOB_WEIGHTS] +
		q->list[params_find(q, "layers.1.moe.router.weight")].offset;
	for (int e = 0; e < 3; e++)
		for (int i = 0; i < 12; i++) {
			assert_true(b[2 * e * 12 + i] == a[e * 12 + i]);
			apart += pow(b[(2 * e + 1) * 12 + i] - a[e * 12 + i], 2);
			size += pow(a[e * 12 + i], 2);
		}
	assert_true(sqrt(apart / size) > 0.1 && sqrt(apart / size) < 0.3);
	rig_close(&small);
	rig_close(&large);
}

static void expect_refused(const char *from, const char *to, const char *word)
{
	struct rig small, large;

	rig_open(&small, from, "seed=1");
	rig_open(&large, to, "seed=2");
	catch_messages();
	assert_int_equal(grow(&small, &large, 0), -1);
	error_sink = NULL;
	assert_caught(word);
	rig_close(&small);
	rig_close(&large);
}

static void test_what_no_rule_makes(void **state)
{
	(void)state;
	expect_refused(DENSE, MIXTURE("n_experts: 3, d_expert: 18"), "divides it");
	expect_refused(DENSE, MIXTURE("n_experts: 6, d_expert: 12"), "multiples of the quotient");
	expect_refused(DENSE, MIXTURE("n_experts: 3, d_expert: 24, expert: gated"), "expert ffn");
	expect_refused(MIXTURE("n_experts: 3, d_expert: 10, top_k: 2"), MIXTURE("n_experts: 6, d_expert: 10, top_k: 2"),
		"all or one");
	expect_refused(MIXTURE("n_experts: 3, d_expert: 10"), MIXTURE("n_experts: 4, d_expert: 10"), "to a multiple of");
	expect_refused(MIXTURE("n_experts: 3, d_expert: 10"), MIXTURE("n_experts: 3, d_expert: 20"), "no rule");
	expect_refused(MIXTURE("n_experts: 3, d_expert: 10"), DENSE, "nothing in it makes");
	expect_refused(MIXTURE("n_experts: 3, d_expert: 10"), MIXTURE("n_experts: 3, d_expert: 10, out_norm: true"),
		"set model.moe.out_norm to false");
	expect_refused(DENSE, PATTERN, "models without model.pattern");
	expect_refused(MIXTURE("n_experts: 2, d_expert: 10, expert_sizes: 2:3"),
		MIXTURE("n_experts: 4, d_expert: 10, expert_sizes: 2:3"), "unequal widths");
	expect_refused(MIXTURE("n_experts: 2, d_expert: 10, expert_sizes: 2:3"),
		MIXTURE("n_experts: 2, d_expert: 10, expert_sizes: 3:2"), "unequal widths");
	expect_refused(DENSE, MIXTURE("n_experts: 2, d_expert: 24, expert_sizes: 1:3"), "unequal widths");
}

/* Weights of a larger model that lacks a part of the smaller one. */
static void test_what_is_lost_is_named(void **state)
{
	struct rig small, large, normed;

	(void)state;
	rig_open(&small, SSM("norm: false", "n_experts: 3, d_expert: 10"), "seed=1");
	rig_open(&normed, SSM("norm: true", "n_experts: 3, d_expert: 10"), "seed=1");
	rig_open(&large, SSM("norm: false", "n_experts: 6, d_expert: 10"), "seed=2");
	catch_messages();
	assert_int_equal(grow(&small, &large, 0), 0);
	assert_string_equal(caught, "");
	assert_int_equal(grow(&normed, &large, 0), 0);
	assert_caught("no place for layers.0.mixer.dt_layernorm.weight and others");
	error_sink = NULL;
	rig_close(&small);
	rig_close(&normed);
	rig_close(&large);
	expect_same_outputs(SSM("norm: true", "n_experts: 3, d_expert: 10"),
		SSM("norm: true", "n_experts: 6, d_expert: 10"));
}

/* A norm behind the experts of a dense layer: other outputs, so it is told; behind experts of experts it is copied. */
static void test_norm_behind_experts(void **state)
{
	struct rig small, large;

	(void)state;
	rig_open(&small, DENSE, "seed=1");
	rig_open(&large, MIXTURE("n_experts: 3, d_expert: 24, top_k: 2, weight: renorm, out_norm: true"), "seed=2");
	catch_messages();
	assert_int_equal(grow(&small, &large, 0), 0);
	assert_caught("model.moe.out_norm norms what experts give");
	assert_caught("does not begin as the smaller one ended");
	rig_close(&small);
	rig_close(&large);
	catch_messages();
	expect_same_outputs(MIXTURE("n_experts: 3, d_expert: 10, out_norm: true"),
		MIXTURE("n_experts: 6, d_expert: 10, out_norm: true"));
	assert_string_equal(caught, "");
	error_sink = NULL;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dense_becomes_experts),
		cmocka_unit_test(test_every_rule_of_weights),
		cmocka_unit_test(test_experts_become_more),
		cmocka_unit_test(test_noise_of_copies),
		cmocka_unit_test(test_what_no_rule_makes),
		cmocka_unit_test(test_what_is_lost_is_named),
		cmocka_unit_test(test_norm_behind_experts),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
