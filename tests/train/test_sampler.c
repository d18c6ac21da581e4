/* The sampler's filters: which tokens are ever drawn, and how often, by hand. */
#include "caught.h"

#include <math.h>
#include <stdlib.h>

#include "train/sampler.h"

enum { N = 6, DRAWS = 20000 };

/* Probabilities 0.4, 0.2, 0.2, 0.1, 0.06, 0.04, not in order. */
static const double share[N] = {0.1, 0.4, 0.06, 0.2, 0.04, 0.2};

static void logits_of(double *logits)
{
	for (int i = 0; i < N; i++)
		logits[i] = log(share[i]) + 3;
}

/* How often each token is drawn, against the shares expected; those of 0 never. */
static void expect_shares(struct sampler s, const double *expected)
{
	double logits[N];
	int drawn[N] = {0};

	logits_of(logits);
	for (uint64_t at = 0; at < DRAWS; at++)
		drawn[sampler_choose(&s, logits, N, at)]++;
	for (int i = 0; i < N; i++) {
		double p = expected[i], sigma = sqrt(p * (1 - p) / DRAWS);
		if (fabs((double)drawn[i] / DRAWS - p) > 4 * sigma)
			fail_msg("token %d: share %g, expected %g", i, (double)drawn[i] / DRAWS, p);
	}
}

static void test_all(void **state)
{
	(void)state;
	expect_shares((struct sampler){.temperature = 1, .top_p = 1}, share);
}

/* T = 1/2 squares the probabilities: their sum is 0.2552. */
static void test_temperature(void **state)
{
	double expected[N];

	(void)state;
	for (int i = 0; i < N; i++)
		expected[i] = share[i] * share[i] / 0.2552;
	expect_shares((struct sampler){.temperature = 0.5, .top_p = 1}, expected);
}

/* The second and third are equal: of 2, three stay. */
static void test_top_k_keeps_ties(void **state)
{
	static const double expected[N] = {0, 0.5, 0, 0.25, 0, 0.25}, one[N] = {0, 1};

	(void)state;
	expect_shares((struct sampler){.temperature = 1, .top_p = 1, .top_k = 2}, expected);
	expect_shares((struct sampler){.temperature = 1, .top_p = 1, .top_k = 1}, one);
	expect_shares((struct sampler){.temperature = 1, .top_p = 1, .top_k = 100}, share);
}

/* 0.4 + 0.2 does not reach 0.7, with the second 0.2 it does; of the equal ones the lower comes first. */
static void test_top_p_keeps_crossing(void **state)
{
	static const double three[N] = {0, 0.5, 0, 0.25, 0, 0.25};
	static const double two[N] = {0, 2 / 3.0, 0, 1 / 3.0}, one[N] = {0, 1};

	(void)state;
	expect_shares((struct sampler){.temperature = 1, .top_p = 0.7}, three);
	expect_shares((struct sampler){.temperature = 1, .top_p = 0.5}, two);
	expect_shares((struct sampler){.temperature = 1, .top_p = 0.39}, one);
}

/* 0.3 x 0.4 = 0.12: 0.1 is out. */
static void test_min_p(void **state)
{
	static const double expected[N] = {0, 0.5, 0, 0.25, 0, 0.25};

	(void)state;
	expect_shares((struct sampler){.temperature = 1, .top_p = 1, .min_p = 0.3}, expected);
	expect_shares((struct sampler){.temperature = 1, .top_p = 1, .min_p = 0.09}, share);
}

/* Temperature first: at T = 1/2 the shares are those of the squares, and 0.16 / 0.2552 is above 0.6.
   Top-k before top-p: of {0.4, 0.2, 0.2}, 0.4 is half. */
static void test_order(void **state)
{
	static const double one[N] = {0, 1};

	(void)state;
	expect_shares((struct sampler){.temperature = 0.5, .top_p = 0.6}, one);
	expect_shares((struct sampler){.temperature = 1, .top_k = 3, .top_p = 0.49}, one);
}

static void test_zero_is_greatest(void **state)
{
	const double logits[N] = {1, 3, 2, 3, 0, 3}, nan_[2] = {0, NAN}, low[2] = {-INFINITY, -INFINITY};
	struct sampler s = {.top_p = 1};

	(void)state;
	assert_int_equal(sampler_choose(&s, logits, N, 0), 1);
	assert_int_equal(sampler_choose(&s, nan_, 2, 0), -1);
	s.temperature = 1;
	assert_int_equal(sampler_choose(&s, nan_, 2, 0), -1);
	assert_int_equal(sampler_choose(&s, low, 2, 0), -1);
	s.top_p = 0.5;	/* of two halves the first is enough */
	for (uint64_t at = 0; at < 100; at++)
		assert_int_equal(sampler_choose(&s, (double[]){2, 2}, 2, at), 0);
}

static void test_seed_and_place(void **state)
{
	struct sampler a = {.temperature = 1, .top_p = 1, .seed = 1}, b = a;
	double logits[N];
	int differ = 0;

	(void)state;
	b.seed = 2;
	logits_of(logits);
	for (uint64_t at = 0; at < 100; at++) {
		int token = sampler_choose(&a, logits, N, at);
		assert_int_equal(token, sampler_choose(&a, logits, N, at));
		differ += token != sampler_choose(&b, logits, N, at);
	}
	assert_true(differ > 50);
}

static void test_ranges(void **state)
{
	(void)state;
	assert_int_equal(sampler_check(&(struct sampler){.temperature = 0, .top_p = 1}), 0);
	catch_messages();
	assert_int_equal(sampler_check(&(struct sampler){.temperature = -1, .top_p = 1}), -1);
	assert_int_equal(sampler_check(&(struct sampler){.temperature = 1, .top_p = 0}), -1);
	assert_int_equal(sampler_check(&(struct sampler){.temperature = 1, .top_p = 1, .min_p = 2}), -1);
	assert_caught("temperature -1");
	assert_caught("top-p 0");
	assert_caught("min-p 2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all),
		cmocka_unit_test(test_temperature),
		cmocka_unit_test(test_top_k_keeps_ties),
		cmocka_unit_test(test_top_p_keeps_crossing),
		cmocka_unit_test(test_min_p),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_zero_is_greatest),
		cmocka_unit_test(test_seed_and_place),
		cmocka_unit_test(test_ranges),
	};

	return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
