/*
 * Scores of answers: by hand, against logits of the same model, and as a run records them; tokens of
 * which nothing is asked are there for the routers.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "data/dataset_writer.h"
#include "data/order.h"
#include "data/task.h"
#include "store/record.h"
#include "store/run_dir.h"
#include "train/checkpoint.h"
#include "train/evaluate.h"
#include "train/feed.h"
#include "train/worker.h"
#include "message.h"
#include "near.h"

enum { T = 16, LONG = 32, B = 4, TEST_ROWS = 7, VAL_ROWS = 6, VOCAB = 21 };

static char folder[256];
static struct arena arena;

static const char *in_folder(const char *name)
{
	return arena_printf(&arena, "%s/%s", folder, name);
}

static int open_folder(void **state)
{
	static const char *const settings[] = {"train=16x3:64,8x2:64", "tests=16x2:7,32x4:7", "vocab=20",
		"fill=random", "val=6", "tune=0"};

	(void)state;
	log_level = LOG_QUIET;
	if (path_tmp_folder(folder, sizeof folder, "recall"))
		return -1;
	return data_make(task_find("mqar"), &(struct make_options){.folder = in_folder("data"),
		.settings = settings, .n_settings = (int)ARRAY_SIZE(settings)});
}

static int close_folder(void **state)
{
	(void)state;
	arena_release(&arena);
	return path_remove_tree(folder);
}

/* A small model with words ended by NULL on top. */
static void load(struct config *c, const char *const *words)
{
	static const char base[] = "model: {d_model: 16, n_blocks: 1}\n"
		"train: {batch: 4, context: 16, tokens: 1280, lr: 1e-2}\n"
		"data: {path: data, vocab: 21}\neval: {tokens: 96, every: 10}\n";
	const char *file = in_folder("spec.yaml");
	int n = 0;

	while (words[n])
		n++;
	assert_int_equal(path_write(file, base, strlen(base)), 0);
	assert_int_equal(spec_load(&arena, file, words, n, spec_schema(), c), 0);
}

#define WORDS(...) (const char *const[]){__VA_ARGS__, NULL}
#define MAMBA WORDS("model.arch=mamba")
#define MIXTURE WORDS("model.arch=moe_mamba", "model.moe.n_experts=4", "model.moe.d_expert=8",             \
	"model.moe.capacity_factor=0.5")

/* ---- by hand -------------------------------------------------------------------------------- */

/* Two rows of six: answers {right}, {wrong, right}; {wrong}, {right, right, right}. */
static void test_by_hand(void **state)
{
	static const int targets[12] = {-1, 3, -1, -1, 4, 5, 6, -1, -1, 7, 8, 9};
	static const double correct[12] = {1, 1, 0, 0, 0, 1, 0, 1, 0, 1, 1, 1};
	static const double nll[12] = {9, 1, 9, 9, 2, 3, 4, 9, 9, 5, 6, 7};
	struct recall_score s = {0};

	(void)state;
	recall_add(&s, &(struct recall_rows){targets, nll, correct, 2, 6, false});
	assert_true(s.tokens == 7 && s.right == 5 && s.answers == 4 && s.whole == 2 && s.nll == 28);
	recall_add(&s, &(struct recall_rows){targets, nll, correct, 1, 6, false});
	assert_true(s.tokens == 10 && s.right == 7 && s.answers == 6 && s.whole == 3 && s.nll == 34);
	s = (struct recall_score){0};	/* an answer does not go on in the next row */
	recall_add(&s, &(struct recall_rows){targets, nll, correct, 4, 3, false});
	assert_true(s.tokens == 7 && s.answers == 4);
	recall_add(&s, &(struct recall_rows){targets, nll, correct, 0, 6, false});
	assert_true(s.tokens == 7);
}

/* ---- against logits ------------------------------------------------------------------------- */

static void open_for_data(struct setup *s, const struct config *c, const struct dataset *d)
{
	struct setup_data data = setup_data_of(d);

	assert_int_equal(data.n_tests, 2);
	assert_int_equal(setup_open_for(s, c, &device_list[CPU], &data), 0);
	assert_int_equal(setup_allocate(s), 0);
}

/* The same by the logits that another model of the same seed, or with the weights of a run, gives for one
   row after the other. An answer is over where the next token is not asked for. */
