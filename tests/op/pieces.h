/* What tests of routing made of pieces share: operands of one sequence, and what is expected of results. */
#ifndef TESTS_OP_PIECES_H
#define TESTS_OP_PIECES_H

#include "calls.h"

static inline void expect_ints(const struct call *c, int out, const int *expected)
{
	for (long i = 0; i < tensor_size(c->out[out]); i++)
		if ((int)get(c->run.device, c->out[out], i) != expected[i])
			fail_msg("%s on %s: %s[%ld] is %d, expected %d", c->run.op->name,
				c->run.device->name, c->run.op->out[out].name, i,
				(int)get(c->run.device, c->out[out], i), expected[i]);
}

static inline void expect_values(const struct call *c, const struct tensor *x, const char *what,
	const double *expected, double limit)
{
	for (long i = 0; i < tensor_size(x); i++)
		if (!(fabs(get(c->run.device, x, i) - expected[i]) <= limit))
			fail_msg("%s on %s: %s[%ld] is %.9g, expected %.9g", c->run.op->name,
				c->run.device->name, what, i, get(c->run.device, x, i), expected[i]);
}

static inline struct tensor *ints(struct arena *a, const struct device *d, long n, long K, const double *v)
{
	return filled(a, d, tensor_of(INDEX, 3, 1L, n, K), v);
}

static inline struct tensor *masters(struct arena *a, const struct device *d, long n, long E, const double *v)
{
	return filled(a, d, tensor_of(MASTER, 3, 1L, n, E), v);
}

static inline struct tensor *one(struct arena *a, const struct device *d, double v)
{
	return filled(a, d, tensor_of(MASTER, 1, 1L), &v);
}

#endif
