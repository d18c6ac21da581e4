/*
 * The operators of models with the shapes that they have there. A spec is recorded twice, alike but for
 * its tokens: the larger one is for the clock, the smaller one for the float64 reference, which is slow.
 */
#ifndef MEASURE_OP_CASES_H
#define MEASURE_OP_CASES_H

#include "measure/bench.h"
#include "op/trial.h"
#include "train/setup.h"

enum { OP_CHECK_TOKENS = 32 };		/* of the smaller one */
#define OP_MEMORY_SHARE 0.4		/* of the machine's, that one operator may take */

struct op_case {			/* an operator on one shape */
	const struct op *op;
	const struct op_shapes *timed, *checked;
	struct op_cost cost;
	double forward_floor_s, backward_floor_s;	/* by declared cost and measured rates */
	/* of op_times_measure() */
	double forward_s, backward_s;			/* NaN: it has no backward */
	double forward_error, backward_error;		/* by the largest value of a tensor */
};

struct recorded;

struct op_cases {
	struct arena arena;
	struct recorded *specs[16];
	struct op_case *cases;		/* costliest first, by declared cost */
	int n_specs, n_cases, capacity;
	int n_too_large;		/* left out */
	long context, batch;		/* of the last spec */
};

/*
 * what: a spec, or the name of a folder of experiments ("micro"), where architectures have files of their
 * name. b->only and b->all choose. 0, or -1 after a message; op_cases_close() then too.
 */
int op_cases_open(struct op_cases *l, struct bench *b, const char *what);
void op_cases_close(struct op_cases *l);

/* For a trial on c->timed or c->checked: operands as in the operator's first example. */
struct op_trial_case op_case_trial(const struct op_case *c, const struct op_shapes *s);

/* Shapes of all inputs, for programs; or of the first and the largest other one. In the arena. */
const char *op_case_shape(const struct op_case *c, bool all, struct arena *a);

#endif
