/*
 * Models of values on rows of them: scores of classes and forecasts against what other graphs say, rules that learn
 * nothing against values by hand, whole runs that are taken up again, and what is refused.
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

#include "base/error.h"
#include "base/half.h"
#include "base/path.h"
#include "data/dataset_writer.h"
#include "data/task.h"
#include "store/record.h"
#include "store/run_dir.h"
#include "train/baseline.h"
#include "train/evaluate.h"
#include "train/worker.h"
#include "message.h"
#include "near.h"

enum { SIDE = 8, PIXELS = SIDE * SIDE, IMAGES = 267, VAL_ROWS = 6, TEST_ROWS = 7 };

static char folder[256];
static struct arena arena;

static const char *in_folder(const char *name)
{
	return arena_printf(&arena, "%s/%s", folder, name);
}

static int make(const char *task, const char *const *settings, int n)
{
	return data_make(task_find(task), &(struct make_options){.folder = in_folder(task), .settings = settings,
		.n_settings = n});
}

static int open_folder(void **state)
{
	static const char *const images[] = {"train=8:40", "tests=8:7", "val=6", "tune=0"};
	static const char *const series[] = {"train=12x4:40", "tests=12x4:7,12x8:7", "val=6", "tune=0", "steps=400",
		"regime=100", "season=6"};

	(void)state;
	log_level = LOG_QUIET;
	if (path_tmp_folder(folder, sizeof folder, "values"))
		return -1;
	return make("figures", images, ARRAY_SIZE(images)) || make("series", series, ARRAY_SIZE(series)) ? -1 : 0;
}

static int close_folder(void **state)
{
	(void)state;
	arena_release(&arena);
	return path_remove_tree(folder);
}

#define IMAGE "data: {path: figures, vocab: 267}\ntrain: {batch: 4, context: 64, tokens: 20480, lr: 1e-2}\n" \
	"eval: {tokens: 384, every: 10}\n"
#define SERIES_SPEC "data: {path: series, vocab: 65536}\ntrain: {batch: 4, context: 16, tokens: 1280, lr: 1e-2}\n" \
	"eval: {tokens: 96, every: 10}\n"
#define MAMBA "arch: mamba, d_model: 16, n_blocks: 1"
#define MIXTURE "arch: moe_mamba, d_model: 16, n_blocks: 1, moe: {n_experts: 4, d_expert: 8, capacity_factor: 0.5}"

static int try_load(struct config *c, const char *model, const char *rest)
{
	const char *text = arena_printf(&arena, "model: {%s}\n%s", model, rest), *file = in_folder("spec.yaml");

	assert_int_equal(path_write(file, text, strlen(text)), 0);
	return spec_load(&arena, file, NULL, 0, spec_schema(), c);
}

static void open_for(struct setup *s, struct config *c, struct dataset *d, const char *model, const char *rest)
{
	struct setup_data data;

	assert_int_equal(try_load(c, model, rest), 0);
	assert_int_equal(dataset_open(d, config_find(c, "data.path")->word), 0);
	data = setup_data_of(d);
	assert_int_equal(setup_open_for(s, c, &device_list[CPU], &data), 0);
	assert_int_equal(setup_allocate(s), 0);
}

/* What another model of the same seed says to one row after the other: [N, V] at `said`. */
static void say(struct setup *other, int *tokens, int *targets, double *said)
{
	struct graph *g = other->graphs[GRAPH_LOGITS];

	graph_set_input(g, "tokens", tokens);
	graph_set_input(g, "targets", targets);
	graph_forward(g);
	graph_fetch_metrics(g);
	graph_read_all(g, "lm_head.logits", said);
}

static void open_saying(struct setup *s, struct config *c, const char *model, const char *rest, long row, long vocab)
{
	assert_int_equal(try_load(c, model, rest), 0);
	config_set(c, &arena, "train.context", arena_printf(&arena, "%ld", row), "test");
	config_set(c, &arena, "train.batch", "1", "test");
	assert_int_equal(setup_open_traced(s, c, &device_list[CPU], vocab, (struct net_trace){.logits = true}), 0);
	assert_int_equal(setup_allocate(s), 0);
}

