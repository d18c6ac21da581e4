/*
 * What a site has for all its submissions: partition, account, limits. A YAML file: the one that --site or
 * MOELAB_SLURM names, else slurm.yaml where the command runs, if it is there.
 *
 *	partition: gpu
 *	account: lab7
 *	time_max: 24:00:00
 *	setup: [module load cuda/13]
 */
#ifndef CMD_SITE_H
#define CMD_SITE_H

#include "base/arena.h"

struct site {
	const char *partition, *account, *qos, *constraint, *gpu_type;	/* "": none */
	const char *time, *time_max;		/* as sbatch takes it; "": from the plan; no limit */
	long tasks, parallel, jobs, threads, gpus;	/* 0: chosen; no limit; chosen; chosen; none */
	double memory_gib;			/* of a task; 0: as planned */
	double grace_s;				/* between SIGTERM and SIGKILL */
	const char **setup, **sbatch;		/* lines of shell; options of sbatch */
	int n_setup, n_sbatch;
};

/* file: NULL: as above. All in the arena. 0, or -1 after a message. */
int site_read(struct site *s, const char *file, struct arena *a);

#endif
