/*
 * match: a model made equal to another in active parameters or FLOPs. Expected values by brute force:
 * no neighbour of the solved value comes nearer.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "plan/match.h"
#include "plan/plan.h"
#include "folder.h"
#include "message.h"
#include "synthetic_dataset.h"

static void write_file(const char *name, const char *text)
{
	assert_int_equal(path_write(name, text, strlen(text)), 0);
}

/* mamba.yaml is what the others, in a folder of their own, are to equal. */
static int open_folder(void **state)
{
	(void)state;
	error_sink = keep_message;
	if (path_tmp_folder(folder, sizeof folder, "match") || chdir(folder) || path_mkdirs("specs"))
		return -1;
	write_file("mamba.yaml", "model: {arch: mamba, d_model: 32, n_blocks: 4}\n"
		"train: {tokens: 10000, batch: 4, context: 16}\ndata: {path: data}\n");
	write_file("specs/mlp.yaml", "model: {arch: mamba_mlp, d_model: 32, n_blocks: 2}\n"
		"train: {tokens: 10000, batch: 4, context: 16}\ndata: {path: ../data}\n"
		"match: {to: ../mamba.yaml, by: active, solve: model.ffn.d_hidden}\n");
	return synthetic_dataset(".", 100000, 0.1, 0.05);
}

static double cost_with(const char *spec, const char *key, bool flops)
{
	struct arena a = {0};
	struct config config;
	struct setup setup;
	struct cost cost;

	assert_int_equal(spec_load(&a, spec, &key, key ? 1 : 0, spec_schema(), &config), 0);
	assert_int_equal(setup_open(&setup, &config, &device_list[CPU], 0), 0);
	cost_of(&setup, &cost);
	setup_close(&setup);
	arena_release(&a);
	return flops ? cost.flops_per_token : cost.params.active;
}

static double distance(long d_hidden, bool flops)
{
	char key[64];

	snprintf(key, sizeof key, "model.ffn.d_hidden=%ld", d_hidden);
	return fabs(cost_with("specs/mlp.yaml", key, flops) - cost_with("mamba.yaml", NULL, flops));
}

static long solved(const char *by, struct config *config, struct arena *a)
{
	assert_int_equal(match_load(a, "specs/mlp.yaml", &by, 1, &device_list[CPU], config), 0);
	return config_find(config, "model.ffn.d_hidden")->integer;
}

static void check_solved(const char *by, bool flops)
{
	struct arena a = {0};
	struct config config;
	long d_hidden = solved(by, &config, &a);

	assert_true(distance(d_hidden, flops) <= 0.02 * cost_with("mamba.yaml", NULL, flops));
	assert_true(distance(d_hidden, flops) <= distance(d_hidden - 1, flops));
	assert_true(distance(d_hidden, flops) <= distance(d_hidden + 1, flops));
	assert_non_null(strstr(config_find(&config, "model.ffn.d_hidden")->origin, "match: "));
	assert_string_equal(config_find(&config, "match.to")->word, "");
	assert_string_equal(config_find(&config, "match.solve")->word, "");
	arena_release(&a);
}

static void test_nearest(void **state)
{
	(void)state;
	check_solved("match.by=active", false);
	check_solved("match.by=flops", true);
}

static void refuses(const char *override, const char *why)
{
	struct arena a = {0};
	struct config config;

	message[0] = '\0';
	assert_int_equal(match_load(&a, "specs/mlp.yaml", &override, 1, &device_list[CPU], &config), -1);
	if (!strstr(message, why))
		fail_msg("%s: %s", override, message);
	arena_release(&a);
}

static void test_refusals(void **state)
{
	(void)state;
	refuses("match.solve=model.norm_eps", "\"model.norm_eps\" is no whole-number key");
	refuses("match.solve=model.moe.d_expert", "\"model.moe.d_expert\" is no whole-number key");
	refuses("match.solve=train.batch", "\"train.batch\" is no whole-number key");
	refuses("model.ffn.d_hidden=64", "model.ffn.d_hidden is solved by match");
	refuses("match.to=specs/mlp.yaml", "is itself matched");
	refuses("match.solve=model.n_blocks", "no model.n_blocks comes within 2 %");
	refuses("match.to=nowhere.yaml", "nowhere.yaml");
}

static int open_sweep(struct plan *p, const char *text)
{
	write_file("sweep.yaml", text);
	return plan_open(p, "sweep.yaml", NULL, &device_list[CPU], "results");
}

/* The identity is that of the plain number. */
static void test_in_a_sweep(void **state)
{
	struct arena a = {0};
	struct config config;
	struct plan p;
	char text[512];
	long d_hidden = solved("match.by=active", &config, &a);

	(void)state;
	arena_release(&a);
	snprintf(text, sizeof text, "base: specs/mlp.yaml\nseeds: [1, 2]\nvariants:\n"
		"  matched: {}\n  plain: {set: {match.to: '', match.solve: '', model.ffn.d_hidden: %ld}}\n",
		d_hidden);
	assert_int_equal(open_sweep(&p, text), 0);
	assert_int_equal(p.sweep.n_runs, 4);
	assert_string_equal(p.jobs[0].identity, p.jobs[2].identity);
	assert_string_equal(p.jobs[1].identity, p.jobs[3].identity);
	assert_string_not_equal(p.jobs[0].identity, p.jobs[1].identity);
	plan_close(&p);
}

static void test_axis_is_refused(void **state)
{
	struct plan p;

	(void)state;
	assert_int_equal(open_sweep(&p,
		"base: specs/mlp.yaml\ngrid: {model.ffn.d_hidden: [32, 64]}\n"), -1);
	assert_non_null(strstr(message, "model.ffn.d_hidden is an axis of the sweep"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nearest),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_in_a_sweep),
		cmocka_unit_test(test_axis_is_refused),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
