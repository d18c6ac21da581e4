/*
 * The specs and sweeps that come with moelab: parameter counts of the paper (arXiv:2401.04081, tables
 * 5 and 6, counted from its layers), equal active parameters at micro scale, sweeps that load. From the
 * repository's root.
 */
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "spec/sweep.h"
#include "train/cost.h"
#include "near.h"

static struct cost_params params_of_config(const struct config *config)
{
	struct setup setup;
	struct cost cost;

	assert_int_equal(setup_open(&setup, config, &device_list[CPU], 0), 0);
	cost_of(&setup, &cost);
	setup_close(&setup);
	return cost.params;
}

static struct cost_params params_with(const char *path, const char *const *overrides, int n)
{
	struct arena a = {0};
	struct config config;
	struct cost_params p;

	assert_int_equal(spec_load(&a, path, overrides, n, spec_schema(), &config), 0);
	p = params_of_config(&config);
	arena_release(&a);
	return p;
}

static struct cost_params params_of(const char *path, const char *override)
{
	return params_with(path, &override, override ? 1 : 0);
}

static void test_counts_of_the_paper(void **state)
{
	static const struct {
		const char *path, *override;
		long total, active;
	} rows[] = {
		{"experiments/25m/mamba.yaml", NULL, 27131904, 27131904},
		{"experiments/25m/transformer.yaml", NULL, 25202688, 25202688},
		{"experiments/25m/transformer_moe.yaml", NULL, 545406976, 25313280},
		{"experiments/25m/moe_mamba.yaml", NULL, 542228480, 26329088},
		{"experiments/25m/moe_mamba.yaml", "model.moe.n_experts=1", 26161152, 26161152},
		{"experiments/25m/moe_mamba.yaml", "model.moe.n_experts=32", 416358400, 26288128},
		{"experiments/25m/parallel_moe_mamba.yaml", NULL, 542220288, 26320896},
		{"experiments/100m/mamba.yaml", NULL, 120717312, 120717312},
		{"experiments/100m/transformer_moe.yaml", NULL, 2454110208, 113688576},
		{"experiments/100m/moe_mamba.yaml", NULL, 2439069696, 117522432},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct cost_params p = params_of(rows[i].path, rows[i].override);
		if (llround(p.total) != rows[i].total || llround(p.active) != rows[i].active)
			fail_msg("%s %s: %.0f parameters, %.0f active", rows[i].path,
				rows[i].override ? rows[i].override : "", p.total, p.active);
	}
}

static double flops_of(const char *override)
{
	const char *overrides[] = {override, "model.moe.weight_scale=2"};
	struct arena a = {0};
	struct config config;
	struct setup setup;
	struct cost cost;

	assert_int_equal(spec_load(&a, "experiments/micro/moe_mamba.yaml", overrides, 2, spec_schema(),
		&config), 0);
	assert_int_equal(setup_open(&setup, &config, &device_list[CPU], 0), 0);
	cost_of(&setup, &cost);
	setup_close(&setup);
	arena_release(&a);
	return cost.flops_per_token;
}

/* A further choice visits one more expert of 448 x 128 x 2 in each of 4 mixtures: so many active
   parameters, and 6 FLOPs a token for each of them; 3 for each hidden channel, 4 for each output that
   it is weighted into, 8 for its weight, and a comparison with each of 8 experts. */
static void test_counts_of_choices(void **state)
{
	struct cost_params one = params_of("experiments/micro/moe_mamba.yaml", "model.moe.top_k=1"),
		three = params_of("experiments/micro/moe_mamba.yaml", "model.moe.top_k=3");
	double experts = 4 * 448 * 128 * 2, small = 4 * (3 * 448 + 4 * 128 + 8 + 8);

	(void)state;
	assert_true(three.total == one.total);
	assert_true(three.active - one.active == 2 * experts);
	assert_near(flops_of("model.moe.top_k=3") - flops_of("model.moe.top_k=1"),
		2 * (6 * experts + small), 1);
}

/* Four layers of 128 channels, 256 inside: an alpha of each channel; a convolution of 4 taps and a bias less. */
static void test_counts_of_controls(void **state)
{
	static const char mix[] = "experiments/micro/mix.yaml", local[] = "experiments/micro/local.yaml";
	double none = params_of(mix, "model.mix.alpha=fixed").active;

	(void)state;
	assert_true(params_of(mix, NULL).active == none + 4);
	assert_true(params_of(mix, "model.mix.alpha=channel").active == none + 4 * 128);
	assert_true(params_of(local, "model.local.place=output").active == params_of(local, NULL).active);
	assert_true(params_of(local, "model.local.place=conv").active == params_of(local, NULL).active - 4 * 256 * 5);
}

