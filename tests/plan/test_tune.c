/* tune: what the run directories of trials make the sweep's own runs choose. Trials are only pretended. */
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
#include <jansson.h>

#include "base/error.h"
#include "base/path.h"
#include "plan/tune.h"
#include "store/run_dir.h"
#include "folder.h"
#include "synthetic_dataset.h"

#define HEAD "set: {model.d_model: 16, train.tokens: 2000, train.batch: 4, train.context: 16, data.path: data}\n" \
	"seeds: [1, 2]\n"
#define MAMBA "mamba: {set: {model: {arch: mamba, n_blocks: 2}}}"
#define DEEP "deep: {set: {model: {arch: mamba, n_blocks: 3}}}"
#define MLP "mlp: {set: {model: {arch: mamba_mlp, n_blocks: 1}}}"
#define SWEEP HEAD "variants: {" MAMBA ",\n  " MLP "}\n"

static char message[2048];

static void keep_message(const char *line)
{
	size_t n = strlen(message);

	snprintf(message + n, sizeof message - n, "%s", line);
}

static void write_file(const char *name, const char *text)
{
	assert_int_equal(path_write(name, text, strlen(text)), 0);
}

static int open_folder(void **state)
{
	(void)state;
	error_sink = keep_message;
	if (path_tmp_folder(folder, sizeof folder, "tune") || chdir(folder))
		return -1;
	return synthetic_dataset(".", 100000, 0.1, 0.05);
}

static int empty(void **state)
{
	(void)state;
	message[0] = '\0';
	return path_exists("results") ? path_remove_tree("results") : 0;
}

/* A trial ends with loss 2 + the distance of its rate from what suits the variant, or diverges. Seed 9 is lucky with
   the rate 0.01. */
static void pretend(const struct sweep_run *run, const struct job *job, double mamba, double mlp)
{
	double rate = config_find(&run->config, "train.lr")->real;
	double lucky = run->seed == 9 && rate < 0.015 ? 0.011 : 0;
	double loss = 2 + fabs(rate - (strcmp(run->variant, "mamba") ? mlp : mamba)) - lucky;
	struct run_info info = {.identity = job->identity, .label = job->label, .seed = job->seed,
		.sweep = "s.tune", .steps = job->steps, .jobs = 1, .config = "{}"};
	char *dir = xasprintf("results/runs/%s", job->name), *file = path_join(dir, "metrics.jsonl");
	char *line = xasprintf("{\"t\":\"eval\",\"step\":1,\"kind\":\"val\",\"loss\":9}\n"
		"{\"t\":\"eval\",\"step\":%ld,\"kind\":\"val\",\"loss\":%.9g}\n"
		"{\"t\":\"eval\",\"step\":%ld,\"kind\":\"val_dropless\",\"loss\":1}\n", job->steps, loss, job->steps);

	assert_int_equal(path_mkdirs(dir), 0);
	assert_int_equal(run_info_write(&info, dir), 0);
	write_file(file, line);
	assert_int_equal(run_dir_mark(dir, rate > 0.1 ? RUN_DIVERGED : RUN_DONE, "told to"), 0);
	free(line);
	free(file);
	free(dir);
}

static struct plan open_trials(void)
{
	struct plan p;

	assert_int_equal(tune_open(&p, "s.yaml", NULL, &device_list[CPU], "results"), 0);
	return p;
}

/* Does those that are missing; how many there are in all. */
static int do_trials(double mamba, double mlp)
{
	struct plan p = open_trials();
	int n = p.sweep.n_runs;

	for (int i = 0; i < n; i++) {
		assert_string_equal(config_find(&p.sweep.runs[i].config, "eval.split")->word, "tune");
		if (job_is_work(&p.jobs[i]))
			pretend(&p.sweep.runs[i], &p.jobs[i], mamba, mlp);
	}
	plan_close(&p);
	return n;
}

static struct plan open_sweep(void)
{
	struct plan p;

	assert_int_equal(plan_open(&p, "s.yaml", NULL, &device_list[CPU], "results"), 0);
	return p;
}

static double rate_of(const struct plan *p, int run)
{
	return config_find(&p->sweep.runs[run].config, "train.lr")->real;
}

static void test_each_variant_has_its_best(void **state)
{
	struct plan before, after;

	(void)state;
	write_file("s.yaml", SWEEP "tune: {over: {train.lr: [0.01, 0.02, 0.04, 0.2]}, seeds: [9, 8]}\n");
	before = open_sweep();
	assert_int_equal(before.trials_left, 16);
	assert_int_equal(do_trials(0.021, 0.2), 16);
	after = open_sweep();
	assert_int_equal(after.trials_left, 0);
	assert_int_equal(after.sweep.n_runs, 4);
	assert_true(rate_of(&after, 0) == 0.02 && rate_of(&after, 1) == 0.02);
	assert_true(rate_of(&after, 2) == 0.04 && rate_of(&after, 3) == 0.04);	/* 0.2 diverged */
	assert_string_equal(config_find(&after.sweep.runs[0].config, "train.lr")->origin, "tune: best of 4");
	assert_string_equal(config_find(&after.sweep.runs[0].config, "eval.split")->word, "val");
	assert_string_not_equal(before.jobs[0].identity, after.jobs[0].identity);
	assert_string_equal(message, "");
	plan_close(&before);
	plan_close(&after);
}

