/* Evaluation slices against their definition; synthetic text against its stated entropy. */
#include <math.h>

#include "data/bigram.h"
#include "data/frequency.h"
#include "data/slice.h"
#include "scratch.h"
#include "synthetic.h"

static uint8_t repeated(const int32_t *tokens, const int32_t *targets, int t)
{
	for (int s = 0; s < t; s++)
		if (tokens[s] == tokens[t] && targets[s] == targets[t])
			return 1;
	return 0;
}

static void check_against_definition(int B, int T, int vocab)
{
	int n = B * T;
	int32_t *tokens = xmalloc((size_t)n * 4), *targets = xmalloc((size_t)n * 4);
	uint8_t *mask = xmalloc((size_t)n);
	struct rng_key key = {.seed = (uint64_t)(B * 1000 + T)};

	for (int i = 0; i < n; i++) {
		struct rng_block r = rng_block(key, (uint64_t)i);
		tokens[i] = (int32_t)(r.word[0] % (uint32_t)vocab);
		targets[i] = (int32_t)(r.word[1] % (uint32_t)vocab);
	}
	slice_repeated_bigram(tokens, targets, B, T, mask);
	for (int b = 0; b < B; b++)
		for (int t = 0; t < T; t++) {
			uint8_t expected = repeated(tokens + b * T, targets + b * T, t);
			assert_int_equal(mask[b * T + t], expected);
		}
	free(tokens);
	free(targets);
	free(mask);
}

static void test_repeated_bigram(void **state)
{
	static const int32_t text[] = {1, 2, 3, 1, 2, 2, 3, 65535, 65535, 65535};
	static const uint8_t expected[] = {0, 0, 0, 1, 0, 1, 0, 0, 1};
	uint8_t mask[9];

	(void)state;
	slice_repeated_bigram(text, text + 1, 1, 9, mask);
	assert_memory_equal(mask, expected, sizeof expected);
	check_against_definition(1, 1, 4);
	check_against_definition(3, 17, 3);
	check_against_definition(2, 1024, 20);
	check_against_definition(5, 333, 65536);
}

/* Documents end with 9: what stood in an earlier one is no repeat, nor is what stood in another window. */
static void test_repeats_in_documents(void **state)
{
	static const int32_t text[] = {1, 2, 1, 2, 9, 1, 2, 9, 1, 2, 1, 2, 1};
	static const uint8_t apart[] = {0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1};
	static const uint8_t whole[] = {0, 0, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1};
	static const uint8_t halves[] = {0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1};
	uint8_t mask[12];

	(void)state;
	slice_repeats(text, text + 1, 1, 12, 9, mask);
	assert_memory_equal(mask, apart, sizeof apart);
	slice_repeats(text, text + 1, 1, 12, -1, mask);
	assert_memory_equal(mask, whole, sizeof whole);
	slice_repeats(text, text + 1, 2, 6, 9, mask);
	assert_memory_equal(mask, halves, sizeof halves);
	assert_true(slice_recall_limit(10000000000) == 1250 && slice_recall_limit(208000000) == 26 &&
		slice_recall_limit(12000000) == 2 && slice_recall_limit(11000000) == 1 &&
		slice_recall_limit(5) == 1);
}

static long count_pair(const struct dataset *d, uint32_t bigram)
{
	long n = d->splits[SPLIT_TRAIN].n_tokens, found = 0;
	int32_t *ids = xmalloc((size_t)n * sizeof *ids);

	assert_int_equal(dataset_read(d, SPLIT_TRAIN, 0, n, ids), 0);
	for (long i = 0; i + 1 < n; i++)
		found += bigram_of(ids[i], ids[i + 1]) == bigram;
	free(ids);
	return found;
}

/* Counted as defined, over files and chunks; afterwards known without the tokens, for these bigrams. */
static void test_bigrams(void **state)
{
	uint32_t wanted[] = {bigram_of('e', 't'), bigram_of('a', 'b'), bigram_of('e', 't'), bigram_of(' ', 'a'),
		bigram_of('\n', 256), bigram_of(256, 'a'), bigram_of(1, 2)};
	const char *inputs[] = {at("text.txt")};
	struct import_options o = import_of(inputs, 1);
	long n = bigrams_sort(wanted, 7), counts[6], again[6];
	struct dataset d;
	struct str text;

	(void)state;
	assert_int_equal(n, 6);
	for (long i = 0; i < n; i++)
		assert_int_equal(bigrams_find(wanted, n, wanted[i]), i);
	assert_int_equal(bigrams_find(wanted, n, bigram_of('e', 'u')), -1);
	str_init(&text);
	synthetic_text(&text, 1, 600000);	/* three chunks */
	str_add(&text, "\n");		/* the last pair is one of those wanted */
	put("text.txt", text.text, text.length);
	o.file_tokens = 70001;
	import_and_open(&d, &o);
	assert_int_equal(dataset_bigrams(&d, wanted, n, counts), 0);
	for (long i = 0; i < n; i++)
		assert_int_equal(counts[i], count_pair(&d, wanted[i]));
	assert_true(counts[bigrams_find(wanted, n, bigram_of(' ', 'a'))] > 100);
	assert_true(path_exists(at("set/train_bigrams.json")));
	d.splits[SPLIT_TRAIN].n_tokens = 1;
	assert_int_equal(dataset_bigrams(&d, wanted, n, again), 0);
	assert_memory_equal(again, counts, sizeof counts);
	wanted[0]++;		/* other bigrams, as many or fewer: counted anew, now without tokens */
	for (long k = n; k >= n - 1; k--) {
		assert_int_equal(dataset_bigrams(&d, wanted, k, again), 0);
		assert_int_equal(again[bigrams_find(wanted, k, bigram_of(' ', 'a'))], 0);
	}
	dataset_close(&d);
	str_release(&text);
}