/* ---- classes -------------------------------------------------------------------------------- */

/* By what is said at the last position of each image. */
static struct recall_score classes_by_logits(const struct dataset *d, enum split split, const char *model, int patch)
{
	static double said[PIXELS * IMAGES];
	int tokens[PIXELS], targets[PIXELS];
	struct recall_score score = {0};
	struct config c;
	struct setup s;

	open_saying(&s, &c, model, IMAGE, PIXELS, IMAGES);
	for (long i = 0; i < d->splits[split].n_documents; i++) {
		const double *last = said + (PIXELS / patch - 1) * IMAGES;
		double sum = 0;
		int best = 0;
		assert_int_equal(dataset_read(d, split, 2 * i * PIXELS, PIXELS, tokens), 0);
		assert_int_equal(dataset_read(d, split, (2 * i + 1) * PIXELS, PIXELS, targets), 0);
		say(&s, tokens, targets, said);
		for (int v = 0; v < IMAGES; v++) {
			sum += exp(last[v]);
			best = last[v] > last[best] ? v : best;
		}
		score.nll += log(sum) - last[targets[PIXELS - 1]];
		score.tokens++;
		score.right += best == targets[PIXELS - 1];
	}
	setup_close(&s);
	return score;
}

/* Read byte by byte and in patches, with one position's output and with the mean; evaluation and test set, whose
   last replays are not full. */
static void test_classes(void **state)
{
	static const struct {
		const char *model;
		int patch;
	} cases[] = {{MAMBA, 1}, {MAMBA ", patch: 8", 8}, {MAMBA ", patch: 4, pool: mean", 4}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct recall_score score, expected;
		struct evaluation r;
		struct evaluator e;
		struct dataset d;
		struct config c;
		struct setup s;
		open_for(&s, &c, &d, cases[i].model, IMAGE);
		expected = classes_by_logits(&d, (enum split)N_SPLITS, cases[i].model, cases[i].patch);
		assert_int_equal(recall_test(&score, &s, &d, (enum split)N_SPLITS), 0);
		assert_true(score.tokens == TEST_ROWS && score.answers == TEST_ROWS && score.error == 0);
		assert_int_equal(score.right, expected.right);
		assert_near(score.nll, expected.nll, 1e-4);
		expected = classes_by_logits(&d, SPLIT_VAL, cases[i].model, cases[i].patch);
		assert_int_equal(evaluator_open(&e, &s, &d, SPLIT_VAL), 0);
		assert_int_equal(evaluator_run(&e, &s, GRAPH_EVAL, &r), 0);
		assert_int_equal(r.n_tokens, VAL_ROWS);
		assert_near(r.loss, expected.nll / VAL_ROWS, 1e-5);
		assert_near(r.accuracy, (double)expected.right / VAL_ROWS, 1e-9);
		evaluator_close(&e);
		setup_close(&s);
		dataset_close(&d);
	}
}

/* Positions of rows that are there are routed, those that fill a replay up are not: six images in replays of four. */
static void test_routed(void **state)
{
	struct evaluation r;
	struct evaluator e;
	struct dataset d;
	struct config c;
	struct setup s;

	(void)state;
	open_for(&s, &c, &d, MIXTURE ", patch: 8", IMAGE);
	assert_int_equal(evaluator_open(&e, &s, &d, SPLIT_VAL), 0);
	assert_int_equal(evaluator_run(&e, &s, GRAPH_EVAL, &r), 0);
	assert_true(graph_read(s.graphs[GRAPH_EVAL], s.routers.dropped[0], 1) == (VAL_ROWS - 4) * PIXELS / 8);
	assert_int_equal(r.n_tokens, VAL_ROWS);
	evaluator_close(&e);
	setup_close(&s);
	dataset_close(&d);
}

