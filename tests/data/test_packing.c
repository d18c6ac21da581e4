/* Sampling as in the paper: which documents, how many, where the window lies. */
#include "data/order.h"
#include "scratch.h"
#include "synthetic.h"

/* A split of documents "a", "bb", ...: document i has i + 1 letters, which name it. */
static void open_letters(struct dataset *d, int n)
{
	struct str text;
	const char *input;

	str_init(&text);
	for (int i = 0; i < n; i++) {
		for (int j = 0; j <= i; j++)
			str_printf(&text, "%c", 'a' + i);
		str_add(&text, "\n");
	}
	input = put("text", text.text, text.length);
	struct import_options o = import_of(&input, 1);
	o.split = "line";
	o.force = true;
	import_and_open(d, &o);
	str_release(&text);
}

static void open_sequences(struct sequences *s, const struct dataset *d, int T, uint64_t seed)
{
	assert_int_equal(sequences_init(s, d, SPLIT_TRAIN, T, seed), 0);
	sequences_sample(s, SAMPLING_PAPER, 0);
}

static void test_documents(void **state)
{
	struct sequences s;
	struct dataset d;

	(void)state;
	open_letters(&d, 5);
	open_sequences(&s, &d, 8, 1);
	assert_int_equal(s.packing.n_documents, 5);
	for (int i = 0, end = 0; i < 5; i++) {	/* letters, line end, end of text */
		end += i + 3;
		assert_int_equal(s.packing.ends[i], end);
	}
	sequences_release(&s);
	dataset_close(&d);
}

static long scaled(uint32_t high, uint32_t low, long n)
{
	return (long)(((double)high * 0x1p-32 + (double)low * 0x1p-64) * (double)n);
}

/* Sequence i, written plainly: all documents in one row, then the window, T + 1 tokens. */
static void plain_window(const struct dataset *d, uint64_t seed, uint64_t i, int T, int32_t *window)
{
	struct rng_key key = {.seed = seed, .stream = hash_u64("data packing")};
	int32_t row[4000];
	long n = 0, longest = 0, n_documents = d->splits[SPLIT_TRAIN].n_documents;

	do {
		struct rng_block b = rng_block(key, i);
		int32_t letter = 'a' + (int32_t)scaled(b.word[0], b.word[1], n_documents);
		long length = letter - 'a' + 3;
		assert_true(n + length < (long)ARRAY_SIZE(row));
		for (int j = 0; j < length - 2; j++)
			row[n++] = letter;
		row[n++] = '\n';
		row[n++] = d->eot;
		longest = length > longest ? length : longest;
		key.step++;
	} while (!(n - longest > T));
	key.step = 0;
	struct rng_block b = rng_block(key, i);
	long start = scaled(b.word[2], b.word[3], n);
	for (int t = 0; t <= T; t++)
		window[t] = row[(start + t) % n];
}

static void test_windows(void **state)
{
	enum { T = 60, N = 2000 };
	int32_t *tokens = xmalloc(2 * N * T * sizeof *tokens), *targets = tokens + N * T;
	struct sequences s;
	struct dataset d;
	long first[26] = {0}, inner = 0;

	(void)state;
	open_letters(&d, 20);
	open_sequences(&s, &d, T, 3);
	assert_int_equal(sequences_read(&s, 0, N, tokens, targets), 0);
	for (int i = 0; i < N; i++) {
		int32_t window[T + 1];
		plain_window(&d, 3, (uint64_t)i, T, window);
		assert_memory_equal(tokens + i * T, window, T * sizeof *window);
		assert_memory_equal(targets + i * T, window + 1, T * sizeof *window);
		inner += tokens[i * T] != d.eot && tokens[i * T] != '\n';
	}
	/* The start is anywhere: two tokens of (3 + 22) / 2 are no letters, so 84 % are. */
	assert_in_range(inner, N * 80 / 100, N * 88 / 100);
	/* Documents are drawn alike, long or short: ends of text behind each letter. */
	for (int i = 0; i < N * T; i++)
		if (tokens[i] == '\n' && targets[i] == d.eot && i % T)
			first[tokens[i - 1] - 'a']++;
	for (int i = 1; i < 20; i++)
		assert_in_range(first[i], first[0] * 80 / 100, first[0] * 125 / 100);
	free(tokens);
	sequences_release(&s);
	dataset_close(&d);
}

/* One document alone: it is drawn until the rule is fulfilled, and the window goes round in it. */
static void test_circle(void **state)
{
	enum { T = 8, N = 300 };
	static const char circle[] = "a\nE";
	int32_t tokens[N * T], targets[N * T];
	int starts[3] = {0};
	struct sequences s;
	struct dataset d;

	(void)state;
	open_letters(&d, 1);
	assert_int_equal(sequences_init(&s, &d, SPLIT_TRAIN, 2, 1), 0);
	sequences_sample(&s, SAMPLING_PAPER, 0);
	s.context = T;		/* longer than the split */
	assert_int_equal(sequences_read(&s, 0, N, tokens, targets), 0);
	for (int i = 0; i < N; i++) {
		int at = tokens[i * T] == 'a' ? 0 : tokens[i * T] == '\n' ? 1 : 2;
		starts[at]++;
		for (int t = 0; t < T; t++) {
			char c = circle[(at + t) % 3], next = circle[(at + t + 1) % 3];
			assert_int_equal(tokens[i * T + t], c == 'E' ? d.eot : c);
			assert_int_equal(targets[i * T + t], next == 'E' ? d.eot : next);
		}
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(starts[i], 70, 130);
	sequences_release(&s);
	dataset_close(&d);
}

/* A function of seed and number: in any order and batch; and stored runs name data by these. */
static void test_stateless(void **state)
{
	enum { T = 64, N = 50 };
	static int32_t one[2][N * T], many[2][N * T];
	char hex[HASH_HEX];
	struct sequences s, other;
	struct dataset d;
	struct str text;

	(void)state;
	str_init(&text);
	synthetic_text(&text, 1, 100000);
	const char *input = put("text", text.text, text.length);
	struct import_options o = import_of(&input, 1);
	o.split = "blank:1";
	o.file_tokens = 1000;	/* documents go across files */
	import_and_open(&d, &o);
	open_sequences(&s, &d, T, 5);
	assert_int_equal(s.packing.n_documents, d.splits[SPLIT_TRAIN].n_documents);
	assert_int_equal(sequences_read(&s, 7, N, many[0], many[1]), 0);
	for (int i = N - 1; i >= 0; i--)
		assert_int_equal(sequences_read(&s, 7 + i, 1, one[0] + i * T, one[1] + i * T), 0);
	assert_memory_equal(one, many, sizeof one);
	hash_bytes(one, sizeof one, hex);
	assert_string_equal(hex, "84e304110ab6d3196757f33a282ac26f");
	open_sequences(&other, &d, T, 6);
	assert_int_equal(sequences_read(&other, 7, N, one[0], one[1]), 0);
	assert_memory_not_equal(one[0], many[0], T * sizeof *one[0]);
	sequences_release(&other);
	sequences_release(&s);
	dataset_close(&d);
	str_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_documents), SCRATCH_TEST(test_windows), SCRATCH_TEST(test_circle),
		SCRATCH_TEST(test_stateless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