static void test_classes(void **state)
{
	static const long counts[] = {0, 1, 9, 10, 99, 100, 0, 123456};
	static const uint8_t by_count[] = {0, 1, 1, 2, 2, 3, 0, 6};
	struct token_classes c;

	(void)state;
	for (int T = 1; T < 300; T++) {
		classes_by_position(&c, T);
		assert_int_equal(c.low[0], 1);
		assert_int_equal(c.high[c.n - 1], T);
		for (int t = 0; t < T; t++) {
			int k = (int)ceil(log2(t + 1));
			assert_int_equal(c.of[t], k);
			assert_true(c.low[k] == (k ? (1 << (k - 1)) + 1 : 1));
			assert_true(c.high[k] == (1 << k) || (c.high[k] == T && k == c.n - 1));
		}
		classes_release(&c);
	}
	classes_by_frequency(&c, counts, ARRAY_SIZE(counts));
	assert_int_equal(c.n, 7);
	assert_memory_equal(c.of, by_count, sizeof by_count);
	assert_true(c.low[0] == 0 && c.high[0] == 0 && c.low[1] == 1 && c.high[1] == 9 &&
		c.low[6] == 100000 && c.high[6] == 999999);
	classes_release(&c);
}

/* Counted as defined; afterwards known without the tokens, unless they are others. */
static void test_frequency(void **state)
{
	const char *inputs[] = {at("text.txt")}, *kept = at("set/train_counts.json");
	struct import_options o = import_of(inputs, 1);
	long counts[257], expected[257] = {0};
	struct dataset d;
	struct str text;
	int n_files;

	(void)state;
	str_init(&text);
	synthetic_text(&text, 1, 300000);
	put("text.txt", text.text, text.length);
	for (size_t i = 0; i < text.length; i++)
		expected[(unsigned char)text.text[i]]++;
	o.file_tokens = 70000;
	import_and_open(&d, &o);
	expected[d.eot] = d.splits[SPLIT_TRAIN].n_documents;
	assert_int_equal(dataset_frequency(&d, counts), 0);
	assert_memory_equal(counts, expected, sizeof expected);
	assert_true(path_exists(kept));
	n_files = d.splits[SPLIT_TRAIN].n_files;
	assert_true(n_files > 1);
	d.splits[SPLIT_TRAIN].n_files = 0;
	memset(counts, 0, sizeof counts);
	assert_int_equal(dataset_frequency(&d, counts), 0);
	assert_memory_equal(counts, expected, sizeof expected);
	d.splits[SPLIT_TRAIN].hash[0] ^= 1;
	assert_int_equal(dataset_frequency(&d, counts), 0);
	assert_int_equal(counts['e'], 0);	/* counted anew, now without files */
	d.splits[SPLIT_TRAIN].n_files = n_files;
	dataset_close(&d);
	str_release(&text);
}

static void test_synthetic(void **state)
{
	static long pair[27][27], triple[27][27][27];
	const size_t n = 400000;
	struct str a, b;
	double bits = 0;
	long symbols = 0;

	(void)state;
	str_init(&a);
	str_init(&b);
	synthetic_text(&a, 7, n);
	synthetic_text(&b, 7, n);
	assert_int_equal(a.length, n);
	assert_memory_equal(a.text, b.text, n);
	str_clear(&b);
	synthetic_text(&b, 8, n);
	assert_memory_not_equal(a.text, b.text, 100);
	for (size_t i = 0; i + 2 < n; i++) {
		int s[3];
		for (int k = 0; k < 3; k++)
			s[k] = a.text[i + (size_t)k] == ' ' ? 26 : a.text[i + (size_t)k] - 'a';
		if (s[0] < 0 || s[1] < 0 || s[2] < 0)
			continue;
		pair[s[0]][s[1]]++;
		triple[s[0]][s[1]][s[2]]++;
	}
	for (int i = 0; i < 27 * 27 * 27; i++) {
		long k = triple[i / 729][i / 27 % 27][i % 27];
		bits -= k ? (double)k * log2((double)k / (double)pair[i / 729][i / 27 % 27]) : 0;
		symbols += k;
	}
	assert_true(fabs(bits / (double)symbols - 1.75) < 0.01);
	str_release(&a);
	str_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_repeated_bigram), SCRATCH_TEST(test_synthetic),
		SCRATCH_TEST(test_classes), SCRATCH_TEST(test_frequency),
		SCRATCH_TEST(test_repeats_in_documents), SCRATCH_TEST(test_bigrams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