/* ---- forecasts ------------------------------------------------------------------------------ */

/* By predictions in the units of each row's normalisation, undone here. */
static struct recall_score errors_by_hand(const struct dataset *d, enum split split, const char *model)
{
	long T = d->splits[split].row;
	int *tokens = ARENA_ARRAY(&arena, int, T), *targets = ARENA_ARRAY(&arena, int, T);
	double *said = ARENA_ARRAY(&arena, double, T);
	struct recall_score score = {0};
	struct config c;
	struct setup s;

	open_saying(&s, &c, model, SERIES_SPEC, T, 65536);
	for (long i = 0; i < d->splits[split].n_documents; i++) {
		double mean = 0, square = 0;
		assert_int_equal(dataset_read(d, split, 2 * i * T, T, tokens), 0);
		assert_int_equal(dataset_read(d, split, (2 * i + 1) * T, T, targets), 0);
		say(&s, tokens, targets, said);
		for (int t = 0; t < 12; t++)
			mean += half_value(tokens[t]) / 12;
		for (int t = 0; t < 12; t++)
			square += pow(half_value(tokens[t]) - mean, 2) / 12;
		for (long t = 12; t < T; t++) {
			double e = mean + sqrt(square + 1e-5) * said[t] - half_value(targets[t]);
			score.nll += e * e;
			score.error += fabs(e);
			score.tokens++;
		}
	}
	setup_close(&s);
	return score;
}

static void test_forecasts(void **state)
{
	static const char model[] = MAMBA ", patch: 4, head: forecast";
	struct recall_score expected, score;
	struct evaluation r;
	struct evaluator e;
	struct dataset d;
	struct config c;
	struct setup s;

	(void)state;
	open_for(&s, &c, &d, model, SERIES_SPEC);
	for (enum split test = N_SPLITS; (int)test < d.n_splits; test++) {
		expected = errors_by_hand(&d, test, model);
		assert_int_equal(recall_test(&score, &s, &d, test), 0);
		assert_int_equal(score.tokens, TEST_ROWS * d.splits[test].items);
		assert_true(score.right == 0 && score.answers == TEST_ROWS);
		assert_near(score.nll, expected.nll, 1e-4);
		assert_near(score.error, expected.error, 1e-4);
	}
	expected = errors_by_hand(&d, SPLIT_VAL, model);
	assert_int_equal(evaluator_open(&e, &s, &d, SPLIT_VAL), 0);
	assert_int_equal(evaluator_run(&e, &s, GRAPH_EVAL, &r), 0);
	assert_near(r.loss, expected.nll / (VAL_ROWS * 4), 1e-5);
	assert_near(r.answers.error, expected.error, 1e-4);
	assert_true(isnan(r.accuracy) && isnan(r.bpb));
	evaluator_close(&e);
	setup_close(&s);
	dataset_close(&d);
}

/* ---- rules ---------------------------------------------------------------------------------- */

enum { WIDTH = 6 };

/* A dataset of the rows, which train, val and one test set hold alike. */
static void write_rows(struct dataset *d, const char *name, const struct tokenizer_type *type, long season,
	uint16_t *rows, long n)
{
	struct dataset_part part = {.tokens = {.id = rows, .n = (size_t)(2 * WIDTH * n)}, .n_documents = n};
	struct dataset_writer w;
	json_t *none = json_object();

	assert_int_equal(dataset_writer_open(&w, in_folder(name), false, type, 1000, 0), 0);
	dataset_writer_rows(&w, WIDTH);
	w.d.season = season;
	assert_int_equal(dataset_writer_test(&w, "test", 4, 2, WIDTH), N_SPLITS);
	assert_int_equal(dataset_writer_add(&w, SPLIT_TRAIN, &part) | dataset_writer_add(&w, SPLIT_VAL, &part) |
		dataset_writer_add(&w, (enum split)N_SPLITS, &part) | dataset_writer_commit(&w, none), 0);
	dataset_writer_release(&w);
	json_decref(none);
	assert_int_equal(dataset_open(d, in_folder(name)), 0);
}