/* mamba-130m and mamba2-130m as published: 24 layers of 768 channels, the embedding tied to the head. */
static void test_counts_of_130m(void **state)
{
	static const struct {
		const char *arch, *vocab;
		long published;
	} rows[] = {
		{"model.arch=mamba", "data.vocab=50280", 129135360},
		{"model.arch=mamba2", "data.vocab=50288", 128989632},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *keys[] = {rows[i].arch, rows[i].vocab, "model.n_blocks=24", "model.norm=rmsnorm",
			"model.final_norm=true", "data.path=none"};
		struct cost_params p = params_with("experiments/100m/mamba.yaml", keys, ARRAY_SIZE(keys));
		assert_int_equal(llround(p.total + p.head), rows[i].published);
	}
}

static bool is_part(const char *path)
{
	return strstr(path, "common.yaml") || strstr(path, "ablation.yaml") ||
		strstr(path, "routing.yaml");
}

/* Architectures of the paper, which at its scales have its widths. */
static const char *const large[] = {"mamba", "mamba_mlp", "transformer", "transformer_moe", "moe_mamba",
	"parallel_moe_mamba", "inner_moe_mamba"};

static bool is_of_the_paper(const char *path)
{
	const char *name = strrchr(path, '/') + 1;

	for (size_t i = 0; i < ARRAY_SIZE(large); i++)
		if (!strncmp(name, large[i], strlen(large[i])) && !strcmp(name + strlen(large[i]), ".yaml"))
			return !strstr(path, "micro");
	return false;
}

