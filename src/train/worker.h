/*
 * The worker: one run, in a process of its own, from its run directory alone (config.yaml, run.json).
 * Trains, evaluates, writes checkpoints and records; takes up an unfinished run where its newest
 * checkpoint stands.
 */
#ifndef TRAIN_WORKER_H
#define TRAIN_WORKER_H

/* Exit codes of the process, for the supervisor; any other is a crash. */
enum worker_exit {
	WORKER_DONE = 0,
	WORKER_FAILED = 1,
	WORKER_DIVERGED = 10,
	WORKER_STOPPED = 75,
	WORKER_TAKEN = 76,	/* the run is another's now: ended without writing */
};

struct worker_options {
	const char *device;	/* name; NULL: cpu */
	int threads;		/* 0: all cores */
	int pipe;		/* descriptor of the supervisor's pipe, or -1 */
	const char *claim;	/* token of the supervisor's claim (cluster/claim.h); NULL: none */
};

/* Returns the exit code of the process, one of enum worker_exit. */
int worker_main(const char *run_dir, const struct worker_options *options);

#endif