static struct recall_score by_logits(const struct dataset *d, enum split test, const char *const *words,
	const char *dir)
{
	long row = d->splits[test].row, n = d->splits[test].n_documents, V = d->vocab;
	int *tokens = ARENA_ARRAY(&arena, int, row), *targets = ARENA_ARRAY(&arena, int, row);
	double *logit = ARENA_ARRAY(&arena, double, row * V);
	struct recall_score score = {0};
	struct sequences rows;
	struct progress progress;
	struct config c;
	struct setup s;
	bool whole = true;

	load(&c, words);
	config_set(&c, &arena, "train.context", arena_printf(&arena, "%ld", row), "test");
	config_set(&c, &arena, "train.batch", "1", "test");
	assert_int_equal(setup_open_traced(&s, &c, &device_list[CPU], V,
		(struct net_trace){.logits = true}), 0);
	assert_int_equal(setup_allocate(&s), 0);
	if (dir)
		assert_int_equal(checkpoint_resume(&s, dir, &progress), 1);
	assert_int_equal(sequences_init(&rows, d, test, (int)row, 5), 0);
	for (long i = 0; i < n; i++) {
		assert_int_equal(sequences_read(&rows, i, 1, tokens, targets), 0);
		graph_set_input(s.graphs[GRAPH_LOGITS], "tokens", tokens);
		graph_set_input(s.graphs[GRAPH_LOGITS], "targets", targets);
		graph_forward(s.graphs[GRAPH_LOGITS]);
		graph_fetch_metrics(s.graphs[GRAPH_LOGITS]);
		graph_read_all(s.graphs[GRAPH_LOGITS], "lm_head.logits", logit);
		for (long t = 0; t < row; t++) {
			double sum = 0;
			int best = 0;
			if (targets[t] < 0)
				continue;
			for (int v = 0; v < V; v++) {
				sum += exp(logit[t * V + v]);
				best = logit[t * V + v] > logit[t * V + best] ? v : best;
			}
			score.nll += log(sum) - logit[t * V + targets[t]];
			score.tokens++;
			score.right += best == targets[t];
			whole &= best == targets[t];
			if (t + 1 == row || targets[t + 1] < 0) {
				score.answers++;
				score.whole += whole;
				whole = true;
			}
		}
	}
	setup_close(&s);
	return score;
}

/* A short test set, and one longer than what is trained on; the last replay is not full. */
static void test_against_logits(void **state)
{
	static const char *const words[] = {"model.arch=mamba", "seed=3", NULL};
	struct dataset d;
	struct config c;
	struct setup s;
	long right = 0;

	(void)state;
	load(&c, words);
	assert_int_equal(dataset_open(&d, in_folder("data")), 0);
	open_for_data(&s, &c, &d);
	for (enum split test = N_SPLITS; (int)test < d.n_splits; test++) {
		struct recall_score score, expected = by_logits(&d, test, words, NULL);
		assert_int_equal(recall_test(&score, &s, &d, test), 0);
		assert_int_equal(score.tokens, TEST_ROWS * d.splits[test].items);
		assert_int_equal(score.answers, score.tokens);	/* of one token each */
		assert_int_equal(score.tokens, expected.tokens);
		assert_int_equal(score.right, expected.right);
		assert_int_equal(score.whole, score.right);
		assert_near(score.nll, expected.nll, 1e-4);
		right += score.right;
	}
	assert_true(right > 0);		/* one of 21 guesses, else the example shows nothing */
	setup_close(&s);
	dataset_close(&d);
}

/* ---- evaluation ----------------------------------------------------------------------------- */

/* All tokens of the rows are routed, whether anything is asked of them or not; what fills the last
   replay up is not. Six rows in replays of four. */
