/* The rule of capacity in place and overflow (op/place.h, op/overflow.h), the same source for every device. */
#ifndef OP_PLACE_RULE_H
#define OP_PLACE_RULE_H

#include "base/rng.h"

/* Choices an expert takes of a group where a share of the capacity is in force; at least one. */
RNG_FN long place_capacity(double share, long capacity)
{
	long n = (long)(share * (double)capacity);

	return n < 1 ? 1 : n;
}

#endif
