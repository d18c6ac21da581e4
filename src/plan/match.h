/*
 * `match: {to: SPEC, by: active|flops, solve: KEY}`: a spec that shall equal another one in active
 * parameters (cost_params.active) or in model FLOPs per token (cost.flops_per_token), by the choice of
 * one whole-number key such as model.ffn.d_hidden.
 */
#ifndef PLAN_MATCH_H
#define PLAN_MATCH_H

#include "train/setup.h"

/*
 * If the config has a match, sets its key to the value that comes nearest, and clears the match, so
 * that what is stored and identified is the plain number. The cost must grow with the key. The other
 * spec is taken with this run's data, batch and context. n_vocab as for setup_open(). 0, or -1 after a
 * message: a bad match, or no value comes within 2 %.
 */
int match_solve(struct arena *a, struct config *c, const struct device *d, long n_vocab);

/* A single spec loaded as by spec_load() with the schema of all specs, and its match solved. */
int match_load(struct arena *a, const char *path, const char *const *overrides, int n_overrides,
	const struct device *d, struct config *c);

#endif