static void test_routed(void **state)
{
	struct evaluation r;
	struct evaluator e;
	struct dataset d;
	struct config c;
	struct setup s;
	const double asked = 3 * 3 + 3 * 2;	/* pairs of the rows */
	double valid;

	(void)state;
	load(&c, MIXTURE);
	assert_int_equal(dataset_open(&d, in_folder("data")), 0);
	open_for_data(&s, &c, &d);
	assert_int_equal(evaluator_open(&e, &s, &d, SPLIT_VAL), 0);
	assert_int_equal(e.n_windows, VAL_ROWS);
	for (int g = GRAPH_EVAL; g <= GRAPH_EVAL_DROPLESS; g++) {
		assert_int_equal(evaluator_run(&e, &s, (enum setup_graph)g, &r), 0);
		valid = graph_read(s.graphs[g], s.routers.dropped[0], 1);
		assert_true(valid == (VAL_ROWS - B) * T);
		assert_true(g == GRAPH_EVAL ? r.drop > 0.3 : r.drop == 0);
		assert_near(r.choices, 1 - r.drop, 1e-6);
		assert_near(r.unserved, r.drop, 1e-6);
		assert_true(r.n_tokens == asked && r.answers.tokens == asked);
		assert_near(r.loss, r.answers.nll / asked, 1e-9);
		assert_near(r.accuracy, (double)r.answers.right / asked, 1e-9);
		assert_true(isnan(r.bpb) && isnan(r.share_bigram) && isnan(r.loss_bigram));
		valid = 0;
		for (int i = 0; i < e.classes[SLICE_POSITION].n; i++)
			valid += r.slices[SLICE_POSITION].tokens[i];
		assert_true(valid == asked && e.classes[SLICE_FREQUENCY].n == 0);
	}
	evaluator_close(&e);
	setup_close(&s);
	dataset_close(&d);
}

/* Routing groups of training need not fit rows of tests: each is one group, and takes all tokens. */
static void test_groups(void **state)
{
	static const char *const words[] = {"model.arch=moe_mamba", "model.moe.n_experts=4",
		"model.moe.d_expert=8", "train.batch=3", "model.moe.group_tokens=48", NULL};
	struct recall_score score;
	struct dataset d;
	struct config c;
	struct setup s;

	(void)state;
	load(&c, words);
	assert_int_equal(dataset_open(&d, in_folder("data")), 0);
	open_for_data(&s, &c, &d);
	assert_int_equal(s.data.tests[1].context, LONG);
	assert_int_equal(s.data.tests[1].batch, 1);	/* of the 48 tokens that training has at once */
	assert_int_equal(recall_test(&score, &s, &d, (enum split)(N_SPLITS + 1)), 0);
	assert_int_equal(score.tokens, TEST_ROWS * 4);
	assert_true(graph_read(s.graphs[N_SETUP_GRAPHS + 1], s.routers.dropped[0], 0) == 0);
	setup_close(&s);
	dataset_close(&d);
}

/* Text: E ends documents, and training has the pair 1 1 often, 5 6 once, which is not too often. Repeats are at 3, 6, 7,
   8, 9 and, of 1 1, at 12 and 13; within its document there is one at 6 besides. */
static void test_repeats(void **state)
{
	enum { E = 256 };
	static uint16_t train[100], val[17] = {5, 6, E, 5, 6, 7, 5, 6, E, 5, 6, 1, 1, 1, 1, 8, 8};
	struct dataset_part parts[2] = {{{train, 100, 0}, 1, 100}, {{val, 17, 0}, 3, 15}};
	struct tokenizer t;
	struct dataset_writer w;
	struct dataset d;
	json_t *none = json_object();

	(void)state;
	for (int i = 0; i < 100; i++)
		train[i] = i == 50 ? 5 : i == 51 ? 6 : 1;
	assert_int_equal(tokenizer_open(&t, "byte"), 0);
	assert_int_equal(dataset_writer_open(&w, in_folder("text"), false, t.type, 1000, 0), 0);
	assert_int_equal(dataset_writer_add(&w, SPLIT_TRAIN, &parts[0]) |
		dataset_writer_add(&w, SPLIT_VAL, &parts[1]) | dataset_writer_commit(&w, none), 0);
	dataset_writer_release(&w);
	json_decref(none);
	assert_int_equal(dataset_open(&d, in_folder("text")), 0);
	for (int apart = 0; apart < 2; apart++) {
		struct config c;
		struct setup s;
		struct evaluator e;
		struct evaluation r;
		load(&c, WORDS("model.arch=mamba", "data.vocab=257", apart ? "data.reset_at_eot=true"
			: "data.reset_at_eot=false"));
		assert_int_equal(setup_open(&s, &c, &device_list[CPU], 257), 0);
		assert_int_equal(setup_allocate(&s), 0);
		assert_int_equal(evaluator_open(&e, &s, &d, SPLIT_VAL), 0);
		assert_int_equal(evaluator_run(&e, &s, GRAPH_EVAL, &r), 0);
		assert_true(r.slices[SLICE_RECALL].tokens[1] == (apart ? 1 : 5));
		assert_true(r.slices[SLICE_RECALL].tokens[0] == (apart ? 15 : 11));
		assert_near(r.slices[SLICE_RECALL].nll[0] + r.slices[SLICE_RECALL].nll[1],
			16 * r.loss, 1e-9);
		assert_near(r.share_bigram, 7.0 / 16, 1e-9);	/* as ever */
		evaluator_close(&e);
		setup_close(&s);
	}
	tokenizer_close(&t);
	dataset_close(&d);
}

