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

enum { WORKER_DIVERGED = 10 };	/* exit code besides those of base/error.h */

/* Returns the exit code of the process: EXIT_DONE, EXIT_RUN_FAILED, WORKER_DIVERGED, EXIT_STOPPED. */
int worker_main(const char *run_dir, const struct worker_options *options);

#endif
