/* The batch script of a submission's tasks. */
#ifndef CLUSTER_SCRIPT_H
#define CLUSTER_SCRIPT_H

#include <stdbool.h>

#include "base/str.h"

struct script {
	const char *name;		/* of the job */
	const char *folder;		/* of the submission, absolute */
	const char *program;		/* moelab, absolute */
	const char *here;		/* where tasks run: paths of specs may be relative to it */
	const char *array;		/* "0-15%4" */
	const char *time;		/* limit, as sbatch takes it */
	long lead_s;			/* SIGUSR1 comes so long before it */
	long cpus, gpus;		/* of a task */
	double memory_bytes;		/* of a task */
	const char *partition, *account, *qos, *constraint, *gpu_type;	/* "": as the site has it */
	const char *const *options;	/* more of sbatch's, each as on its command line */
	int n_options;
	const char *const *setup;	/* lines of shell before the program */
	int n_setup;
};

void script_text(const struct script *s, struct str *out);

/*
 * How long before the limit the signal comes, where a worker needs so many seconds for a step and a
 * checkpoint: twice that and half a minute, at least a minute, but no more than a quarter of the limit:
 * Slurm may send it up to a minute earlier still, sbatch(1) says.
 */
long script_lead(double limit_s, double stop_s);

#endif
