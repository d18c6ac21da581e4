/*
 * A worker as a process: a run that is killed or stopped and taken up again ends with the same bits
 * as one that was left alone; records and checkpoints are those promised.
 */
#include "worker_process.h"

#include "base/clock.h"
#include "data/order.h"
#include "tensor/safetensors.h"
#include "near.h"

/* Hash of all tensors of the last checkpoint: weights and moments. */
static void final_hash(const char *dir, char *hex)
{
	char *path = xasprintf("%s/ckpt/step_%d.safetensors", dir, STEPS);
	struct safetensors f;

	assert_int_equal(safetensors_open(&f, path), 0);
	snprintf(hex, HASH_HEX, "%s", safetensors_metadata(&f, "hash"));
	safetensors_close(&f);
	free(path);
}

struct step_sum {
	double flops, drops;	/* at the end; sum over steps */
	bool slept;		/* do seconds stand still or fall? */
};

static struct step_sum steps_of(const char *dir)
{
	struct step_sum sum = {0};
	char *text = metrics(dir), *save = NULL;
	struct arena a = {0};
	struct record r;
	double seconds = 0;

	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (record_parse(&r, l, strlen(l), &a) && r.type == RECORD_IS_STEP) {
			sum.flops = r.step.flops;
			sum.drops += r.step.drop;
			sum.slept |= !(r.step.seconds > seconds);
			seconds = r.step.seconds;
		}
	arena_release(&a);
	free(text);
	return sum;
}

