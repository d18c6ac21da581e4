/*
 * What Slurm says of submitted sweeps and of their runs, for status, watch and why. Slurm is asked where
 * it is installed, and only of submissions whose sweep is not over; else all of this is nothing.
 */
#ifndef CMD_TASKS_H
#define CMD_TASKS_H

#include "cluster/slurm.h"
#include "cluster/submission.h"
#include "base/str.h"

struct tasks {
	struct arena arena;
	struct submission *list;	/* oldest first */
	int n;
	struct slurm_job *jobs;		/* what Slurm knows of them */
	int n_jobs;
	bool answered;
};

/* Submissions of the sweep below ROOT (NULL: of all sweeps), without a word of Slurm's. */
void tasks_open(struct tasks *t, const char *root, const char *sweep);
void tasks_close(struct tasks *t);
/* Asks of those of the sweeps that are named. */
void tasks_ask(struct tasks *t, const char *const *sweeps, int n);

/* The same for a program: tasks of all submissions of a sweep, and what Slurm calls their states. */
struct task_counts {
	long long job;			/* the newest submission's; 0: there is none */
	bool known;			/* what follows: Slurm was asked, and has answered */
	int n[SLURM_ENDED + 1];		/* by phase */
	const char *states;		/* "2 RUNNING on n1 n4, 1 PENDING (Resources)"; in the arena of t */
};
void tasks_count(struct tasks *t, const char *sweep, struct task_counts *c);

/* Lines on the submissions of a sweep of which `left` runs are not over; none where it has none. */
void tasks_sweep(const struct tasks *t, const char *sweep, int left, struct str *out);
/* Who is at the run of this directory, and what Slurm says of his job; none where nobody has claimed it. */
void tasks_run(const struct tasks *t, const char *dir, struct str *out);

/* " on n3, Slurm job 7_2": behind what is said of a run at work; "" for one of this machine alone. */
const char *tasks_place(const char *dir, struct arena *a);

#endif
