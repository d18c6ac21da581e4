/* The learning rate over a run: linear warm-up, then a cosine to a share of the peak. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "spec/run_spec.h"

/* 1,000 steps of 64 tokens unless `tokens` says other. */
static struct run_spec spec_of(long tokens)
{
	return (struct run_spec){.batch = 4, .context = 16, .tokens = tokens ? tokens : 64000,
		.lr = 2e-3, .lr_final = 0.1, .warmup = 0.05};
}

static void assert_near(double a, double b)
{
	assert_true(fabs(a - b) <= 1e-12 * fabs(b));
}

static void test_rates(void **state)
{
	struct run_spec s = spec_of(0);

	(void)state;
	assert_int_equal(run_warmup_steps(&s), 50);
	assert_near(run_lr(&s, 0), 2e-3 / 50);
	assert_near(run_lr(&s, 24), 1e-3);
	assert_near(run_lr(&s, 49), 2e-3);
	assert_near(run_lr(&s, 50), 2e-3);
	assert_near(run_lr(&s, 525), 2e-3 * 0.55);	/* half of the way from 1 to 0.1 */
	assert_near(run_lr(&s, 1000), 2e-4);
}

/* The last step goes beyond a budget that is no whole number of steps: none ends before it. */
static void test_steps_reach_the_budget(void **state)
{
	struct run_spec whole = spec_of(640), more = spec_of(641);

	(void)state;
	assert_int_equal(run_steps(&whole), 10);
	assert_int_equal(run_steps(&more), 11);
}

/* A run scaled down by its tokens keeps the shape of the schedule, but for a warm-up too short. */
static void test_warmup_scales_with_tokens(void **state)
{
	struct run_spec s = spec_of(6400);

	(void)state;
	assert_int_equal(run_warmup_steps(&s), 5);
	s.warmup_min = 30;
	assert_int_equal(run_warmup_steps(&s), 30);
	assert_near(run_lr(&s, 29), 2e-3);
	s.tokens = 64000;
	assert_int_equal(run_warmup_steps(&s), 50);
	s = spec_of(110 * 64);
	assert_int_equal(run_warmup_steps(&s), 6);	/* 5.5, rounded */
}

/* A fiftieth and a hundredth of the run, unless a number is given; at least each step. */
static void test_intervals(void **state)
{
	struct run_spec s = spec_of(100 * 64);

	(void)state;
	assert_int_equal(run_eval_every(&s), 2);
	assert_int_equal(run_log_every(&s), 1);
	s.tokens = 99 * 64;
	assert_int_equal(run_eval_every(&s), 1);
	assert_int_equal(run_log_every(&s), 1);
	s.tokens = 49 * 64;
	assert_int_equal(run_eval_every(&s), 1);
	s.tokens = 1099 * 64;
	assert_int_equal(run_eval_every(&s), 21);
	assert_int_equal(run_log_every(&s), 10);
	s.eval_every = 7;
	s.log_every = 9;
	assert_int_equal(run_eval_every(&s), 7);
	assert_int_equal(run_log_every(&s), 9);
}

static void test_warmup_ends_with_the_run(void **state)
{
	struct run_spec s = spec_of(640);

	(void)state;
	s.warmup_min = 100;
	assert_int_equal(run_warmup_steps(&s), 10);
	assert_near(run_lr(&s, 9), 2e-3);
	s.warmup = s.warmup_min = 0;
	assert_int_equal(run_warmup_steps(&s), 1);
	assert_near(run_lr(&s, 0), 2e-3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates), cmocka_unit_test(test_steps_reach_the_budget),
		cmocka_unit_test(test_warmup_scales_with_tokens),
		cmocka_unit_test(test_warmup_ends_with_the_run), cmocka_unit_test(test_intervals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