static void expect_equal_runs(const char *a, const char *b)
{
	char x[HASH_HEX], y[HASH_HEX];
	struct step_sum u = steps_of(a), v = steps_of(b);

	final_hash(a, x);
	final_hash(b, y);
	assert_string_equal(x, y);
	assert_true(u.flops > 0 && u.flops == v.flops);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void check_interrupted(const char *const *keys, int n_keys, const char *what)
{
	struct arena names = {0};
	char *whole = run_dir(arena_printf(&names, "whole%s", what), keys, n_keys);
	char *killed = run_dir(arena_printf(&names, "killed%s", what), keys, n_keys);
	char *stopped = run_dir(arena_printf(&names, "stopped%s", what), keys, n_keys), *text;
	pid_t pid;

	assert_int_equal(finish(start(whole)), WORKER_DONE);
	for (int i = 1; i <= 3; i++) {
		pid = start(killed);
		wait_for_checkpoints(killed, 4 * i);
		kill(pid, SIGKILL);
		assert_int_equal(finish(pid), -SIGKILL);
	}
	assert_int_equal(finish(start(killed)), WORKER_DONE);
	expect_equal_runs(whole, killed);
	pid = start(stopped);
	wait_for_checkpoints(stopped, 3);
	kill(pid, SIGTERM);
	assert_int_equal(finish(pid), WORKER_STOPPED);
	assert_int_equal(finish(start(stopped)), WORKER_DONE);
	expect_equal_runs(whole, stopped);
	assert_false(steps_of(stopped).slept);	/* they go on where they were */
	text = metrics(stopped);
	assert_int_equal(count(text, "\"kind\":\"resume\""), 1);
	assert_int_equal(count(text, "\"t\":\"step\""), STEPS);
	free(text);
	free(whole);
	free(killed);
	free(stopped);
	arena_release(&names);
}

static void test_interrupted_equals_unbroken(void **state)
{
	(void)state;
	check_interrupted(NULL, 0, "");
}

/* What streams carry is in checkpoints, too. */
static void test_interrupted_streams(void **state)
{
	(void)state;
	check_interrupted(KEYS("data.sampling=stream", "model.arch=stack", "model.pattern=[mamba, attn, moe]",
		"model.attn.n_heads=2", "train.context=32", "train.batch=8"), "-streams");
}

#define EVALUATIONS "\"t\":\"eval\",\"kind\":\"val\""

/* Trials of learning rates do not look at what their runs are judged by. */
static void test_split_evaluated(void **state)
{
	static const char *const words[] = {"eval.split=val", "eval.split=tune"};
	char *path = path_join(folder, "data"), hex[HASH_HEX];
	struct sequences windows;
	struct dataset d;

	(void)state;
	assert_int_equal(dataset_open(&d, path), 0);
	for (int k = 0; k < 2; k++) {
		char *dir = run_dir(words[k], KEYS("train.tokens=256", words[k])), *text;
		long n = sequences_eval(&windows, &d, k ? SPLIT_TUNE : SPLIT_VAL, 64, 1000);
		assert_int_equal(finish(start(dir)), WORKER_DONE);
		assert_int_equal(sequences_hash(&windows, n, hex), 0);
		text = metrics(dir);
		assert_int_equal(count(text, EVALUATIONS), 2);
		assert_int_equal(count(text, hex), 3);	/* of one without capacity, too */
		free(text);
		free(dir);
	}
	dataset_close(&d);
	free(path);
}

/* A finished run's records: each step once, evaluations where they are due, both capacity rules. */
static void test_records(void **state)
{
	char *dir = run_dir("records", NULL, 0), *text;

	(void)state;
	assert_int_equal(finish(start(dir)), WORKER_DONE);
	text = metrics(dir);
	assert_int_equal(count(text, "\"t\":\"step\""), STEPS);
	assert_int_equal(count(text, EVALUATIONS), 1 + STEPS / 7 + 1);
	assert_int_equal(count(text, "\"t\":\"eval\",\"kind\":\"val_dropless\""), 1);
	assert_int_equal(count(text, "\"kind\":\"done\""), 1);
	assert_true(count(text, "\"t\":\"expert\"") >= 2 * 30);
	assert_true(count(text, "\"t\":\"group\"") > 30);
	free(text);
	free(dir);
}

/* Model FLOPs do not count what an expert would have done for the tokens it dropped: forward 64 hidden
   units of 2 x 32 weights and a ReLU, backward twice that, in each of two layers. */
static void test_flops_without_dropped_tokens(void **state)
{
	const double expert = 3 * 64 * (2 * (32 + 32) + 1), tokens = 4 * 64;
	char *all = run_dir("all", KEYS("model.moe.capacity_factor=4")), *some = run_dir("some", NULL, 0);
	struct step_sum a, b;

	(void)state;
	assert_int_equal(finish(start(all)), WORKER_DONE);
	assert_int_equal(finish(start(some)), WORKER_DONE);
	a = steps_of(all);
	b = steps_of(some);
	assert_true(a.drops == 0 && b.drops > 0.1 * STEPS);
	assert_near((a.flops - b.flops) / (tokens * 2 * expert * b.drops), 1, 1e-4);
	free(all);
	free(some);
}

/* Of all parts but those named; the number of their numbers. */
static double sum_of_parts(const json_t *parts, const char *what, bool ends)
{
	const char *name;
	json_t *part;
	double sum = 0;

	json_object_foreach((json_t *)parts, name, part)
		if ((!strcmp(name, "embedding") || !strcmp(name, "lm_head")) == ends)
			sum += json_number_value(json_object_get(part, what));
	return sum;
}

/* The parts of the model are all of it; a mixture has 4 experts of 2 x 32 x 64 and a router of 4 x 32. */
static void test_parts(void **state)
{
	char *dir = run_dir("parts", KEYS("train.tokens=256", "train.clip=0")), *text;
	struct arena a = {0};
	struct record r;
	json_t *parts, *moe;
	double n;

	(void)state;
	assert_int_equal(finish(start(dir)), WORKER_DONE);
	text = metrics(dir);
	assert_true(record_parse(&r, text, strcspn(text, "\n"), &a) && r.type == RECORD_IS_ATTEMPT);
	assert_int_equal(count(text, "\"clipped\":0"), 1);
	parts = json_loads(r.attempt.parts, 0, NULL);
	assert_true(sum_of_parts(parts, "params", false) == (double)r.attempt.params_total);
	assert_true(sum_of_parts(parts, "active", false) == (double)r.attempt.params_active);
	assert_true(sum_of_parts(parts, "params", true) == (double)r.attempt.params_embedding);
	assert_near((sum_of_parts(parts, "flops", false) + sum_of_parts(parts, "flops", true)) /
		r.attempt.flops_per_token, 1, 1e-6);
	moe = json_object_get(parts, "moe");
	n = json_number_value(json_object_get(moe, "params")) / (4 * 32 + 4 * 2 * 32 * 64);
	assert_true(n >= 1 && n == floor(n));
	assert_true(json_number_value(json_object_get(moe, "active")) == n * (4 * 32 + 2 * 32 * 64));
	assert_near(json_number_value(json_object_get(json_object_get(parts, "lm_head"), "flops")) /
		(6 * 32 * 257), 1, 0.03);
	json_decref(parts);
	arena_release(&a);
	free(text);
	free(dir);
}

struct slice_sum {
	double nll, tokens, loss[2];	/* loss: of the rarest and of the most frequent class */
};

/* Adds a line of metrics.jsonl to the evaluation or the slice it is about, at the last step. */
static void add_slice(const struct record *r, struct slice_sum by[3], struct eval_record *last)
{
	const struct slice_record *s = &r->slice;
	int k = r->type != RECORD_IS_SLICE ? 0 : !strcmp(s->by, "position") ? 0
		: !strcmp(s->by, "frequency") ? 1 : 2;

	if (r->type == RECORD_IS_EVAL && r->eval.step == STEPS && !strcmp(r->eval.kind, "val"))
		*last = r->eval;
	if (r->type != RECORD_IS_SLICE || s->step != STEPS || strcmp(s->kind, "val"))
		return;
	if (!k)		/* 15 windows of 64 tokens */
		assert_int_equal(s->n_tokens, 15 * (s->high - s->low + 1));
	assert_true(s->loss > 2 && s->loss < 5);
	by[k].loss[by[k].tokens > 0] = s->loss;
	by[k].nll += s->loss * (double)s->n_tokens;
	by[k].tokens += (double)s->n_tokens;
}

/* The classes of each kind are all of the evaluation; what is frequent is learned first. */
static void test_slices(void **state)
{
	char *dir = run_dir("slices", KEYS("train.lr=0.01")), *text, *save = NULL;
	struct slice_sum by[3] = {0};
	struct eval_record last = {0};
	struct arena a = {0};
	struct record r;

	(void)state;
	assert_int_equal(finish(start(dir)), WORKER_DONE);
	text = metrics(dir);
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (record_parse(&r, l, strlen(l), &a))
			add_slice(&r, by, &last);
	for (int k = 0; k < 3; k++) {
		assert_true(by[k].tokens == (double)last.n_tokens && last.n_tokens == 15 * 64);
		assert_near(by[k].nll / by[k].tokens, last.loss, 1e-6);
	}
	assert_true(by[1].loss[1] < by[1].loss[0] - 0.1);
	arena_release(&a);
	free(text);
	free(dir);
}

/* keep 0: a run that is stopped can go on; one that is over leaves no file behind. */
static void test_nothing_kept(void **state)
{
	char *whole = run_dir("whole3", NULL, 0), *dir = run_dir("trial", KEYS("checkpoint.keep=0"));
	char *ckpt = path_join(dir, "ckpt");
	pid_t pid;

	(void)state;
	assert_int_equal(finish(start(whole)), WORKER_DONE);
	pid = start(dir);
	wait_for_checkpoints(dir, 1);
	kill(pid, SIGTERM);
	assert_int_equal(finish(pid), WORKER_STOPPED);
	assert_true(path_exists(ckpt));
	assert_int_equal(finish(start(dir)), WORKER_DONE);
	assert_false(path_exists(ckpt));
	free(ckpt);
	free(whole);
	free(dir);
}

/* What it has learnt would be lost: a run is not done without its last checkpoint. */
static void test_last_checkpoint_fails(void **state)
{
	char *dir = run_dir("full", KEYS("train.tokens=1024")), *mark = path_join(dir, "FAILED");
	char *in_its_place = path_join(dir, "ckpt/step_4.safetensors");

	(void)state;
	assert_int_equal(path_mkdirs(in_its_place), 0);
	assert_int_equal(finish(start(dir)), WORKER_FAILED);
	assert_true(path_exists(mark));
	free(in_its_place);
	free(mark);
	free(dir);
}

/* Waits for the checkpoint of a step. */
static void wait_for_step(const char *dir, int step)
{
	char *path = xasprintf("%s/ckpt/step_%d.safetensors", dir, step);

	for (int i = 0; i < 20000 && !path_exists(path); i++)
		usleep(500);
	assert_true(path_exists(path));
	free(path);
}

/* The likeliest token is never end of text. */
#define TEXTS(every, n) KEYS(every, "samples.prompts=[line]", "samples.temperature=0", "samples.tokens=" n)

/* A run that is stopped at a long text of a step, also of the last, ends at once, and writes the text when it goes
   on. */
static void test_stopped_at_a_text(void **state)
{
	static const char *const every[] = {"samples.every=10", "samples.every=30"};
	char *whole = run_dir("whole4", NULL, 0);

	(void)state;
	assert_int_equal(finish(start(whole)), WORKER_DONE);
	for (int k = 0; k < 2; k++) {
		const char *name = k ? "last-text" : "text";
		char *dir = run_dir(name, TEXTS(every[k], "1048576")), *text;
		pid_t pid = start(dir);
		double told;
		wait_for_step(dir, k ? STEPS - 1 : 9);
		usleep(200000);
		kill(pid, SIGTERM);
		told = clock_s();
		assert_int_equal(finish(pid), WORKER_STOPPED);
		assert_true(clock_s() - told < 3);
		wait_for_step(dir, k ? STEPS : 10);
		free(run_dir(name, TEXTS(every[k], "5")));
		assert_int_equal(finish(start(dir)), WORKER_DONE);
		expect_equal_runs(whole, dir);
		text = metrics(dir);
		assert_int_equal(count(text, "\"kind\":\"sample\""), k ? 1 : 3);
		free(text);
		free(dir);
	}
	free(whole);
}

/* Stops a run at an evaluation, which takes most of its time. Its directory, caller frees. */
static char *stop_at_evaluation(int try)
{
	char *name = xasprintf("evaluation%d", try), *text;
	char *dir = run_dir(name, KEYS("eval.every=1", "eval.tokens=5000"));
	pid_t pid = start(dir);
	bool within;

	wait_for_checkpoints(dir, 3);
	usleep(5000);
	kill(pid, SIGTERM);
	assert_int_equal(finish(pid), WORKER_STOPPED);
	text = metrics(dir);
	within = count(text, EVALUATIONS) == count(text, "\"t\":\"step\"");
	free(text);
	free(name);
	if (within)
		return dir;
	free(dir);
	return NULL;
}

/* A run that is stopped at an evaluation does not end it: it makes it when it goes on, and none twice. */
static void test_stopped_at_an_evaluation(void **state)
{
	char *whole = run_dir("whole5", KEYS("eval.every=1", "eval.tokens=5000")), *dir = NULL, *text;

	(void)state;
	assert_int_equal(finish(start(whole)), WORKER_DONE);
	for (int try = 0; try < 20 && !dir; try++)
		dir = stop_at_evaluation(try);
	assert_non_null(dir);
	assert_int_equal(finish(start(dir)), WORKER_DONE);
	expect_equal_runs(whole, dir);
	text = metrics(dir);
	assert_int_equal(count(text, EVALUATIONS), 1 + STEPS);
	assert_int_equal(count(text, "\"t\":\"step\""), STEPS);
	free(text);
	free(whole);
	free(dir);
}

static void test_damaged_checkpoint_is_passed_over(void **state)
{
	char *whole = run_dir("whole2", NULL, 0), *dir = run_dir("damaged", KEYS("checkpoint.keep=5"));
	char *path = NULL;
	pid_t pid;

	(void)state;
	assert_int_equal(finish(start(whole)), WORKER_DONE);
	pid = start(dir);
	wait_for_checkpoints(dir, 6);
	kill(pid, SIGKILL);
	finish(pid);
	for (int step = STEPS; step > 0; step--) {
		free(path);
		path = xasprintf("%s/ckpt/step_%d.safetensors", dir, step);
		if (path_exists(path))
			break;
	}
	assert_int_equal(truncate(path, 5000), 0);
	assert_int_equal(finish(start(dir)), WORKER_DONE);
	expect_equal_runs(whole, dir);
	free(path);
	free(whole);
	free(dir);
}

static void expect_finite(const char *dir)
{
	char *folder_of = path_join(dir, "ckpt"), *path;
	struct safetensors f;
	int n;
	long *steps = run_dir_checkpoints(folder_of, &n);

	assert_int_equal(n, 1);
	path = xasprintf("%s/step_%ld.safetensors", folder_of, steps[0]);
	assert_int_equal(safetensors_open(&f, path), 0);
	assert_true(f.n > 0);
	for (int i = 0; i < f.n; i++)
		for (long k = 0; k < safetensor_size(&f.list[i]); k++)
			assert_true(isfinite(safetensor_at(&f.list[i], k)));
	safetensors_close(&f);
	free(path);
	free(steps);
	free(folder_of);
}

/* A learning rate that blows up: the run says so, and its checkpoint holds finite weights. */
static void test_diverged(void **state)
{
	char *dir = run_dir("diverged", KEYS("train.lr=100", "train.weight_decay=10")), *text,
		*mark = path_join(dir, "DIVERGED");
	struct arena a = {0};
	struct run_status status;

	(void)state;
	assert_int_equal(finish(start(dir)), WORKER_DIVERGED);
	assert_true(path_exists(mark));
	run_dir_status(dir, &a, &status);
	assert_int_equal(status.state, RUN_DIVERGED);
	text = metrics(dir);
	assert_int_equal(count(text, "\"kind\":\"diverged\""), 1);
	expect_finite(dir);
	free(text);
	free(mark);
	free(dir);
	arena_release(&a);
}

static void test_missing_data_fails(void **state)
{
	char *dir = run_dir("nodata", KEYS("data.path=/nowhere")), *mark = path_join(dir, "FAILED");

	(void)state;
	assert_int_equal(finish(start(dir)), WORKER_FAILED);
	assert_true(path_exists(mark));
	free(mark);
	free(dir);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_interrupted_equals_unbroken), cmocka_unit_test(test_interrupted_streams),
	cmocka_unit_test(test_records), cmocka_unit_test(test_split_evaluated),
	cmocka_unit_test(test_flops_without_dropped_tokens),
	cmocka_unit_test(test_slices), cmocka_unit_test(test_parts),
	cmocka_unit_test(test_damaged_checkpoint_is_passed_over),
	cmocka_unit_test(test_nothing_kept), cmocka_unit_test(test_last_checkpoint_fails),
	cmocka_unit_test(test_stopped_at_a_text),
	cmocka_unit_test(test_stopped_at_an_evaluation),
	cmocka_unit_test(test_diverged),
	cmocka_unit_test(test_missing_data_fails),
};

WORKER_TESTS_MAIN(tests)
