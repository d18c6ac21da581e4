/*
 * The cost of training as one thing grows at a time, and what of it is explained. Contexts keep 16,384
 * tokens a step; numbers of experts keep the width of each, so active parameters grow by the router alone.
 */
#ifndef MEASURE_GROWTH_H
#define MEASURE_GROWTH_H

#include "measure/bench.h"

enum { GROWTH_MAX_POINTS = 8 };

struct growth_axis {
	const char *name;		/* context, d_model, experts, threads */
	const char *needs;		/* a key of the architecture, or NULL */
	struct growth_point {
		const char *value;	/* as printed */
		const char *keys[2];	/* key=value; NULL: none */
	} points[GROWTH_MAX_POINTS];
	bool threads;			/* points are numbers of threads, not keys */
	bool explained;			/* by what one point costs */
};

extern const struct growth_axis growth_axes[];	/* ended by one without a name */

struct growth {				/* of one point */
	const char *value;
	double tokens_per_s, step_s, flops_per_s, planned_bytes;
	/* A step's work by declared cost, as far as it grows with the number of experts. */
	double bytes;			/* of all operators and of the update */
	double expert_flops, other_flops;	/* experts: without dropped tokens */
	double expert_rate;		/* FLOP/s of products as few rows as an expert has */
	/*
	 * What n experts should cost by what one costs: besides it the traffic of more weights, gradients
	 * and moments at the rate of copies, the larger router at that of products, and the experts'
	 * products at the rate that products of so few rows reach. NaN: nothing is claimed.
	 */
	double explained_s;
};

/* Does b->only leave the axis, and has the spec what it needs? */
bool growth_wanted(const struct bench *b, const char *spec, const struct growth_axis *axis);
/* All points of an axis, *n of them (threads: as many as there are cores), also into the report. An exit
   code. */
int growth_measure(struct bench *b, const char *spec, const struct growth_axis *axis,
	struct growth list[GROWTH_MAX_POINTS], int *n);

#endif
