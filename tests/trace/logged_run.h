/*
 * A run whose every number is to be recomputed: a small mixture trained with a checkpoint of each
 * step, its records, a trace of each step, and one of the windows of each evaluation.
 */
#ifndef TESTS_TRACE_LOGGED_RUN_H
#define TESTS_TRACE_LOGGED_RUN_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "base/rng.h"
#include "base/str.h"
#include "data/import.h"
#include "data/order.h"
#include "store/record.h"
#include "store/run_dir.h"
#include "tensor/safetensors.h"
#include "trace/trace.h"
#include "train/worker.h"

enum {
	STEPS = 6, BATCH = 4, CONTEXT = 16, N = BATCH * CONTEXT, VOCAB = 257, WIDTH = 16,
	ROUTERS = 2, EXPERTS = 12, D_EXPERT = 8, GROUP = 32,	/* tokens of a routing group */
	CAPACITY = 4,			/* int(1.6 * 32 / 12) */
	WINDOWS = 5, N_EVAL = WINDOWS * CONTEXT,	/* the last group is half full */
	DROPLESS = STEPS + 1,
};

static const double peak = 0.03, clip = 0.35, beta1 = 0.9, decay = 0.1;
static const char mixture[] = "model: {arch: moe_mamba, d_model: 16, n_blocks: 2, "
	"moe: {n_experts: 12, d_expert: 8, capacity_factor: 1.6, group_tokens: 32, z_loss: 0.02}}\n"
	"train: {batch: 4, micro_batch: 2, context: 16, tokens: 384, lr: 0.03, warmup: 0.34, "
	"clip: 0.35}\n"
	"data: {path: data}\neval: {tokens: 80, every: 1}\nlog: {every: 1}\n"
	"checkpoint: {every: 0, keep: 100}\n";

/* The run at hand. */
static char folder[256];
static const char *device, *spec = mixture;
static double tolerance;
static struct arena arena;
static struct record records[1000];
static int n_records;
static struct safetensors steps[STEPS + 1];	/* [k]: the step after k updates */
static struct safetensors evals[STEPS + 2];	/* [k]: the windows under these weights; [DROPLESS] */
static char windows_hash[HASH_HEX];
static double bytes_per_token;			/* of the validation split */
static long train_count[VOCAB];
static long train_pairs[VOCAB][VOCAB];		/* that one followed the other */

/* ---- a run, its records and traces ---------------------------------------------------------- */

static inline const char *in_folder(const char *name)
{
	return arena_printf(&arena, "%s/%s", folder, name);
}

/* Every 40 bytes a pair of signs that stands there alone, twice: what can be recalled and not known. */
static inline int sign_at(uint64_t i)
{
	uint64_t pair = i / 40, at = i % 40;

	if (at != 3 && at != 4 && at != 8 && at != 9)
		return 0;
	return at % 5 == 3 ? '0' + (int)(pair % 32) : '0' + (int)(pair / 32);
}

/* Letters of falling frequency, down to some that occur a few times. */
static inline void make_data(void)
{
	const char *input = in_folder("text.txt");
	struct import_options o = {.tokenizer = "byte", .n_inputs = 1, .inputs = &input, .val = 0.1,
		.tune = 0.05, .split = "blank:100", .output = in_folder("data")};
	struct rng_key key = {.seed = 5};
	struct str text;

	str_init(&text);
	for (uint64_t i = 0; i < 40000; i++) {
		double u = rng_uniform(rng_block(key, i), 0);
		str_printf(&text, "%c%s", sign_at(i) ? sign_at(i) : 'a' + (int)fmin(-log(u) * 2.2, 25),
			i % 200 ? "" : "\n\n");
	}
	assert_int_equal(path_write(input, text.text, text.length), 0);
	assert_int_equal(data_import(&o), 0);
	str_release(&text);
}

static inline void train(const char *dir)
{
	struct config config;
	struct run_info info = {.identity = "0123456789abcdef0123456789abcdef", .label = "run",
		.sweep = "test", .seed = 1, .steps = STEPS, .jobs = 1, .config = "{}"};

	assert_int_equal(path_write(in_folder("spec.yaml"), spec, strlen(spec)), 0);
	assert_int_equal(path_mkdirs(dir), 0);
	assert_int_equal(spec_load(&arena, in_folder("spec.yaml"), NULL, 0, spec_schema(), &config), 0);
	assert_int_equal(config_write(&config, arena_printf(&arena, "%s/config.yaml", dir)), 0);
	assert_int_equal(run_info_write(&info, dir), 0);
	assert_int_equal(worker_main(dir, &(struct worker_options){.device = device, .pipe = -1,
		.threads = 1}), WORKER_DONE);
}

static inline void read_records(const char *dir)
{
	char *text = path_read(arena_printf(&arena, "%s/metrics.jsonl", dir), NULL), *save = NULL;

	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (n_records < (int)ARRAY_SIZE(records) &&
			record_parse(&records[n_records], l, strlen(l), &arena))
			n_records++;
	free(text);
}

static inline void trace(struct safetensors *f, const char *what, const char *name,
	const char *const *keys, int n_keys)
{
	struct trace_options o = {.device = device, .logits = TRACE_LOGITS_ALL, .outputs = true,
		.overrides = keys, .n_overrides = n_keys};

	assert_int_equal(trace_write(what, &o, in_folder(name)), 0);
	assert_int_equal(safetensors_open(f, in_folder(name)), 0);
}

