/*
 * Training on streams: states go on from step to step and begin anew with an epoch, an evaluation is that
 * of whole streams at once, and training does not notice it.
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

#include "arch/arch.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "caught.h"
#include "folder.h"
#include "synthetic_dataset.h"
#include "train/evaluate.h"
#include "train/feed.h"

enum { BATCH = 3, CONTEXT = 16, N = BATCH * CONTEXT };

static int open_folder(void **state)
{
	(void)state;
	return path_tmp_folder(folder, sizeof folder, "stream") || synthetic_dataset(folder, 60000, 0.4, 0) ? -1 : 0;
}

struct rig {
	struct arena arena;
	struct config config;
	struct dataset data;
	struct setup setup;
	struct feed feed;
	struct evaluator evaluator;
	struct step_input input;
	int tokens[N], targets[N];
};

static int read_data(void *from, long step, long micro, int *tokens_BT, int *targets_BT)
{
	struct rig *rig = from;

	return feed_read(&rig->feed, step, micro, tokens_BT, targets_BT);
}

static bool begins(void *from, long step)
{
	struct rig *rig = from;

	return feed_begins(&rig->feed, step);
}

static void load(struct rig *rig, bool documents)
{
	char *text = xasprintf("{model: {arch: stack, d_model: 16, n_blocks: 1, pattern: [mamba, {attn: {n_heads: 2, "
		"window: 9}}]}, train: {tokens: 100000, batch: %d, context: %d}, data: {path: data, sampling: "
		"stream, reset_at_eot: %s}, eval: {tokens: 600}}", BATCH, CONTEXT, documents ? "true" : "false");
	char *path = path_join(folder, "spec.yaml"), *data = path_join(folder, "data");

	assert_int_equal(path_write(path, text, strlen(text)), 0);
	assert_int_equal(spec_load(&rig->arena, path, NULL, 0, spec_schema(), &rig->config), 0);
	assert_int_equal(dataset_open(&rig->data, data), 0);
	free(text);
	free(path);
	free(data);
}

static void open_rig(struct rig *rig, bool documents)
{
	struct setup *s = &rig->setup;

	*rig = (struct rig){0};
	load(rig, documents);
	assert_int_equal(setup_open(s, &rig->config, &device_list[CPU], rig->data.vocab), 0);
	assert_int_equal(setup_allocate(s), 0);
	assert_int_equal(feed_open(&rig->feed, &s->spec, &rig->data), 0);
	assert_int_equal(evaluator_open(&rig->evaluator, s, &rig->data, SPLIT_VAL), 0);
	rig->input = (struct step_input){.read = read_data, .from = rig, .begins = begins,
		.tokens_BT = rig->tokens, .targets_BT = rig->targets};
}

static void close_rig(struct rig *rig)
{
	evaluator_close(&rig->evaluator);
	feed_close(&rig->feed);
	setup_close(&rig->setup);
	dataset_close(&rig->data);
	arena_release(&rig->arena);
}

static double step(struct rig *rig, long i)
{
	struct step_result r;

	assert_int_equal(setup_step(&rig->setup, i, &rig->input, &r), 0);
	return r.ce;
}

/* Tokens of context count on from window to window. */
static double evaluate(struct rig *rig)
{
	const struct token_classes *c = &rig->evaluator.classes[SLICE_POSITION];
	struct evaluation e;

	assert_int_equal(evaluator_run(&rig->evaluator, &rig->setup, GRAPH_EVAL, &e), 0);
	assert_int_equal(c->high[c->n - 1], e.n_tokens / rig->evaluator.windows.streams);
	for (int i = 0; i < c->n; i++)
		assert_true(e.slices[SLICE_POSITION].tokens[i] ==
			(double)(rig->evaluator.windows.streams * (c->high[i] - c->low[i] + 1)));
	return e.loss;
}

static bool same_weights(const struct rig *a, const struct rig *b)
{
	return !memcmp(a->setup.memory.blob[BLOB_WEIGHTS], b->setup.memory.blob[BLOB_WEIGHTS],
		a->setup.memory.blob_bytes[BLOB_WEIGHTS]);
}

static int spec_with(struct run_spec *spec, const char *one, const char *other)
{
	const char *const keys[] = {one, other};
	struct arena a = {0};
	struct config c;

	assert_int_equal(config_parse(&a, "test", "{model: {arch: mamba, d_model: 16, n_blocks: 1}, train: {tokens: 1000, "
		"batch: 4, context: 16}, data: {path: none}}", keys, other ? 2 : 1, spec_schema(), &c), 0);
	int ret = run_spec_open(spec, &c);
	arena_release(&a);
	return ret;
}

/* The order of the data is the seed's, unless it has one of its own. */
static void test_seeds_and_batches(void **state)
{
	struct run_spec spec;

	(void)state;
	assert_true(spec_with(&spec, "seed=7", NULL) == 0 && spec.data_seed == 7 && spec.micro_batch == 4);
	assert_true(spec_with(&spec, "seed=7", "data.seed=0") == 0 && spec.data_seed == 0 && spec.seed == 7);
	assert_true(spec_with(&spec, "train.micro_batch=2", NULL) == 0 && spec.micro_batch == 2);
	catch_messages();
	assert_int_equal(spec_with(&spec, "train.micro_batch=3", NULL), -1);
	assert_caught("train.micro_batch 3 does not divide train.batch 4");
	error_sink = NULL;
}

