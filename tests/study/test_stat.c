/* Student's t against printed tables, and the summaries made of it. */
#include "caught.h"

#include "study/stat.h"

#include <math.h>

static void quantiles_are_those_of_the_tables(void **state)
{
	static const struct {
		double p;
		int df;
		double t;
	} table[] = {
		{0.975, 1, 12.706}, {0.975, 2, 4.303}, {0.975, 3, 3.182}, {0.975, 4, 2.776},
		{0.975, 5, 2.571}, {0.975, 9, 2.262}, {0.975, 10, 2.228}, {0.975, 30, 2.042},
		{0.975, 120, 1.980}, {0.95, 1, 6.314}, {0.95, 5, 2.015}, {0.95, 30, 1.697},
		{0.995, 2, 9.925}, {0.995, 9, 3.250}, {0.9, 7, 1.415}, {0.75, 4, 0.741},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		assert_true(fabs(t_quantile(table[i].p, table[i].df) - table[i].t) < 6e-4);
		assert_true(fabs(t_quantile(1 - table[i].p, table[i].df) + table[i].t) < 6e-4);
	}
	assert_true(fabs(t_quantile(0.5, 3)) < 1e-9);
	assert_true(fabs(t_quantile(0.975, 1000000) - 1.959966) < 1e-4);
}

static void interval_of_three(void **state)
{
	const double x[] = {1, 2, 6};
	struct interval r = interval_of_mean(x, 3);
	double half = 4.302653 * sqrt(7) / sqrt(3);

	(void)state;
	assert_true(fabs(r.mean - 3) < 1e-12 && r.n == 3);
	assert_true(fabs(r.low - (3 - half)) < 1e-5 && fabs(r.high - (3 + half)) < 1e-5);
}

static void one_value_has_no_interval(void **state)
{
	const double x[] = {2};
	struct interval r = interval_of_ratio(x, 1), none = interval_of_mean(x, 0);

	(void)state;
	assert_true(fabs(r.mean - 2) < 1e-12 && isnan(r.low) && isnan(r.high));
	assert_true(isnan(none.mean) && isnan(smallest_difference(x, 1)) && isnan(deviation(x, 1)));
}

static void ratios_are_summarised_by_their_logarithms(void **state)
{
	const double x[] = {0.5, 2, 8}, inverse[] = {2, 0.5, 0.125};
	struct interval r = interval_of_ratio(x, 3), i = interval_of_ratio(inverse, 3);

	(void)state;
	assert_true(fabs(r.mean - 2) < 1e-12);
	assert_true(fabs(r.low * i.high - 1) < 1e-9 && fabs(r.high * i.low - 1) < 1e-9);
	assert_true(fabs(log(r.high / r.mean) - 4.302653 * log(4) / sqrt(3)) < 1e-5);
}

static void smallest_difference_of_five(void **state)
{
	const double x[] = {1, 2, 3, 4, 5};

	(void)state;
	assert_true(fabs(smallest_difference(x, 5) - 2.776445 * sqrt(2.5) * sqrt(0.4)) < 1e-5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quantiles_are_those_of_the_tables),
		cmocka_unit_test(interval_of_three),
		cmocka_unit_test(one_value_has_no_interval),
		cmocka_unit_test(ratios_are_summarised_by_their_logarithms),
		cmocka_unit_test(smallest_difference_of_five),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
