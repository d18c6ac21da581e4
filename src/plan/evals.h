/*
 * What a run's evaluations cost, beside its training: those of the validation split, the last one without
 * capacity, and the test sets of a task, each as often as the worker does it (train/worker.c). As model FLOPs of
 * whole replays; texts that a model writes meanwhile (samples.*) are not counted.
 */
#ifndef PLAN_EVALS_H
#define PLAN_EVALS_H

#include "train/setup.h"

struct evals {
	long steps, every, tests_every;		/* of the run; 0: test sets at the end alone */
	double val, dropless, tests;		/* FLOPs of one evaluation of each kind */
};

/* s: of setup_open_for(). d: NULL where the dataset is not there; then nothing is known of test sets. */
void evals_of(const struct setup *s, const struct dataset *d, struct evals *e);
/* FLOPs of those that are still to come where `step` updates are done. */
double evals_left(const struct evals *e, long step);

#endif
