/* How far sweeps are, for the commands status and watch. */
#ifndef CMD_STATUS_H
#define CMD_STATUS_H

#include "cmd/lab.h"
#include "cmd/tasks.h"
#include "store/run_dir.h"

struct sweep_status {
	const char *name;
	int n, count[N_RUN_STATES];	/* runs; of them, in this state */
	double share;			/* of all steps that is done; NAN: there are none */
};

/* The named sweeps, or all for n_names 0; in lab->arena. 0, or -1 after a message. */
int status_read(struct lab *lab, const char *const *names, int n_names, struct sweep_status **list,
	int *n);
/* How many runs are over: done, failed or diverged. */
int status_over(const struct sweep_status *s);

/* Columns and a row for each; g is empty. t: what Slurm says of them, which programs get with it; or NULL. */
void status_grid(const struct sweep_status *list, int n, struct tasks *t, struct grid *g);
/* A line for each run at work now. */
int status_running(struct lab *lab, struct str *out);
/* Lines of what Slurm says of those that are not over and were submitted (cmd/tasks.h). */
void status_tasks(struct lab *lab, const struct sweep_status *list, int n, struct str *out);

#endif
