/*
 * Numbers of a series as 16 bits: IEEE 754 half precision (1 sign, 5 exponent, 10 fraction bits), to the nearest,
 * ties to even; what is too large becomes the largest, 65504. No infinities: bits with the largest exponent say
 * that a number is missing. Inline and free of library calls: kernels of every device use the same source.
 */
#ifndef BASE_HALF_H
#define BASE_HALF_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"

enum { HALF_MISSING = 0xffff, HALF_LARGEST = 65504 };

RNG_FN bool half_is_missing(int bits)
{
	return (bits & 0x7c00) == 0x7c00;
}

/* Of bits that are not missing. Exact. */
RNG_FN float half_value(int bits)
{
	int exponent = bits >> 10 & 31, fraction = bits & 1023, n = exponent ? 1024 + fraction : fraction;
	float unit = 0x1p-24f;		/* of subnormal numbers, and of the least exponent */

	for (int i = 1; i < exponent; i++)
		unit *= 2;
	return (bits & 0x8000 ? -1.0f : 1.0f) * (float)n * unit;
}

/* A NaN is missing. */
static inline uint16_t half_bits(double x)
{
	double a = fmin(fabs(x), HALF_LARGEST);
	unsigned sign = x < 0 ? 0x8000 : 0;
	int e;

	if (isnan(x))
		return HALF_MISSING;
	if (a < 0x1p-14)
		return (uint16_t)(sign | (unsigned)rint(a * 0x1p24));
	a = frexp(a, &e);		/* a 2^e, 1/2 <= a < 1; a fraction that rounds up to 1 carries */
	return (uint16_t)(sign | (((unsigned)(e + 14) << 10) + (unsigned)rint((2 * a - 1) * 1024)));
}

#endif
