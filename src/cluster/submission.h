/*
 * What one `submit` hands to Slurm, a folder ROOT/submit/SWEEP-K ("/" in a sweep's name becomes "."):
 *
 *   task.sh     the script of each task: the same program `moelab task FOLDER`
 *   runs.txt    runs that the tasks draw, a line each: directory below ROOT/runs, identity, seed, steps, label
 *   job.json    struct submission; the ids of the jobs come in when Slurm has given them
 *   log/        what tasks print, JOB_TASK.txt
 */
#ifndef CLUSTER_SUBMISSION_H
#define CLUSTER_SUBMISSION_H

#include <stdbool.h>

#include "base/arena.h"

struct submission {
	const char *folder;		/* absolute; the file does not hold it */
	const char *sweep, *file;	/* name, and where it was read */
	const char *root;		/* of results, absolute */
	const char *device;
	long workers, threads;		/* of a task; threads of each worker */
	double worker_bytes;		/* of memory that a worker needs at most */
	long tasks, runs;
	const char *submitted;		/* "2026-11-29T17:20:18Z" */
	const long long *jobs;		/* Slurm's ids: of arrays, one or a few */
	int n_jobs;
};

/* Makes the next folder SWEEP-K of ROOT/submit, which nobody else gets, with log/ in it, and sets
   s->folder, in the arena. 0, or -1 after a message. */
int submission_make(struct submission *s, const char *root, const char *sweep, struct arena *a);
int submission_write(const struct submission *s);
int submission_read(struct submission *s, const char *folder, struct arena *a);
/* Those of the sweep (NULL: of all), oldest first, in the arena; none is no error. What cannot be read is
   told and passed over. */
void submission_list(const char *root, const char *sweep, struct arena *a, struct submission **list, int *n);

/* A line of runs.txt. */
struct submitted_run {
	const char *name, *identity, *label;
	long seed, steps;
};
int submission_write_runs(const struct submission *s, const struct submitted_run *runs, int n);
int submission_read_runs(const struct submission *s, struct arena *a, struct submitted_run **runs, int *n);

#endif
