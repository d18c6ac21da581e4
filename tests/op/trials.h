/* What tests of operators in chunks of time share: a trial run, and how far two of them lie apart. */
#ifndef TRIALS_H
#define TRIALS_H

#include <math.h>

#include "op/trial.h"

static inline void run(struct op_trial *t)
{
	op_trial_forward(t);
	op_trial_fill_d_out(t);
	op_trial_backward(t);
}

/* || a - b || / || b || */
static inline double distance(const struct op_trial *t, const struct tensor *a, const struct op_trial *u,
	const struct tensor *b)
{
	double diff = 0, norm = 0;

	for (long i = 0; i < tensor_size(a); i++) {
		double x = op_trial_get(t, a, i), y = op_trial_get(u, b, i);
		diff += (x - y) * (x - y);
		norm += y * y;
	}
	return sqrt(diff / norm);
}

#endif