/* Answers 3, 5, 5 and 5: 7 is never one, as 8 says that nothing is asked. */
static void test_most_frequent(void **state)
{
	uint16_t rows[2 * 2 * WIDTH] = {1, 1, 1, 1, 1, 1, 8, 3, 8, 5, 8, 5, 2, 2, 2, 2, 2, 2, 8, 8, 8, 8, 8, 5};
	const struct tokenizer_type type = {.name = "ids", .vocab = 9, .eot = 8};
	struct baseline all[MAX_SPLITS];
	struct sequences val;
	struct dataset d;
	long n;

	(void)state;
	write_rows(&d, "ids", &type, 0, rows, 2);
	assert_int_equal(baseline_answer(&d), 5);
	n = sequences_eval(&val, &d, SPLIT_VAL, WIDTH, 1000);
	assert_int_equal(baselines_of(all, &val, n), 0);
	assert_true(all[SPLIT_VAL].majority == 0.75 && all[N_SPLITS].majority == 0.75 && isnan(all[N_SPLITS].last_mse));
	dataset_close(&d);
}

/* Known 1 2 4, asked 6 7 8. The last is 4. In a season of 2 what stands before are 2, 4 and, two seasons back, 2;
   without a season, or with one that begins before the row, there is no such rule. */
static void test_last_and_season(void **state)
{
	enum { M = HALF_MISSING };
	uint16_t row[2 * WIDTH] = {half_bits(1), half_bits(2), half_bits(4), M, M, M, M, M, M, half_bits(6),
		half_bits(7), half_bits(8)};
	const struct tokenizer_type type = {.name = SERIES, .vocab = 65536, .eot = M};

	(void)state;
	for (int season = 0; season <= 6; season += season ? 4 : 2) {
		struct baseline all[MAX_SPLITS];
		struct sequences val;
		struct dataset d;
		write_rows(&d, season == 2 ? "season" : season ? "long" : "none", &type, season, row, 1);
		assert_int_equal(sequences_eval(&val, &d, SPLIT_VAL, WIDTH, 1000), 1);
		assert_int_equal(baselines_of(all, &val, 1), 0);
		for (int s = SPLIT_VAL; s <= N_SPLITS; s += N_SPLITS - SPLIT_VAL) {
			assert_near(all[s].last_mse, (4 + 9 + 16) / 3.0, 1e-9);
			assert_near(all[s].last_mae, 3, 1e-9);
			assert_true(isnan(all[s].majority) && isnan(all[s].season_mse) == (season != 2));
			assert_true(season != 2 || (fabs(all[s].season_mse - (16 + 9 + 36) / 3.0) < 1e-9 &&
				fabs(all[s].season_mae - 13 / 3.0) < 1e-9));
		}
		dataset_close(&d);
	}
}

/* Asked 6 and 7 in seasons of 2 behind 2, 1, none, 5: the last is 5, and what stood before are 2, two seasons back,
   and 5. In the second row the phase of 6 is missing in all seasons: the last value stands in. In the third nothing is
   known, and 0 is said. */
