/*
 * From a sweep (or a single spec) to jobs: each run's identity, length, disk and cost, and what is to
 * be done about it. `plan`, `run`, `train` and `why` begin here. Nothing is trained or written.
 */
#ifndef PLAN_PLAN_H
#define PLAN_PLAN_H

#include "plan/evals.h"
#include "plan/job.h"
#include "train/cost.h"

struct plan {
	struct arena arena;
	struct sweep sweep;
	const struct device *device;
	struct job *jobs;		/* as sweep.runs */
	struct cost *costs;
	struct evals *evals;
	double *tokens;			/* of the whole run */
	double *epochs;			/* that these make of the training split; NaN: it is not there */
	const char **missing;		/* datasets that are not there, n_missing of them */
	int n_missing;
	struct sweep_trials trials;	/* whose plan it is; set NULL: the sweep's own */
	int trials_left;		/* of its `tune`, before values can be chosen; until then the
					   runs have the specs' */
};

/*
 * path: a sweep or a spec. root: folder of results, need not exist. Each run's data is opened for its
 * hash. Runs of equal identity share a directory; the second is not run again. 0, or -1 after a
 * message. Where the sweep has a `tune` and its trials are complete, the runs have the values chosen.
 *
 * A dataset that is not there is no error here: the vocabulary is the spec's (data.vocab), the identity
 * empty, and the run new.
 */
int plan_open(struct plan *p, const char *path, const struct sweep_options *options,
	const struct device *device, const char *root);
void plan_close(struct plan *p);

/*
 * jobs_record() of the sweep as a whole, also when the plan, opened with these path and options, has only
 * --restrict'ed runs. Until all values are chosen by trials the others are not known but by the record there is.
 * With a sweep whose values are chosen its trials are recorded, too.
 */
int plan_record(struct db *db, const char *root, const struct plan *p, const char *path,
	const struct sweep_options *options);

/* 0, or -1 after a message: a dataset is not there, so nothing can run. */
int plan_check_data(const struct plan *p);
int plan_work(const struct plan *p);			/* runs to do */
int plan_incomplete(const struct plan *p);		/* runs that are neither done nor diverged */
double plan_disk_bytes(const struct plan *p);		/* of all runs to do */
double plan_bytes(const struct plan *p);		/* of memory, of the largest run to do */
double plan_flops(const struct plan *p, int i);		/* model FLOPs that run i trains with, as a whole */
double plan_flops_left(const struct plan *p, int i);	/* still to do, evaluations included; 0: it is no work */
double plan_evals_left(const struct plan *p, int i);	/* those of evaluations alone */

#endif
