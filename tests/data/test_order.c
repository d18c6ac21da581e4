/* Order: a permutation for every size, each token once an epoch, nothing depends on batch size. */
#include "data/order.h"
#include "scratch.h"
#include "synthetic.h"

static void check_bijection(uint64_t n, uint64_t seed, uint32_t epoch)
{
	uint8_t *seen = xcalloc(n, 1);
	struct permutation p;

	permutation_init(&p, n, seed, epoch);
	assert_true(p.rows * p.columns >= n && p.rows * p.columns < n + p.rows);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t j = permutation_at(&p, i);
		assert_true(j < n);
		assert_int_equal(seen[j], 0);
		seen[j] = 1;
	}
	free(seen);
}

static void test_bijection(void **state)
{
	static const uint64_t large[] = {4095, 4096, 4097, 9999, 65537, 99856, 99857, 262139};

	(void)state;
	for (uint64_t n = 1; n <= 400; n++)
		for (uint32_t epoch = 0; epoch < 3; epoch++)
			check_bijection(n, n * 7 + epoch, epoch);
	for (size_t i = 0; i < ARRAY_SIZE(large); i++)
		check_bijection(large[i], i, 0);
}

static void test_huge(void **state)
{
	const uint64_t n = INT64_MAX;
	struct permutation p;
	uint64_t halves = 0;

	(void)state;
	permutation_init(&p, n, 3, 0);
	for (uint64_t i = 0; i < 2000; i++) {
		uint64_t j = permutation_at(&p, i * (n / 2000));
		assert_true(j < n);
		halves += j >= n / 2;
	}
	assert_in_range(halves, 900, 1100);	/* mean 1000, 4.5 standard deviations */
}

/* Over seeds, each place goes to each other equally often: chi-squared of a 10 x 10 table. */
static void test_uniform(void **state)
{
	enum { N = 10, SEEDS = 10000 };
	static int count[N][N];
	double chi2 = 0;

	(void)state;
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct permutation p;
		permutation_init(&p, N, seed, (uint32_t)(seed % 3));
		for (uint64_t i = 0; i < N; i++)
			count[i][permutation_at(&p, i)]++;
	}
	for (int i = 0; i < N * N; i++) {
		double d = count[i / N][i % N] - SEEDS / N;
		chi2 += d * d * N / SEEDS;
	}
	assert_true(chi2 < 140);	/* 81 degrees of freedom: mean 81, deviation 12.7 */
}

/* Stored runs name their data by seed and position, so the numbers must never change. */
static void test_golden(void **state)
{
	static const uint64_t golden[] = {907, 715, 814, 557, 156, 984};
	struct permutation p;

	(void)state;
	permutation_init(&p, 1000, 1, 2);
	for (uint64_t i = 0; i < ARRAY_SIZE(golden); i++)
		assert_int_equal(permutation_at(&p, i), golden[i]);
}

static void open_synthetic(struct dataset *d, size_t bytes)
{
	struct str text;
	const char *input;

	str_init(&text);
	synthetic_text(&text, 1, bytes);
	input = put("text", text.text, text.length);
	struct import_options o = import_of(&input, 1);
	o.val = 0.2;
	o.file_tokens = 1000;
	import_and_open(d, &o);
	str_release(&text);
}

static void test_epoch_covers_all(void **state)
{
	enum { T = 37 };
	int32_t *all, tokens[T], targets[T];
	struct sequences s;
	struct dataset d;

	(void)state;
	open_synthetic(&d, 50000);
	assert_int_equal(sequences_init(&s, &d, SPLIT_TRAIN, T, 5), 0);
	long n = d.splits[SPLIT_TRAIN].n_tokens, W = s.per_epoch;
	assert_int_equal(W, (n - 1) / T);
	all = xmalloc((size_t)n * sizeof *all);
	assert_int_equal(dataset_read(&d, SPLIT_TRAIN, 0, n, all), 0);
	for (long epoch = 0; epoch < 3; epoch++) {
		uint8_t *seen = xcalloc((size_t)W, 1);
		for (long i = 0; i < W; i++) {
			long w = 0;
			assert_int_equal(sequences_read(&s, epoch * W + i, 1, tokens, targets), 0);
			while (w < W && (seen[w] || memcmp(tokens, all + w * T, sizeof tokens) ||
				memcmp(targets, all + w * T + 1, sizeof targets)))
				w++;
			assert_true(w < W);
			seen[w] = 1;
		}
		free(seen);
	}
	free(all);
	dataset_close(&d);
}

static void test_batch_size(void **state)
{
	enum { T = 64, N = 3000 };
	static int32_t one[2][N * T], many[2][N * T];
	struct sequences s, other;
	struct dataset d;

	(void)state;
	open_synthetic(&d, 100000);
	assert_int_equal(sequences_init(&s, &d, SPLIT_TRAIN, T, 11), 0);
	assert_true(s.per_epoch * 2 < N);	/* so that batches cross the ends of epochs */
	for (int i = 0; i < N; i++)
		assert_int_equal(sequences_read(&s, i, 1, one[0] + i * T, one[1] + i * T), 0);
	for (int size = 7; size <= N; size = size * 5 + 1) {
		for (int i = 0; i < N; i += size) {
			int n = size < N - i ? size : N - i;
			int32_t *tokens = many[0] + i * T, *targets = many[1] + i * T;
			assert_int_equal(sequences_read(&s, i, n, tokens, targets), 0);
		}
		assert_memory_equal(one, many, sizeof one);
	}
	assert_memory_not_equal(one[0], one[0] + s.per_epoch * T, T * 4);	/* epochs differ */
	assert_int_equal(sequences_init(&other, &d, SPLIT_TRAIN, T, 12), 0);
	assert_int_equal(sequences_read(&other, 0, N, many[0], many[1]), 0);
	assert_memory_not_equal(one[0], many[0], 4 * T * 4);			/* seeds differ */
	dataset_close(&d);
}

