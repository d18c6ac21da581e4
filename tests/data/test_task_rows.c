/* Datasets of rows: what dataset.json may say of them, how they are read, which settings make none. */
#include "task_rows.h"

/* Of the rows of induction, train=12:50. */
#define INDUCTION_HASH "da4f41d7c1fb6d3a29236573e6733ea5"

/* What dataset.json may not say of rows. */
static void test_bad_rows(void **state)
{
	static const char *const cases[][3] = {
		{"\"row\": 12", "\"row\": 13", "no whole rows of 13 tokens"},
		{"\"name\": \"20\"", "\"name\": \"2/0\"", "bad name or shape"},
		{"\"row\": 20", "\"row\": 10", "hash does not fit the rest"},
		{"\"items\": 0", "\"items\": -1", "bad name or shape"},
	};
	struct dataset d;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(make("induction", "train=12:50 tests=20:7"), 0);
		char *text = path_read(at("set/dataset.json"), NULL), *found = strstr(text, cases[i][0]);
		assert_non_null(found);
		char *changed = xasprintf("%.*s%s%s", (int)(found - text), text, cases[i][1],
			found + strlen(cases[i][0]));
		put_text("set/dataset.json", changed);
		assert_int_equal(dataset_open(&d, at("set")), -1);
		SAID(cases[i][2]);
		free(changed);
		free(text);
	}
}

/* The same whatever other sets there are and however files are cut; these bits must never change. */
static void test_identity(void **state)
{
	struct dataset a, b;
	struct sequences s;

	(void)state;
	make_and_open(&a, &s, "induction", "train=12:50 tests=20:7", "20");
	make_and_open(&b, &s, "induction", "train=12:50 tests=16:3,20:7", "20");
	assert_string_equal(a.splits[SPLIT_TRAIN].hash, b.splits[SPLIT_TRAIN].hash);
	assert_string_equal(a.splits[N_SPLITS].hash, b.splits[N_SPLITS + 1].hash);
	assert_string_not_equal(a.hash, b.hash);
	assert_string_equal(a.splits[SPLIT_TRAIN].hash, INDUCTION_HASH);
	dataset_close(&b);
	make_and_open(&b, &s, "induction", "train=12:50 tests=20:7 seed=2", "20");
	assert_string_not_equal(a.splits[SPLIT_TRAIN].hash, b.splits[SPLIT_TRAIN].hash);
	assert_string_not_equal(a.splits[SPLIT_VAL].hash, a.splits[SPLIT_TUNE].hash);
	dataset_close(&a);
	dataset_close(&b);
}

static void test_rows(void **state)
{
	static int32_t all[40];
	struct dataset d;
	struct sequences s;
	bool seen[50] = {false};
	int fd;

	(void)state;
	make_and_open(&d, &s, "induction", "train=12:50 tests=20:7 vocab=65000", "train");
	assert_int_equal(split_inputs(&d.splits[SPLIT_TRAIN]), 600);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_documents, 50);
	for (long i = 0; i < 50; i++) {		/* each once an epoch */
		long at = 0;
		read_row(&s, i);
		for (; at < 50; at++)
			if (!dataset_read(&d, SPLIT_TRAIN, 24 * at, 24, all) && !memcmp(all, tokens, 48))
				break;
		assert_true(at < 50 && !seen[at]);
		seen[at] = true;
	}
	assert_int_equal(sequences_init(&s, &d, SPLIT_TRAIN, 16, 1), -1);
	SAID("its rows are of 12 tokens, not 16: set train.context=12");
	assert_int_equal(sequences_init(&s, &d, SPLIT_TRAIN, 12, 1), 0);
	assert_int_equal(sequences_sample(&s, SAMPLING_PAPER, 0), -1);
	SAID("no documents to pack");
	dataset_close(&d);
	fd = open(at("set/test-20_000000.bin"), O_WRONLY);
	assert_int_equal(pwrite(fd, "\1\2", 2, 1024 + 40), 2);
	close(fd);
	assert_int_equal(dataset_open(&d, at("set")), 0);
	assert_int_equal(dataset_verify(&d), -1);
	SAID("the tokens of split 20 do not have the hash");
	dataset_close(&d);
}

/* A packed row of 5000 examples `$ letter | letter .`: all are whole, and no draws are used twice. */
static void test_many_examples(void **state)
{
	enum { N = 5000, APART = 1 << 12 };
	static int32_t row[2 * 5 * N];
	struct dataset d;
	long same = 0;

	(void)state;
	assert_int_equal(make("copy", "train=1:1 tests=1:1 letters=60000 pack=25000 val=1 tune=0"), 0);
	assert_int_equal(dataset_open(&d, at("set")), 0);
	assert_int_equal(dataset_read(&d, SPLIT_TRAIN, 0, 2 * 5 * N, row), 0);
	for (long i = 0; i < N; i++) {
		const int32_t *one = row + 5 * i, *asked = one + 5 * N;
		assert_true(one[0] == 60000 && one[1] == one[3] && one[4] == 60002 && asked[2] == one[3]);
		same += i >= APART && one[1] == row[5 * (i - APART) + 1];
	}
	assert_in_range(same, 0, 5);
	dataset_close(&d);
}

static void test_bad_settings(void **state)
{
	static const struct {
		const char *task, *settings, *why;
	} cases[] = {
		{"mqar", "train=64:10", "expected LENGTHxPAIRS:EXAMPLES"},
		{"mqar", "train=64x4", "expected LENGTHxPAIRS:EXAMPLES"},
		{"mqar", "train=12x4:10", "LENGTH even and >= 4 PAIRS"},
		{"mqar", "train=64x4:0", "examples be 1 to"},
		{"mqar", "train=", "train names no shape"},
		{"mqar", "tests=64x4:1,64x4:2", "tests names 64x4 twice"},
		{"mqar", "vocab=70000", "vocab=70000: not a number from 4 to 65535"},
		{"mqar", "vocab=20.5", "vocab=20.5: not a number"},
		{"mqar", "fill=some", "not zero or random"},
		{"mqar", "pairs=3", "no setting \"pairs\" (there is: vocab, power, fill, train"},
		{"copy", "train=5-4:10", "lengths must rise"},
		{"copy", "train=5-20:10 pack=30", "an example of train may have 43 tokens"},
		{"induction", "train=2:5", "LENGTH >= 3"},
		{"suffix_ngram", "letters=2 ngram=1 train=50:5", "no n-gram that stands once: set more letters"},
		{"induction", "train=16777217:5", "at most 16777216 tokens"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		n_messages = 0;
		assert_int_equal(make(cases[i].task, cases[i].settings), -1);
		SAID(cases[i].why);
		assert_int_equal(n_messages, 1);
		assert_int_equal(n_entries("set"), 0);
	}
	assert_null(task_find("mqa"));
	SAID("unknown task \"mqa\" (there is: copy, ");
	assert_int_equal(make("induction", "train=12:5 tests=12:5"), 0);
	assert_int_equal(data_make(task_find("copy"), &(struct make_options){.folder = at("set")}), -1);
	SAID("is a dataset already; --force replaces it");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_identity), SCRATCH_TEST(test_rows), SCRATCH_TEST(test_bad_rows),
		SCRATCH_TEST(test_many_examples), SCRATCH_TEST(test_bad_settings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