static void test_edge_warns(void **state)
{
	struct plan p;

	(void)state;
	write_file("s.yaml", SWEEP "tune: {over: {train.lr: [0.01, 0.02, 0.04]}, seeds: [8]}\n");
	do_trials(0.02, 0.09);
	assert_int_equal(do_trials(0, 0), 6);
	p = open_sweep();
	assert_true(rate_of(&p, 2) == 0.04);
	assert_non_null(strstr(message, "mlp: train.lr 0.04 is the largest of the values tried"));
	assert_null(strstr(message, "mamba"));
	plan_close(&p);
}

/* One variant at an edge gives all another value there, once. */
static void test_edge_extends(void **state)
{
	struct plan p;

	(void)state;
	write_file("s.yaml", SWEEP "tune: {over: {train.lr: [0.01, 0.02, 0.04]}, seeds: [8], extend: true}\n");
	assert_int_equal(do_trials(0.02, 0.07), 6);
	p = open_sweep();
	assert_int_equal(p.trials_left, 2);
	plan_close(&p);
	assert_int_equal(do_trials(0.02, 0.07), 8);
	p = open_sweep();
	assert_int_equal(p.trials_left, 0);
	assert_true(rate_of(&p, 0) == 0.02);
	assert_true(rate_of(&p, 2) == 0.08);
	plan_close(&p);
}

static void test_all_diverged(void **state)
{
	struct plan p;

	(void)state;
	write_file("s.yaml", SWEEP "tune: {over: {train.lr: [0.2, 0.4]}, seeds: [8]}\n");
	do_trials(0, 0);
	assert_int_equal(plan_open(&p, "s.yaml", NULL, &device_list[CPU], "results"), -1);
	assert_non_null(strstr(message, "no trial of mamba ended with a loss"));
}

/* Its loss before the end would choose wrongly. */
static void test_last_evaluation_is_lost(void **state)
{
	struct plan p;
	char *file, *text, *line;
	size_t n;

	(void)state;
	write_file("s.yaml", SWEEP "tune: {over: {train.lr: [0.01, 0.02, 0.04]}, seeds: [8]}\n");
	do_trials(0.02, 0.02);
	p = open_trials();
	file = xasprintf("results/runs/%s/metrics.jsonl", p.jobs[1].name);
	plan_close(&p);
	text = path_read(file, &n);
	line = strstr(strchr(text, '\n'), "eval");
	memset(line, 0, 4);	/* as after a crash of the machine */
	assert_int_equal(path_write(file, text, n), 0);
	assert_int_equal(plan_open(&p, "s.yaml", NULL, &device_list[CPU], "results"), -1);
	assert_non_null(strstr(message, "/metrics.jsonl: damaged: the evaluation behind step "));
	assert_non_null(strstr(message, "the last, is not in it: `moelab rm mamba-lr=0.02-s8-"));
	free(text);
	free(file);
}

/* --- records ---------------------------------------------------------------------------------- */

static void record(const struct plan *p, const struct sweep_options *o)
{
	assert_int_equal(plan_record(NULL, "results", p, "s.yaml", o), 0);
}

/* What `run` of the whole sweep, or of one variant, leaves. */
static void record_sweep(const char *restriction)
{
	const struct sweep_options o = {.restrict_to = &restriction, .n_restrict = restriction != NULL};
	struct plan p;

	assert_int_equal(plan_open(&p, "s.yaml", &o, &device_list[CPU], "results"), 0);
	assert_int_equal(p.trials_left, 0);
	record(&p, &o);
	plan_close(&p);
}

static void record_trials(const char *restriction)
{
	const struct sweep_options o = {.restrict_to = &restriction, .n_restrict = restriction != NULL};
	struct plan p;

	assert_int_equal(tune_open(&p, "s.yaml", &o, &device_list[CPU], "results"), 0);
	record(&p, &o);
	plan_close(&p);
}

/* Asserts which runs a record names, in its order. */
static void expect_runs(const char *path, const char *labels_and_seeds)
{
	json_t *sweep = json_load_file(path, 0, NULL), *run;
	struct str named;
	size_t i;

	str_init(&named);
	json_array_foreach(json_object_get(sweep, "runs"), i, run)
		str_printf(&named, "%s%s s%lld", i ? ", " : "", json_string_value(json_object_get(run, "label")),
			(long long)json_integer_value(json_object_get(run, "seed")));
	assert_string_equal(named.text, labels_and_seeds);
	str_release(&named);
	json_decref(sweep);
}

