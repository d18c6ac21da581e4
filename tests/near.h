/* assert_near(a, b, most): numbers not further apart than that. Unlike cmocka's assert_float_equal, NaN is near
   nothing. */
#ifndef TESTS_NEAR_H
#define TESTS_NEAR_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static inline void near_at(double a, double b, double most, const char *file, int line)
{
	if (fabs(a - b) <= most)
		return;
	print_error("%.9g is not within %g of %.9g\n", a, most, b);
	_fail(file, line);
}

#define assert_near(a, b, most) near_at((double)(a), (double)(b), (most), __FILE__, __LINE__)

#endif
