/*
 * The worker: one run, in a process of its own, from its run directory alone (config.yaml, run.json).
 * Trains, evaluates, writes checkpoints and records; takes up an unfinished run where its newest
 * checkpoint stands.
 */
#ifndef RUN_WORKER_H
#define RUN_WORKER_H

struct worker_options {
	const char *device;	/* name; NULL: cpu */
	int threads;		/* 0: all cores */
	int pipe;		/* descriptor of the supervisor's pipe, or -1 */
};

/* Returns the exit code of the process, one of enum worker_exit (run/supervisor.h). */
int worker_main(const char *run_dir, const struct worker_options *options);

#endif