static void test_rules_of_gaps(void **state)
{
	enum { M = HALF_MISSING, ROWS = 3 };
	static const double known[ROWS][4] = {{2, 1, NAN, 5}, {NAN, 1, NAN, 5}, {NAN, NAN, NAN, NAN}};
	const struct tokenizer_type type = {.name = SERIES, .vocab = 65536, .eot = M};
	uint16_t rows[ROWS * 2 * WIDTH];
	struct baseline all[MAX_SPLITS];
	struct sequences val;
	struct dataset d;

	(void)state;
	for (int i = 0; i < ROWS * 2 * WIDTH; i++) {
		int t = i % WIDTH;
		rows[i] = i / WIDTH % 2 == (t < 4) ? M : t < 4 ? half_bits(known[i / (2 * WIDTH)][t]) : half_bits(t + 2);
	}
	write_rows(&d, "gaps", &type, 2, rows, ROWS);
	assert_int_equal(sequences_eval(&val, &d, SPLIT_VAL, WIDTH, 1000), ROWS);
	assert_int_equal(baselines_of(all, &val, ROWS), 0);
	assert_true(fabs(all[SPLIT_VAL].last_mse - (1 + 4 + 1 + 4 + 36 + 49) / 6.0) < 1e-9);
	assert_true(fabs(all[SPLIT_VAL].season_mse - (16 + 4 + 1 + 4 + 36 + 49) / 6.0) < 1e-9);
	assert_true(fabs(all[SPLIT_VAL].season_mae - (4 + 2 + 1 + 2 + 6 + 7) / 6.0) < 1e-9);
	dataset_close(&d);
}

/* ---- runs ----------------------------------------------------------------------------------- */

static const char *run_dir(const char *name, const char *model, const char *rest)
{
	struct run_info info = {.identity = "0123456789abcdef0123456789abcdef", .label = name, .sweep = "test",
		.seed = 1, .steps = 20, .jobs = 1, .config = "{}"};
	const char *dir = in_folder(name);
	struct config c;

	assert_int_equal(try_load(&c, model, rest), 0);
	assert_int_equal(path_mkdirs(dir), 0);
	assert_int_equal(config_write(&c, arena_printf(&arena, "%s/config.yaml", dir)), 0);
	assert_int_equal(run_info_write(&info, dir), 0);
	return dir;
}

static int train(const char *dir)
{
	return worker_main(dir, &(struct worker_options){.pipe = -1, .threads = 1});
}

static struct recall_record last_score(const char *dir, const char *test)
{
	char *text = path_read(arena_printf(&arena, "%s/metrics.jsonl", dir), NULL), *save = NULL;
	struct recall_record found = {.test = NULL};
	struct record r;

	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (record_parse(&r, l, strlen(l), &arena) && r.type == RECORD_IS_RECALL &&
			!strcmp(r.recall.test, test))
			found = r.recall;
	free(text);
	assert_non_null(found.test);
	return found;
}

/* Classes are learned, with the rule's share beside them. */
static void test_run_of_images(void **state)
{
	const char *dir = run_dir("images", MAMBA ", patch: 8, pool: mean", IMAGE);
	struct recall_record r;

	(void)state;
	assert_int_equal(train(dir), WORKER_DONE);
	r = last_score(dir, "8");
	assert_true(r.n_tokens == TEST_ROWS && r.accuracy >= 0 && isnan(r.mae) && isnan(r.last_mse));
	assert_true(r.majority >= 0 && r.majority < 0.7);
	assert_true(r.loss < 3);	/* of 267 ids at first 5.6, of ten digits 2.3 */
}