/* The windows of an evaluation, and one more that fills the last group, as tokens of a trace. */
static inline void trace_windows(struct safetensors *f, const struct safetensors *step,
	const int *tokens, const int *targets, const char *factor)
{
	struct safetensor list[64];
	struct safetensors_meta meta = {"spec", safetensors_metadata(step, "spec")};
	const char *file = in_folder("windows.safetensors");
	const char *keys[] = {"train.batch=6", "train.micro_batch=2", factor};
	int n = 0;

	for (int i = 0; i < step->n; i++)
		if (str_starts(step->list[i].name, "param."))
			list[n++] = step->list[i];
	list[n++] = (struct safetensor){.name = "tokens", .dtype = "I32", .n_dims = 2,
		.dims = {WINDOWS + 1, CONTEXT}, .data = tokens, .bytes = 4 * (N_EVAL + CONTEXT)};
	list[n] = list[n - 1];
	list[n].name = "targets";
	list[n++].data = targets;
	assert_int_equal(safetensors_write(file, list, n, &meta, 1), 0);
	trace(f, file, arena_printf(&arena, "eval%d.safetensors", (int)(f - evals)), keys, 3);
}

static inline void read_data(int *tokens, int *targets)
{
	struct dataset d;
	struct sequences s;
	long n, text = 0;
	int *all;

	assert_int_equal(dataset_open(&d, in_folder("data")), 0);
	assert_int_equal(sequences_eval(&s, &d, SPLIT_VAL, CONTEXT, N_EVAL), WINDOWS);
	assert_int_equal(sequences_hash(&s, WINDOWS, windows_hash), 0);
	assert_int_equal(sequences_read(&s, 0, WINDOWS + 1, tokens, targets), 0);
	memset(train_count, 0, sizeof train_count);
	memset(train_pairs, 0, sizeof train_pairs);
	for (enum split split = SPLIT_TRAIN; split <= SPLIT_VAL; split++) {
		n = d.splits[split].n_tokens;
		all = xcalloc((size_t)n, sizeof *all);
		assert_int_equal(dataset_read(&d, split, 0, n, all), 0);
		for (long i = 0; i < n; i++) {
			train_count[all[i]] += split == SPLIT_TRAIN;
			if (split == SPLIT_TRAIN && i)
				train_pairs[all[i - 1]][all[i]]++;
			text += split == SPLIT_VAL && all[i] < 256;	/* but end of text */
		}
		free(all);
		bytes_per_token = (double)text / (double)n;
	}
	dataset_close(&d);
}

static inline int open_run(void **state)
{
	int tokens[N_EVAL + CONTEXT], targets[N_EVAL + CONTEXT];

	(void)state;
	if (path_tmp_folder(folder, sizeof folder, "logged"))
		return -1;
	make_data();
	train(in_folder("run"));
	read_records(in_folder("run"));
	read_data(tokens, targets);
	for (int k = 0; k <= STEPS; k++) {
		const char *what = k ? arena_printf(&arena, "%s@%d", in_folder("run"), k)
			: in_folder("spec.yaml");
		trace(&steps[k], what, arena_printf(&arena, "step%d.safetensors", k), NULL, 0);
		trace_windows(&evals[k], &steps[k], tokens, targets, "model.moe.capacity_factor=1.6");
	}
	trace_windows(&evals[DROPLESS], &steps[STEPS], tokens, targets, "model.moe.capacity_factor=12");
	return 0;
}

static inline int close_run(void **state)
{
	(void)state;
	for (int k = 0; k <= STEPS; k++)
		safetensors_close(&steps[k]);
	for (int k = 0; k <= DROPLESS; k++)
		safetensors_close(&evals[k]);
	arena_release(&arena);
	n_records = 0;
	return path_remove_tree(folder);
}

static inline void swallow(const char *line)
{
	(void)line;
}

/* The tests of a run that `open` makes, on ref and on the CPU. */
static inline int logged_main(char **argv, const struct CMUnitTest *tests, size_t n, CMFixtureFunction open)
{
	int failed;

	blas_start(argv);
	error_sink = swallow;
	device = "ref";
	tolerance = 1e-6;
	failed = _cmocka_run_group_tests("logged on ref", tests, n, open, close_run);
	device = "cpu";
	tolerance = 1e-4;
	return failed | _cmocka_run_group_tests("logged on cpu", tests, n, open, close_run);
}

/* ---- comparing ------------------------------------------------------------------------------ */

static inline void expect(const char *column, long step, double logged, double is)
{
	if (isnan(logged) != isnan(is) || fabs(logged - is) > tolerance * fmax(fabs(is), 1e-2))
		fail_msg("%s after %ld updates, %s: logged %.9g, is %.9g", column, step, device, logged, is);
}

static inline void expect_text(const char *logged, const char *is)
{
	assert_non_null(logged);
	assert_string_equal(logged, is);
}

/* Calls check for each record of a type; their number. */
static inline int each(enum record_type type, void (*check)(const struct record *r))
{
	int n = 0;

	for (int i = 0; i < n_records; i++)
		if (records[i].type == type) {
			check(&records[i]);
			n++;
		}
	return n;
}

static inline const struct step_record *step_of(long step)
{
	for (int i = 0; i < n_records; i++)
		if (records[i].type == RECORD_IS_STEP && records[i].step.step == step)
			return &records[i].step;
	return NULL;
}

static inline const struct attempt_record *attempt(void)
{
	for (int i = 0; i < n_records; i++)
		if (records[i].type == RECORD_IS_ATTEMPT)
			return &records[i].attempt;
	fail_msg("no attempt");
	return NULL;
}

static inline const struct safetensor *find(const struct safetensors *f, const char *name)
{
	const struct safetensor *t = safetensors_find(f, name);

	if (!t)
		fail_msg("no %s in the trace", name);
	return t;
}

#endif
