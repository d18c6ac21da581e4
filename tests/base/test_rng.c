/* Random numbers: the generator against its published answers, and what is built on it. */
#include <math.h>
#include <stdbool.h>

#include "base/rng.h"
#include "test.h"

/* Known answers of philox4x32-10 in Random123, the authors' library (counter, key, result). */
static void test_known_answers(void **state)
{
	static const struct {
		uint32_t counter[4], key[2], result[4];
	} rows[] = {
		{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
			{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
			{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const uint32_t *c = rows[i].counter;
		struct rng_block b = rng_philox((struct rng_block){{c[0], c[1], c[2], c[3]}},
			rows[i].key[0], rows[i].key[1]);
		for (int w = 0; w < 4; w++)
			assert_int_equal(b.word[w], rows[i].result[w]);
	}
}

static bool same(struct rng_block a, struct rng_block b)
{
	return !memcmp(&a, &b, sizeof a);
}

/* Every part of the key matters, and so does each half of the index. */
static void test_keys(void **state)
{
	static const struct rng_key key = {.seed = 1, .stream = 2, .step = 3};
	static const struct rng_key others[] = {
		{.seed = 2, .stream = 2, .step = 3}, {.seed = 1 + (1ull << 32), .stream = 2, .step = 3},
		{.seed = 1, .stream = 3, .step = 3}, {.seed = 1, .stream = 2 + (1ull << 32), .step = 3},
		{.seed = 1, .stream = 2, .step = 4},
	};

	(void)state;
	assert_true(same(rng_block(key, 5), rng_block(key, 5)));
	assert_false(same(rng_block(key, 5), rng_block(key, 6)));
	assert_false(same(rng_block(key, 5), rng_block(key, 5 + (1ull << 32))));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(same(rng_block(key, 5), rng_block(others[i], 5)));
}

/* n numbers: moments and a 16-bin chi-squared within 5 standard deviations. */
static void test_uniform(void **state)
{
	enum { N = 1 << 18, BINS = 16 };
	double sum = 0, squares = 0, product = 0, before = 0.5, chi = 0;
	long bins[BINS] = {0};

	(void)state;
	for (int i = 0; i < N; i++) {
		double u = rng_uniform(rng_block((struct rng_key){7, 11, 0}, (uint64_t)i / 2), i % 2);
		assert_true(u > 0 && u < 1);
		sum += u;
		squares += u * u;
		product += (u - 0.5) * (before - 0.5);
		before = u;
		bins[(int)(u * BINS)]++;
	}
	assert_true(fabs(sum / N - 0.5) < 5 / sqrt(12.0 * N));
	assert_true(fabs(squares / N - 1.0 / 3) < 5 * sqrt(4.0 / 45 / N));
	assert_true(fabs(product / N) < 5.0 / 12 / sqrt(N));
	for (int b = 0; b < BINS; b++)
		chi += pow((double)bins[b] - (double)N / BINS, 2) * BINS / N;
	assert_true(chi < BINS - 1 + 5 * sqrt(2.0 * (BINS - 1)));
}

static void test_uniform_ends(void **state)
{
	struct rng_block low = {{0, 0, 0, 0}}, high = {{~0u, ~0u, ~0u, ~0u}};

	(void)state;
	assert_true(rng_uniform(low, 0) > 0 && rng_uniform(low, 1) < 1e-15);
	assert_true(rng_uniform(high, 1) < 1 && rng_uniform(high, 0) > 1 - 1e-15);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_known_answers), TEST(test_keys), TEST(test_uniform), TEST(test_uniform_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
