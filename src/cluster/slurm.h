/*
 * Slurm, through its client programs (squeue, scontrol, sbatch, scancel), each looked up in PATH and
 * given SLURM_LIMIT_S: with a dead controller they wait for minutes. What Slurm says of a job is kept
 * there for MinJobAge (300 s by default) after its end; "Invalid job id" means forgotten.
 */
#ifndef CLUSTER_SLURM_H
#define CLUSTER_SLURM_H

#include <stdbool.h>

#include "base/arena.h"

#define SLURM_LIMIT_S 20.0

enum slurm_phase {
	SLURM_WAITING,		/* nothing of it runs: pending, held, requeued */
	SLURM_ACTIVE,		/* on its nodes, beginning and ending included */
	SLURM_ENDED,
};

/* A job, or one task of an array, which is a job of its own. */
struct slurm_job {
	long long id;		/* a task that waits still has the array's */
	long long array;	/* id of the array; of a job that is no array, its own */
	long task;		/* -1: no array */
	enum slurm_phase phase;
	const char *state;	/* Slurm's word: "PENDING", "RUNNING", "TIMEOUT", ... */
	const char *reason;	/* of waiting, or of the end: "Resources", "None", "NonZeroExitCode", ... */
	const char *nodes;	/* "" before it has any */
	int restarts;		/* how often it was requeued */
};

/* The task this process is a part of, by its environment. */
struct slurm_place {
	const char *cluster;	/* "" where Slurm does not say */
	long long job, array;	/* 0: no job of Slurm's. array: the job's own id where it is no array */
	long task;		/* -1: no array */
	int restarts;
	const char *step;	/* "batch", or the number of a step that srun made */
};
void slurm_place(struct slurm_place *p, struct arena *a);

/* Is Slurm on this machine: are its client programs in PATH? */
bool slurm_is_here(void);

/*
 * What Slurm knows of these jobs, in one call whatever their number: all tasks of an array, in no
 * special order; jobs that are forgotten are missing. jobs: in the arena. 0, or -1 after a warning: it
 * does not answer, so nothing is known.
 */
int slurm_jobs(const long long *ids, int n_ids, struct arena *a, struct slurm_job **jobs, int *n);
/* The job or task among those; NULL: Slurm has forgotten it. task: -1 where the job is no array. */
const struct slurm_job *slurm_find(const struct slurm_job *jobs, int n, long long array, long task);

/* Submits a script, as the tasks of an array ("0-15%4") if that is not NULL; gives the id of the job, or -1
   after a message with what sbatch said. */
long long slurm_submit(const char *script, const char *array);
/* 0, or -1 after a message. A job that is over or forgotten is no error. */
int slurm_cancel(const long long *ids, int n_ids);
/* Puts this process's own task back into the queue, which ends it. 0, or -1 after a message. */
int slurm_requeue(const struct slurm_place *p);
/* A number of `scontrol show config`, as MaxArraySize; `otherwise` where it is not told. */
long slurm_config(const char *key, long otherwise);

/* Seconds of a time limit as sbatch takes it: "90" (minutes), "1:30:00", "2-12", ...; NAN: it is none. */
double slurm_seconds(const char *time);
/* Rounded up to minutes, "04:00:00" or "2-12:00:00"; buffer of 32 bytes. */
const char *slurm_time(double seconds, char *buffer);

#endif
