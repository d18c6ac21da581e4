/* The rule of take (op/take.h), the same source for every device. */
#ifndef OP_TAKE_RULE_H
#define OP_TAKE_RULE_H

#include "base/rng.h"

/* Tokens that one of E experts takes of a group in which n are there. */
RNG_FN long take_capacity(double factor, long E, long n)
{
	double share = factor * (double)n / (double)E;
	long most = share < 1 ? 1 : (long)share;

	return most < n ? most : n;
}

#endif
