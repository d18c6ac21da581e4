/* How large the tasks of a submission are: workers, threads, memory, time, and when they are told to stop. */
#ifndef CMD_TASK_SIZE_H
#define CMD_TASK_SIZE_H

#include "cmd/site.h"
#include "plan/plan.h"

struct task_size {
	long tasks, workers, threads, cpus;	/* workers of a task; threads of each */
	double memory_bytes;
	double run_s, work_s;		/* of the longest run, of all on so many workers; NAN: not known */
	double limit_s;			/* NAN: nothing is known and nothing given */
	double stop_s;			/* a step and a checkpoint, at most */
	double checkpoint_bytes;
	double every_s;			/* between checkpoints, the longest */
	long lead_s;			/* SIGUSR1 comes so long before the limit */
	char time[32];			/* the limit, as sbatch takes it */
};

/* measure: times a moment of training here, with as many threads; else the rate of products tells. */
void task_size_of(const struct plan *p, const struct site *site, bool measure, struct task_size *size);
/* What may go wrong with it, on stderr. */
void task_size_warn(const struct plan *p, const struct site *site, const struct task_size *size);

#endif