/* A run that is stopped and taken up again ends with the same weights as one that is not. */
static void test_taken_up_again(void **state)
{
	static const char model[] = MIXTURE ", patch: 4, head: forecast";
	const char *whole = run_dir("whole", model, SERIES_SPEC "checkpoint: {every: 1e-9, keep: 100}\n");
	const char *parts = run_dir("parts", model, SERIES_SPEC "checkpoint: {every: 1e-9, keep: 100}\n");
	const char *last = "ckpt/step_20.safetensors";
	struct recall_record r;
	size_t n, m;
	char *a, *b;

	(void)state;
	assert_int_equal(train(whole), WORKER_DONE);
	assert_int_equal(train(parts), WORKER_DONE);
	for (int step = 11; step <= 20; step++)		/* what a killed run would have left at step 10 */
		assert_int_equal(unlink(arena_printf(&arena, "%s/ckpt/step_%d.safetensors", parts, step)), 0);
	assert_int_equal(unlink(arena_printf(&arena, "%s/DONE", parts)), 0);
	assert_int_equal(train(parts), WORKER_DONE);
	a = path_read(arena_printf(&arena, "%s/%s", whole, last), &n);
	b = path_read(arena_printf(&arena, "%s/%s", parts, last), &m);
	assert_non_null(a);
	assert_non_null(b);
	n = n < m ? n : m;	/* the clock stands in the header; weights and moments behind it */
	assert_memory_equal(a + n / 2, b + m - (n - n / 2), n - n / 2);
	free(a);
	free(b);
	r = last_score(parts, "12x8");
	assert_true(r.length == 12 && r.items == 8 && r.n_tokens == TEST_ROWS * 8 && r.n_answers == TEST_ROWS);
	assert_true(isnan(r.accuracy) && isnan(r.majority) && r.mae > 0 && r.loss > 0 && r.mae * r.mae <= r.loss);
	assert_true(r.last_mse > 0 && r.season_mse > 0 && r.season_mae > 0 && r.last_mae > 0);
}

/* ---- refused -------------------------------------------------------------------------------- */

static void refuse(const char *model, const char *rest, const char *why)
{
	struct dataset d;
	struct config c;
	struct setup s;

	message[0] = '\0';
	if (!try_load(&c, model, rest)) {
		assert_int_equal(dataset_open(&d, config_find(&c, "data.path")->word), 0);
		struct setup_data data = setup_data_of(&d);
		if (!setup_open_for(&s, &c, &device_list[CPU], &data))
			fail_msg("%s: was taken", model);
		dataset_close(&d);
	}
	if (!strstr(message, why))
		fail_msg("%s: said \"%s\", not \"%s\"", model, message, why);
}

static void test_refused(void **state)
{
	(void)state;
	error_sink = keep_message;
	refuse(MAMBA ", head: forecast", SERIES_SPEC, "model.head forecast says values of a series: set model.patch");
	refuse(MAMBA ", patch: 4, head: copy", IMAGE, "model.head copy points at tokens");
	refuse(MAMBA ", head: copy, pool: mean", IMAGE, "model.pool mean is for what is said of a whole sequence");
	refuse(MAMBA ", patch: 4, head: forecast, pool: mean", SERIES_SPEC,
		"not for model.head forecast: set it to last");
	refuse(MAMBA ", patch: 5", IMAGE, "rows of 64 values are no whole positions of model.patch 5");
	refuse(MAMBA ", patch: 16, head: forecast", SERIES_SPEC, "rows of 20 values are no whole positions");
	refuse(MAMBA ", patch: 4", SERIES_SPEC, "the data are values of a series: set model.head=forecast");
	refuse(MAMBA, SERIES_SPEC, "the data are values of a series: set model.head=forecast");
	refuse(MAMBA ", patch: 4, head: forecast", IMAGE, "model.head=forecast is for values of a series");
	refuse(MAMBA ", patch: 4", IMAGE "data.reset_at_eot: true\n", "set data.reset_at_eot to false");
	refuse(MAMBA ", patch: 4, head: forecast", SERIES_SPEC "train.position_gain: 1\n", "all weigh the same");
	refuse("arch: moe_mamba, d_model: 16, n_blocks: 1, moe: {router: reinforce, n_experts: 2, d_expert: 8}, "
		"patch: 4, head: forecast", SERIES_SPEC, "model.moe.select sample is taught by the loss of each token");
	refuse(MAMBA ", patch: 4", IMAGE "samples: {every: 5, prompts: [a]}\n", "writes no text");
	error_sink = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_classes), cmocka_unit_test(test_routed), cmocka_unit_test(test_forecasts),
		cmocka_unit_test(test_most_frequent), cmocka_unit_test(test_last_and_season),
		cmocka_unit_test(test_rules_of_gaps),
		cmocka_unit_test(test_run_of_images), cmocka_unit_test(test_taken_up_again),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, open_folder, close_folder);
}