static void test_eval_windows(void **state)
{
	enum { T = 50 };
	char few[HASH_HEX], again[HASH_HEX], more[HASH_HEX], longer[HASH_HEX];
	struct sequences s, t;
	struct dataset d;
	long all;

	(void)state;
	open_synthetic(&d, 100000);
	assert_int_equal(sequences_eval(&s, &d, SPLIT_VAL, T, 1049), 20);
	assert_int_equal(sequences_hash(&s, 20, few), 0);
	assert_int_equal(sequences_hash(&s, 21, more), 0);
	all = sequences_eval(&t, &d, SPLIT_VAL, T, 1000000000);
	assert_int_equal(all, (d.splits[SPLIT_VAL].n_tokens - 1) / T);
	assert_int_equal(sequences_hash(&t, 20, again), 0);	/* more begin with the fewer */
	assert_string_equal(few, again);
	assert_string_not_equal(few, more);
	assert_int_equal(sequences_eval(&t, &d, SPLIT_VAL, 2 * T, 1000), 10);
	assert_int_equal(sequences_hash(&t, 10, longer), 0);
	assert_string_not_equal(few, longer);
	assert_int_equal(sequences_eval(&t, &d, SPLIT_VAL, T, 1), 1);
	assert_string_equal(few, "b12ab07bcaf4b3c954c3595ebb8a125a");	/* runs keep it, so it must never change */
	dataset_close(&d);
}

/* Each stream goes on where its window before ended; together they have each window of the epoch once. */
static void test_streams(void **state)
{
	enum { T = 37, B = 5 };
	int32_t *all, tokens[B][T], targets[B][T];
	long at[B], first[2] = {0}, n, L;
	struct sequences s;
	struct dataset d;

	(void)state;
	open_synthetic(&d, 50000);
	n = d.splits[SPLIT_TRAIN].n_tokens;
	all = xmalloc((size_t)n * sizeof *all);
	assert_int_equal(dataset_read(&d, SPLIT_TRAIN, 0, n, all), 0);
	assert_int_equal(sequences_init(&s, &d, SPLIT_TRAIN, T, 6), 0);
	assert_int_equal(sequences_sample(&s, SAMPLING_STREAM, B), 0);
	L = s.length;
	assert_int_equal(L, (n - T) / T / B);
	for (long step = 0; step < 2 * L; step++) {
		assert_int_equal(sequences_read(&s, step * B, B, tokens[0], targets[0]), 0);
		for (long b = 0; b < B; b++) {
			if (step % L == 0) {
				for (at[b] = b * L * T; at[b] < b * L * T + T; at[b]++)
					if (!memcmp(tokens[b], all + at[b], sizeof tokens[b]))
						break;
				first[step / L] = at[b] - b * L * T;
				assert_in_range(first[step / L], 0, T - 1);
			}
			assert_memory_equal(tokens[b], all + at[b], sizeof tokens[b]);
			assert_memory_equal(targets[b], all + at[b] + 1, sizeof targets[b]);
			at[b] += T;
			assert_true(at[b] < n);
		}
	}
	assert_int_not_equal(first[0], first[1]);
	assert_int_equal(sequences_sample(&s, SAMPLING_STREAM, n), -1);
	SAID("too few for");
	assert_int_equal(sequences_eval_streams(&s, &d, SPLIT_VAL, T, 4 * B * T + 1, B), 4 * B);
	assert_int_equal(sequences_eval_streams(&s, &d, SPLIT_VAL, T, 1, B), B);
	n = (d.splits[SPLIT_VAL].n_tokens - T) / T;
	assert_int_equal(sequences_eval_streams(&s, &d, SPLIT_VAL, T, 1000000, 100000), n);
	assert_int_equal(s.streams, n);
	free(all);
	dataset_close(&d);
}

static void test_too_short(void **state)
{
	struct sequences s;
	struct dataset d;

	(void)state;
	open_synthetic(&d, 100000);
	long n = d.splits[SPLIT_VAL].n_tokens;
	assert_int_equal(sequences_init(&s, &d, SPLIT_VAL, (int)n - 1, 1), 0);
	assert_int_equal(s.per_epoch, 1);
	assert_int_equal(sequences_init(&s, &d, SPLIT_VAL, (int)n, 1), -1);
	SAID("too few for one sequence");
	assert_int_equal(sequences_eval(&s, &d, SPLIT_TUNE, 8, 100), -1);	/* there is none */
	SAID("split tune is empty");
	dataset_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_bijection), SCRATCH_TEST(test_huge), SCRATCH_TEST(test_uniform),
		SCRATCH_TEST(test_golden), SCRATCH_TEST(test_epoch_covers_all),
		SCRATCH_TEST(test_batch_size), SCRATCH_TEST(test_eval_windows),
		SCRATCH_TEST(test_streams), SCRATCH_TEST(test_too_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
