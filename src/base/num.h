/* Small sums of whole numbers that every layer needs. */
#ifndef BASE_NUM_H
#define BASE_NUM_H

static inline long min_long(long a, long b)
{
	return a < b ? a : b;
}

static inline long max_long(long a, long b)
{
	return a > b ? a : b;
}

static inline long common_divisor(long a, long b)
{
	return b ? common_divisor(b, a % b) : a;
}

static inline long ceil_div(long n, long d)
{
	return (n + d - 1) / d;
}

#endif