/* Specs of a pattern are within 2 % of the baseline. */
static void check_equal_active(const char *pattern, const char *baseline, int least)
{
	double wanted = params_of(baseline, NULL).active;
	glob_t files;
	int n = 0;

	assert_int_equal(glob(pattern, 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		double active;
		if (is_part(files.gl_pathv[i]) || is_of_the_paper(files.gl_pathv[i]))
			continue;
		active = params_of(files.gl_pathv[i], NULL).active;
		if (fabs(active / wanted - 1) > 0.02)
			fail_msg("%s: %.0f active, mamba has %.0f", files.gl_pathv[i], active, wanted);
		n++;
	}
	globfree(&files);
	assert_true(n >= least);
}

static void test_equal_active(void **state)
{
	(void)state;
	check_equal_active("experiments/micro/*.yaml", "experiments/micro/mamba.yaml", 20);
	check_equal_active("experiments/25m/*.yaml", "experiments/25m/mamba.yaml", 9);
}

/* Every architecture has a micro spec, those of the paper one of its scales too. */
static void test_every_architecture_has_specs(void **state)
{
	char path[256];

	(void)state;
	for (const struct arch *const *arch = arch_list; *arch; arch++) {
		snprintf(path, sizeof path, "experiments/micro/%s.yaml", (*arch)->name);
		assert_true(params_of(path, NULL).total > 0);
	}
	for (size_t i = 0; i < 2 * ARRAY_SIZE(large); i++) {
		snprintf(path, sizeof path, "experiments/%s/%s.yaml", i % 2 ? "25m" : "100m", large[i / 2]);
		assert_true(params_of(path, NULL).total > 0);
	}
}

static void test_sweeps_load(void **state)
{
	glob_t files;

	(void)state;
	assert_int_equal(glob("sweeps/*.yaml", 0, NULL, &files), 0);
	assert_int_equal(glob("sweeps/*/*.yaml", GLOB_APPEND, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		struct arena a = {0};
		struct sweep sweep;
		if (sweep_load(&a, files.gl_pathv[i], NULL, spec_schema(), &sweep))
			fail_msg("%s does not load", files.gl_pathv[i]);
		assert_true(sweep.n_runs > 1);
		assert_true(str_starts(sweep.baseline, "mamba"));
		arena_release(&a);
	}
	assert_true(files.gl_pathc >= 10);
	globfree(&files);
}

/* Configurations of the paper's tables, and of what stands for them at micro scale. */
static void test_sweeps_hold_the_tables(void **state)
{
	static const struct {
		const char *path;
		int n;
	} rows[] = {
		{"sweeps/25m/table1.yaml", 4}, {"sweeps/100m/table1.yaml", 3},
		{"sweeps/25m/table2.yaml", 7}, {"sweeps/micro/table2.yaml", 7},
		{"sweeps/25m/table3.yaml", 16}, {"sweeps/micro/table3.yaml", 16},
		{"sweeps/25m/table4.yaml", 6},
		{"sweeps/25m/table7.yaml", 13}, {"sweeps/micro/table7.yaml", 7},
		{"sweeps/25m/capacity.yaml", 8},
		{"sweeps/25m-en/table1.yaml", 6}, {"sweeps/25m-en/rates.yaml", 6},
		{"sweeps/25m-en/long.yaml", 4}, {"sweeps/25m-en/long_tuned.yaml", 3},
		{"sweeps/25m-en/table2.yaml", 7}, {"sweeps/25m-en/table3.yaml", 16},
		{"sweeps/25m-en/table4.yaml", 6}, {"sweeps/25m-en/table7.yaml", 3},
		{"sweeps/25m-en/start.yaml", 13}, {"sweeps/25m-en/capacity.yaml", 6},
		{"sweeps/25m-en/precision.yaml", 2}, {"sweeps/25m-en/hybrids.yaml", 17},
		{"sweeps/micro-en/table1.yaml", 7},
		{"sweeps/micro/granularity.yaml", 9}, {"sweeps/25m-en/granularity.yaml", 9},
		{"sweeps/micro/sizes.yaml", 5}, {"sweeps/25m-en/sizes.yaml", 5},
		{"sweeps/micro/rom.yaml", 6}, {"sweeps/25m-en/rom.yaml", 5},
		{"sweeps/micro/experts_choose.yaml", 5}, {"sweeps/25m-en/experts_choose.yaml", 5},
		{"sweeps/25m-en/routers.yaml", 14}, {"sweeps/micro/balance.yaml", 8},
		{"sweeps/25m-en/balance.yaml", 8}, {"sweeps/micro/capacity_dynamic.yaml", 9},
		{"sweeps/25m-en/capacity_dynamic.yaml", 9},
		{"sweeps/micro/topk.yaml", 6}, {"sweeps/25m-en/topk.yaml", 6},
		{"sweeps/micro/routers.yaml", 14}, {"sweeps/micro-en/routers.yaml", 19},
		{"sweeps/micro-en/norm.yaml", 4}, {"sweeps/micro-en/balance.yaml", 10},
		{"sweeps/micro-en/granularity.yaml", 9}, {"sweeps/micro-en/routers_long.yaml", 14},
		{"sweeps/micro-en/routers_one_rate.yaml", 14}, {"sweeps/micro-en/rates.yaml", 12},
		{"sweeps/micro-en/rates_long.yaml", 40},
		{"sweeps/micro-en/table4.yaml", 6}, {"sweeps/micro-en/capacity.yaml", 4},
		{"sweeps/micro/hybrids.yaml", 36}, {"sweeps/recall-micro/controls.yaml", 12},
		{"sweeps/recall/mixers.yaml", 17},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct arena a = {0};
		struct sweep sweep;
		int n = 0;
		assert_int_equal(sweep_load(&a, rows[i].path, NULL, spec_schema(), &sweep), 0);
		for (int k = 0; k < sweep.n_runs; k++)
			n += sweep.runs[k].seed == sweep.runs[0].seed;
		if (n != rows[i].n)
			fail_msg("%s: %d configurations", rows[i].path, n);
		arena_release(&a);
	}
}

/* The paper's code cuts d_inner = int(expand * 512); counts by that, layer by layer, from its shapes. */
static void test_ratios_have_the_papers_widths(void **state)
{
	static const long totals[] = {403067928, 411797552, 416358400, 420938776, 425650224};
	struct arena a = {0};
	struct sweep sweep;
	size_t n = 0;

	(void)state;
	assert_int_equal(sweep_load(&a, "sweeps/25m/table2.yaml", NULL, spec_schema(), &sweep), 0);
	for (int k = 0; k < sweep.n_runs; k++) {
		const struct sweep_run *r = &sweep.runs[k];
		if (strcmp(r->variant, "moe_mamba"))
			continue;
		assert_true(n < ARRAY_SIZE(totals));
		if (llround(params_of_config(&r->config).total) != totals[n++])
			fail_msg("%s: not %ld parameters", r->label, totals[n - 1]);
	}
	assert_int_equal(n, ARRAY_SIZE(totals));
	arena_release(&a);
}

/* Fails where the configs differ in a key that is neither data nor budget; counts the others. */
static int compare_configs(const struct config *a, const struct config *b, const char *what)
{
	static const char *const free_keys[] = {"data.path", "data.sampling", "train.tokens",
		"eval.tokens", "checkpoint.keep", "question"};
	int n = 0;

	assert_int_equal(a->n, b->n);
	for (int i = 0; i < a->n; i++) {
		const char *key = a->values[i].field->key;
		bool is_free = false;
		for (size_t k = 0; k < ARRAY_SIZE(free_keys); k++)
			is_free = is_free || !strcmp(key, free_keys[k]);
		assert_string_equal(key, b->values[i].field->key);
		if (!is_free && strcmp(a->values[i].text, b->values[i].text))
			fail_msg("%s: %s is %s and %s", what, key, a->values[i].text, b->values[i].text);
		n += is_free && strcmp(a->values[i].text, b->values[i].text);
	}
	return n;
}

/* 25m-en is 25m on other text: specs, and the sweeps that keep the paper's rows. */
static void test_english_differs_by_data_and_budget(void **state)
{
	static const char *const sweeps[] = {"table2", "table3"};
	glob_t files;
	int n = 0;

	(void)state;
	assert_int_equal(glob("experiments/25m-en/*.yaml", 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		const char *name = strrchr(files.gl_pathv[i], '/');
		struct arena a = {0};
		struct config here, there;
		char path[256];
		if (is_part(name))
			continue;
		snprintf(path, sizeof path, "experiments/25m%s", name);
		assert_int_equal(spec_load(&a, files.gl_pathv[i], NULL, 0, spec_schema(), &here), 0);
		assert_int_equal(spec_load(&a, path, NULL, 0, spec_schema(), &there), 0);
		assert_int_equal(compare_configs(&here, &there, path), 5);
		arena_release(&a);
		n++;
	}
	globfree(&files);
	assert_int_equal(n, 20);
	for (size_t i = 0; i < ARRAY_SIZE(sweeps); i++) {
		struct arena a = {0};
		struct sweep here, there;
		char path[256];
		snprintf(path, sizeof path, "sweeps/25m-en/%s.yaml", sweeps[i]);
		assert_int_equal(sweep_load(&a, path, NULL, spec_schema(), &here), 0);
		snprintf(path, sizeof path, "sweeps/25m/%s.yaml", sweeps[i]);
		assert_int_equal(sweep_load(&a, path, NULL, spec_schema(), &there), 0);
		assert_int_equal(here.n_runs, 2 * there.n_runs);
		for (int k = 0; k < there.n_runs; k++) {
			const struct sweep_run *run = &here.runs[2 * k];
			assert_string_equal(run->label, there.runs[k].label);
			compare_configs(&run->config, &there.runs[k].config, run->label);
		}
		arena_release(&a);
	}
}

/* What a sweep sets must not cost the equality of active parameters that its specs have. */
static void test_micro_sweeps_have_equal_active(void **state)
{
	double wanted = params_of("experiments/micro/mamba.yaml", NULL).active;
	glob_t files;

	(void)state;
	assert_int_equal(glob("sweeps/micro*/*.yaml", 0, NULL, &files), 0);
	for (size_t i = 0; i < files.gl_pathc; i++) {
		struct arena a = {0};
		struct sweep sweep;
		assert_int_equal(sweep_load(&a, files.gl_pathv[i], NULL, spec_schema(), &sweep), 0);
		for (int k = 0; k < sweep.n_runs; k++) {
			const struct sweep_run *r = &sweep.runs[k];
			if (r->seed != sweep.runs[0].seed)
				continue;
			double active = params_of_config(&r->config).active;
			if (fabs(active / wanted - 1) > 0.02)
				fail_msg("%s: %s has %.0f active, mamba %.0f", files.gl_pathv[i], r->label,
					active, wanted);
		}
		arena_release(&a);
	}
	globfree(&files);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts_of_the_paper),
		cmocka_unit_test(test_counts_of_choices),
		cmocka_unit_test(test_counts_of_controls),
		cmocka_unit_test(test_counts_of_130m),
		cmocka_unit_test(test_equal_active),
		cmocka_unit_test(test_every_architecture_has_specs),
		cmocka_unit_test(test_sweeps_load),
		cmocka_unit_test(test_sweeps_hold_the_tables),
		cmocka_unit_test(test_ratios_have_the_papers_widths),
		cmocka_unit_test(test_english_differs_by_data_and_budget),
		cmocka_unit_test(test_micro_sweeps_have_equal_active),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
