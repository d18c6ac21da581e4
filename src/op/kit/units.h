/*
 * Hidden units of a layer of experts whose widths differ: expert e has the units units_first(e) to
 * units_first(e + 1) of all. The widths of the first n experts are given, those of later ones follow in turn.
 * The same source for every device.
 */
#ifndef OP_KIT_UNITS_H
#define OP_KIT_UNITS_H

#include "op/kit/vec.h"

enum { UNITS_MAX = 64 };	/* widths given */

struct units {
	int n;				/* 0: all experts are equally wide, and no function below is asked */
	int first[UNITS_MAX + 1];	/* of expert e < n; first[n]: units of all n */
};

VEC_FN long units_first(const struct units *u, long e)
{
	return e / u->n * u->first[u->n] + u->first[e % u->n];
}

/* Width of expert e. */
VEC_FN long units_of(const struct units *u, long e)
{
	return u->first[e % u->n + 1] - u->first[e % u->n];
}

VEC_FN long units_most(const struct units *u)
{
	long most = 0;

	for (long e = 0; e < u->n; e++)
		most = units_of(u, e) > most ? units_of(u, e) : most;
	return most;
}

/* Width of expert e over the mean of all; 1 where all are equal. */
VEC_FN double units_share(const struct units *u, long e)
{
	return u->n ? (double)(units_of(u, e) * u->n) / u->first[u->n] : 1;
}

#endif