/* ---- refused -------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
	struct setup_data data = {.n_vocab = VOCAB, .rows = true};
	struct dataset d;
	struct config c;
	struct setup s;
	struct feed f;

	(void)state;
	error_sink = keep_message;
	load(&c, WORDS("model.arch=mamba", "train.micro_batch=2"));
	assert_int_equal(setup_open_for(&s, &c, &device_list[CPU], &data), -1);
	assert_non_null(strstr(message, "train.micro_batch=2: the loss is a mean over the answers"));
	assert_int_equal(dataset_open(&d, in_folder("data")), 0);
	load(&c, WORDS("model.arch=mamba", "train.context=8"));
	assert_int_equal(setup_open_for(&s, &c, &device_list[CPU], &data), 0);
	assert_int_equal(feed_open(&f, &s.spec, &d), -1);
	assert_non_null(strstr(message, "set train.context=16"));
	setup_close(&s);
	dataset_close(&d);
	error_sink = NULL;
}

/* ---- a run ---------------------------------------------------------------------------------- */

static char *run_dir(const char *name, const char *const *words)
{
	struct run_info info = {.identity = "0123456789abcdef0123456789abcdef", .label = name,
		.sweep = "test", .seed = 1, .steps = 20, .jobs = 1, .config = "{}"};
	char *dir = (char *)in_folder(name);
	struct config c;

	load(&c, words);
	assert_int_equal(path_mkdirs(dir), 0);
	assert_int_equal(config_write(&c, arena_printf(&arena, "%s/config.yaml", dir)), 0);
	assert_int_equal(run_info_write(&info, dir), 0);
	return dir;
}

static int train(const char *dir)
{
	return worker_main(dir, &(struct worker_options){.pipe = -1, .threads = 1});
}

/* The recall records, as lines; their number. */
static int recalls(const char *dir, char out[32][300])
{
	char *text = path_read(arena_printf(&arena, "%s/metrics.jsonl", dir), NULL), *save = NULL;
	int n = 0;

	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (strstr(l, "\"t\":\"recall\"") && n < 32)
			snprintf(out[n++], 300, "%s", l);
	free(text);
	return n;
}

/* val at 0, 10, 20; both test sets at the end, or also on the way; the same after being taken up again. */
static void test_run(void **state)
{
	static const char *const often[] = {"model.arch=mamba", "eval.tests_every=8", NULL};
	char once[32][300], many[32][300], again[32][300], *text;
	char *dir = run_dir("once", MAMBA), *all = run_dir("many", often);
	struct dataset d;
	struct record r;

	(void)state;
	assert_int_equal(train(dir), WORKER_DONE);
	assert_int_equal(recalls(dir, once), 3 + 2);
	text = path_read(arena_printf(&arena, "%s/attempt.json", dir), NULL);
	assert_int_equal(dataset_open(&d, in_folder("data")), 0);	/* a row is of inputs and as many targets */
	assert_true(record_parse(&r, text, strlen(text), &arena));
	assert_int_equal(r.attempt.data_tokens, d.splits[SPLIT_TRAIN].n_tokens / 2);
	dataset_close(&d);
	free(text);
	assert_int_equal(train(all), WORKER_DONE);
	assert_int_equal(recalls(all, many), 3 + 4 * 2);	/* at 0, 8, 16, 20 */
	assert_string_equal(once[4], many[10]);
	assert_true(record_parse(&r, once[4], strlen(once[4]), &arena));
	assert_string_equal(r.recall.test, "32x4");
	assert_true(r.recall.length == 32 && r.recall.items == 4 && r.recall.step == 20 &&
		r.recall.n_tokens == 28 && r.recall.n_answers == 28 && r.recall.tokens == 1280);
	assert_true(record_parse(&r, once[0], strlen(once[0]), &arena));
	assert_string_equal(r.recall.test, "val");
	assert_true(r.recall.length == RECORD_NONE && r.recall.step == 0 && r.recall.n_tokens == 15);
	assert_int_equal(unlink(arena_printf(&arena, "%s/DONE", dir)), 0);
	assert_int_equal(train(dir), WORKER_DONE);	/* from its last checkpoint, at the end */
	assert_int_equal(recalls(dir, again), 3 + 2);
}