/* However the batch is cut, a step has the same sequences. */
static void test_micro_batches_are_the_batch(void **state)
{
	struct run_spec spec = {.batch = 4, .micro_batch = 4, .context = CONTEXT, .data_seed = 1, .sampling = "shuffle"};
	int whole[2][4 * CONTEXT], part[2][2 * CONTEXT];
	char *path = path_join(folder, "data");
	struct feed all, cut;
	struct dataset d;

	(void)state;
	assert_int_equal(dataset_open(&d, path), 0);
	assert_int_equal(feed_open(&all, &spec, &d), 0);
	spec.micro_batch = 2;
	assert_int_equal(feed_open(&cut, &spec, &d), 0);
	for (long i = 0; i < 6; i++) {
		assert_int_equal(feed_read(&all, i / 2, 0, whole[0], whole[1]) |
			feed_read(&cut, i / 2, i % 2, part[0], part[1]), 0);
		for (int k = 0; k < 2; k++)
			assert_memory_equal(part[k], whole[k] + i % 2 * 2 * CONTEXT, sizeof part[k]);
	}
	feed_close(&all);
	feed_close(&cut);
	dataset_close(&d);
	free(path);
}

/* Evaluations, and what they carry, change nothing of training; other states do. */
static void test_training_by_itself(void **state)
{
	struct rig with, without, forgets;

	(void)state;
	open_rig(&with, false);
	open_rig(&without, false);
	open_rig(&forgets, false);
	for (long i = 0; i < 5; i++) {
		evaluate(&with);
		step(&with, i);
		step(&without, i);
		setup_begin_streams(&forgets.setup, STREAMS_TRAIN);
		step(&forgets, i);
		assert_true(same_weights(&with, &without));
		assert_int_equal(same_weights(&with, &forgets), i == 0);
	}
	close_rig(&with);
	close_rig(&without);
	close_rig(&forgets);
}

/* With the same weights, a step's loss where an epoch begins is that of a set-up that has seen nothing. */
static void test_epochs_begin_anew(void **state)
{
	struct rig a, b;
	long L;

	(void)state;
	open_rig(&a, false);
	open_rig(&b, false);
	a.setup.spec.lr = b.setup.spec.lr = 0;
	L = a.feed.sequences.length;
	assert_true(L > 2 && feed_begins(&a.feed, 0) && feed_begins(&a.feed, L) && !feed_begins(&a.feed, 1));
	for (long i = L - 2; i < L; i++)
		step(&a, i);
	assert_true(step(&a, L) == step(&b, L));
	assert_true(step(&a, L + 1) == step(&b, L + 1));
	setup_begin_streams(&b.setup, STREAMS_TRAIN);
	assert_true(step(&a, L + 2) != step(&b, L + 2));
	close_rig(&a);
	close_rig(&b);
}

/* Mean loss of the evaluation's streams, each as one long sequence. */
static double whole_streams(struct rig *rig)
{
	const struct evaluator *e = &rig->evaluator;
	long rows = e->windows.streams, windows = e->n_windows / rows, T = windows * CONTEXT;
	int *tokens = xcalloc((size_t)(rows * T), sizeof(int)), *targets = xcalloc((size_t)(rows * T), sizeof(int));
	struct setup whole;
	double loss;

	for (long i = 0; i < e->n_windows; i++) {
		long at = i % rows * T + i / rows * CONTEXT;
		assert_int_equal(sequences_read(&e->windows, i, 1, tokens + at, targets + at), 0);
	}
	assert_int_equal(setup_open_losses(&whole, &rig->config, &device_list[CPU], rig->data.vocab, rows, T, 0), 0);
	assert_int_equal(setup_allocate(&whole), 0);
	memcpy(whole.memory.blob[BLOB_WEIGHTS], rig->setup.memory.blob[BLOB_WEIGHTS],
		whole.memory.blob_bytes[BLOB_WEIGHTS]);
	graph_set_input(whole.graphs[GRAPH_EVAL], "tokens", tokens);
	graph_set_input(whole.graphs[GRAPH_EVAL], "targets", targets);
	graph_forward(whole.graphs[GRAPH_EVAL]);
	graph_fetch_metrics(whole.graphs[GRAPH_EVAL]);
	loss = graph_read(whole.graphs[GRAPH_EVAL], "ce", 0);
	setup_close(&whole);
	free(tokens);
	free(targets);
	return loss;
}

static void check_evaluation(bool documents)
{
	struct rig rig;
	double first;

	open_rig(&rig, documents);
	for (long i = 0; i < 30; i++)
		step(&rig, i);
	assert_int_equal(rig.evaluator.n_windows, 36);
	first = evaluate(&rig);
	assert_true(fabs(first - whole_streams(&rig)) < 1e-6);
	assert_true(first == evaluate(&rig));
	close_rig(&rig);
}

static void test_evaluation(void **state)
{
	(void)state;
	check_evaluation(false);
	check_evaluation(true);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seeds_and_batches), cmocka_unit_test(test_micro_batches_are_the_batch),
		cmocka_unit_test(test_training_by_itself), cmocka_unit_test(test_epochs_begin_anew),
		cmocka_unit_test(test_evaluation),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