/* While trials of a new variant are missing, so that the other runs of the file are not known. */
static void test_record_keeps_runs_it_names(void **state)
{
	static const char tune[] = "tune: {over: {train.lr: [0.01, 0.02, 0.04]}, seeds: [8]}\n";
	static const char path[] = "results/sweeps/s.json", both[] = "mamba s1, mamba s2, mlp s1, mlp s2";
	char *text = xasprintf("%s%s", SWEEP, tune);

	(void)state;
	write_file("s.yaml", text);
	do_trials(0.02, 0.02);
	record_sweep(NULL);
	expect_runs(path, both);
	free(text);
	text = xasprintf("%s%s", HEAD "variants: {" MAMBA ", " DEEP ", " MLP "}\n", tune);
	write_file("s.yaml", text);
	record_sweep("variant=mlp");
	expect_runs(path, both);
	do_trials(0.02, 0.02);
	record_sweep("variant=mlp");
	expect_runs(path, "mamba s1, mamba s2, deep s1, deep s2, mlp s1, mlp s2");
	free(text);
	text = xasprintf("%s%s", HEAD "variants: {other: {set: {model: {arch: mamba_mlp, n_blocks: 2}}}, " MLP "}\n",
		tune);
	write_file("s.yaml", text);
	record_sweep("variant=mlp");
	expect_runs(path, "mlp s1, mlp s2");
	free(text);
}

/* Trials that others ran, of a sweep of another name or of more values, are the sweep's own. */
static void test_record_has_trials_of_others(void **state)
{
	static const char more[] = "tune: {over: {train.lr: [0.01, 0.02, 0.04]}, seeds: [8]}\n";
	static const char less[] = "tune: {over: {train.lr: [0.01, 0.02]}, seeds: [8]}\nname: t\n";
	char *text = xasprintf("%s%s", SWEEP, more);

	(void)state;
	write_file("s.yaml", text);
	do_trials(0.02, 0.04);
	free(text);
	text = xasprintf("%s%s", SWEEP, less);
	write_file("s.yaml", text);
	record_sweep(NULL);
	expect_runs("results/sweeps/t.json", "mamba s1, mamba s2, mlp s1, mlp s2");
	expect_runs("results/sweeps/t.tune.json",
		"mamba-lr=0.01 s8, mamba-lr=0.02 s8, mlp-lr=0.01 s8, mlp-lr=0.02 s8");
	free(text);
	text = xasprintf("%s%s", HEAD "variants: {" MAMBA ", " DEEP "}\n", less);
	write_file("s.yaml", text);
	record_sweep("variant=mamba");
	expect_runs("results/sweeps/t.tune.json",
		"mamba-lr=0.01 s8, mamba-lr=0.02 s8, deep-lr=0.01 s8, deep-lr=0.02 s8");	/* to be done */
	free(text);
}

/* Another value that mlp's edge has brought. */
static void test_record_keeps_trials_it_names(void **state)
{
	static const char tune[] = "tune: {over: {train.lr: [0.02, 0.03, 0.04]}, seeds: [8], extend: true}\n";
	char *text = xasprintf("%s%s", SWEEP, tune);

	(void)state;
	write_file("s.yaml", text);
	do_trials(0.03, 0.05);
	record_trials(NULL);
	expect_runs("results/sweeps/s.tune.json", "mamba-lr=0.02 s8, mamba-lr=0.03 s8, mamba-lr=0.04 s8, "
		"mamba-lr=0.0533333 s8, mlp-lr=0.02 s8, mlp-lr=0.03 s8, mlp-lr=0.04 s8, mlp-lr=0.0533333 s8");
	free(text);
	text = xasprintf("%s%s", HEAD "variants: {" MAMBA ", " DEEP "}\n", tune);
	write_file("s.yaml", text);
	record_trials("variant=deep");
	expect_runs("results/sweeps/s.tune.json", "mamba-lr=0.02 s8, mamba-lr=0.03 s8, mamba-lr=0.04 s8, "
		"mamba-lr=0.0533333 s8, deep-lr=0.02 s8, deep-lr=0.03 s8, deep-lr=0.04 s8");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_each_variant_has_its_best, empty),
		cmocka_unit_test_setup(test_edge_warns, empty),
		cmocka_unit_test_setup(test_edge_extends, empty),
		cmocka_unit_test_setup(test_all_diverged, empty),
		cmocka_unit_test_setup(test_last_evaluation_is_lost, empty),
		cmocka_unit_test_setup(test_record_keeps_runs_it_names, empty),
		cmocka_unit_test_setup(test_record_has_trials_of_others, empty),
		cmocka_unit_test_setup(test_record_keeps_trials_it_names, empty),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
