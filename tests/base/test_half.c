/* Half precision, all 65,536 of its bits, and numbers between them. */
#include "base/half.h"
#include "test.h"

/* By the definition: fraction and exponent of IEEE 754. */
static double defined(int bits)
{
	int exponent = bits >> 10 & 31, fraction = bits & 1023;
	double a = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);

	return bits & 0x8000 ? -a : a;
}

static void test_all_bits(void **state)
{
	(void)state;
	for (int bits = 0; bits < 65536; bits++) {
		assert_true(half_is_missing(bits) == (bits >= 0xfc00 || (bits >= 0x7c00 && bits < 0x8000)));
		if (half_is_missing(bits))
			continue;
		assert_true(half_value(bits) == (float)defined(bits));
		if (bits != 0x8000)	/* of the two zeros the other */
			assert_int_equal(half_bits(defined(bits)), bits);
	}
	assert_true(half_is_missing(HALF_MISSING));
}

/* To the nearest, ties to even; none becomes infinite. */
static void test_rounding(void **state)
{
	(void)state;
	for (int bits = 0; bits + 1 < 0x7c00; bits++) {
		double a = defined(bits), b = defined(bits + 1);
		assert_int_equal(half_bits((a + b) / 2), bits + (bits & 1));
		assert_int_equal(half_bits(a + 0.49 * (b - a)), bits);
		assert_int_equal(half_bits(-(a + 0.51 * (b - a))), 0x8000 | (bits + 1));
	}
	assert_int_equal(half_bits(65504), 0x7bff);
	assert_int_equal(half_bits(1e30), 0x7bff);
	assert_int_equal(half_bits(-INFINITY), 0xfbff);
	assert_int_equal(half_bits(NAN), HALF_MISSING);
	assert_int_equal(half_bits(0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_bits), cmocka_unit_test(test_rounding)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