/* Of two tokens an answer, after 20 steps: some are right, and fewer answers whole. */
static void test_logged_scores(void **state)
{
	static const char *const settings[] = {"train=12x2:64", "tests=12x2:40", "vocab=6", "val=6", "tune=0"};
	const char *words[] = {"model.arch=mamba", arena_printf(&arena, "data.path=%s", in_folder("copies")),
		"train.context=12", "data.vocab=7", "train.tokens=960", "eval.tokens=72", NULL};
	char lines[32][300], *dir;
	struct recall_score is;
	struct dataset d;
	struct record r;

	(void)state;
	assert_int_equal(data_make(task_find("selective_copy"), &(struct make_options){.folder = in_folder("copies"),
		.settings = settings, .n_settings = (int)ARRAY_SIZE(settings)}), 0);
	assert_int_equal(dataset_open(&d, in_folder("copies")), 0);
	dir = run_dir("scores", words);
	assert_int_equal(train(dir), WORKER_DONE);
	assert_int_equal(recalls(dir, lines), 3 + 1);
	assert_true(record_parse(&r, lines[3], strlen(lines[3]), &arena));
	is = by_logits(&d, (enum split)N_SPLITS, words, dir);
	assert_true(is.whole > 0 && is.whole < is.right && is.right < is.tokens && is.answers == 40);
	assert_true(r.recall.n_tokens == is.tokens && r.recall.n_answers == is.answers);
	assert_near(r.recall.accuracy, (double)is.right / (double)is.tokens, 1e-6);
	assert_near(r.recall.answer_accuracy, (double)is.whole / (double)is.answers, 1e-6);
	assert_near(r.recall.loss, is.nll / (double)is.tokens, 1e-4);
	dataset_close(&d);
}

/* A trial is scored, and its rule, on the split it chooses by; what capacity drops is part of its score. */
static void test_trial(void **state)
{
	static const char *const settings[] = {"train=12x2:64", "tests=12x2:8", "vocab=6", "val=6", "tune=9"};
	const char *words[] = {"model.arch=moe_mamba", "model.moe.n_experts=4", "model.moe.d_expert=8",
		"model.moe.capacity_factor=0.5", arena_printf(&arena, "data.path=%s", in_folder("tuned")),
		"train.context=12", "data.vocab=7", "train.tokens=960", "eval.tokens=108", "eval.split=tune", NULL};
	char lines[32][300], *dir;
	struct record r;

	(void)state;
	assert_int_equal(data_make(task_find("selective_copy"), &(struct make_options){.folder = in_folder("tuned"),
		.settings = settings, .n_settings = (int)ARRAY_SIZE(settings)}), 0);
	dir = run_dir("trial", words);
	assert_int_equal(train(dir), WORKER_DONE);
	assert_int_equal(recalls(dir, lines), 3 + 1);	/* none of the evaluation without drops */
	assert_true(record_parse(&r, lines[0], strlen(lines[0]), &arena));
	assert_string_equal(r.recall.test, "val");
	assert_true(r.recall.n_tokens == 9 * 2 && r.recall.majority > 0 && r.recall.majority < 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_hand), cmocka_unit_test(test_against_logits),
		cmocka_unit_test(test_routed), cmocka_unit_test(test_groups), cmocka_unit_test(test_repeats),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_run),
		cmocka_unit_test(test_logged_scores), cmocka_unit_test(test_trial),
	};

	return cmocka_run_group_tests(tests, open_folder, close_folder);
}
