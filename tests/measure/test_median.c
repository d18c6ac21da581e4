/* The middle of measured values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "measure/median.h"

static void test_median(void **state)
{
	double odd[] = {3, -1, 8}, even[] = {4, 1, 9, 2}, one[] = {7};

	(void)state;
	assert_true(median_of(odd, 3) == 3 && odd[0] == -1 && odd[2] == 8);
	assert_true(median_of(even, 4) == 3);
	assert_true(median_of(one, 1) == 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_median)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
