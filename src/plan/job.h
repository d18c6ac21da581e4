/*
 * A job is a run that somebody wants: a configuration, a seed, and what is to be done about it.
 * What is done is decided by the run directory alone, so `plan`, `why` and `run` say the same,
 * whatever database is at hand.
 */
#ifndef PLAN_JOB_H
#define PLAN_JOB_H

#include <jansson.h>

#include "base/arena.h"
#include "spec/sweep.h"
#include "store/db.h"

enum job_action {
	JOB_NEW,	/* no attempt yet */
	JOB_RESUME,	/* stopped or lost: goes on from its newest checkpoint, or from the start */
	JOB_RETRY,	/* failed in an earlier `run` */
	JOB_DONE,
	JOB_DIVERGED,	/* an outcome: more tries would give the same */
	JOB_RUNNING,	/* another process is at it */
	N_JOB_ACTIONS
};
extern const char *const job_action_name[N_JOB_ACTIONS];	/* "new", "resume", "retry", ... */

struct job {
	/* given */
	const char *label;
	long seed;
	const char *identity;		/* "": its dataset is not there, so nothing of it is known */
	const struct config *config;	/* NULL: that of its directory, whose orders are written */
	long steps;			/* when complete */
	double disk_bytes;		/* that its directory takes at most; 0: not known */
	/* decided by jobs_decide() */
	const char *name;		/* run directory below ROOT/runs */
	enum job_action action;
	bool again;			/* the run of an earlier job under another label: no work of its own */
	long step;			/* where it goes on */
	const char *why;		/* "stopped on request; goes on from step 400" */
};

/*
 * Decides all jobs. A run of the same identity is found under whatever label it was made, and equal jobs
 * are one run, in the directory of the first. ROOT need not exist. Texts live in the arena. 0, or -1 after a
 * message: a directory belongs to another run.
 */
int jobs_decide(const char *root, struct job *jobs, int n, struct arena *a);

/* Before a new run begins: another sweep may have begun it since under a label of its own (job->name). */
void job_find_again(const char *root, struct job *job, struct arena *a);

/* The same once more for a job whose directory is known (job->name). */
int job_decide_again(const char *root, struct job *job, struct arena *a);

/*
 * Who it is and what it is to do, as files of its directory, which is there: config.yaml and run.json. A job
 * without a config finds its config.yaml there. workers: how many train side by side. 0, or -1 after a
 * message.
 */
int job_write_orders(const struct job *job, const char *sweep, int workers, const char *dir);
/*
 * The same for all jobs that are work and have no orders yet, or have them for data that lay elsewhere, for
 * whoever does them later; makes their directories. Claims whose owners are gone, as this machine knows and
 * others may not, are removed. Decided jobs.
 */
int jobs_freeze(const char *root, const char *sweep, const struct job *jobs, int n);

bool job_is_work(const struct job *job);	/* new, resume, retry; what no other job of the list does */

/*
 * ROOT/sweeps/NAME.json and the sweep's rows, so that reports know what belongs to it; configs of
 * new runs, too. jobs: decided, those of sweep->runs in the same order. A run whose directory is
 * gone is forgotten first. db may be NULL (only the file). whole: NULL, or all that the sweep's file
 * names, where `sweep` is a part of it: runs of its variants and seeds that the file had before and the
 * part lacks stay. 0, or -1 after a message.
 */
int jobs_record(struct db *db, const char *root, const struct sweep *sweep, const struct job *jobs,
	const struct sweep *whole);

#endif
