/*
 * Several inputs, read and worked on by many threads, with the results handed over in the order in
 * which one thread would have made them.
 *
 * An input is a stream of jobs. read() makes the next job of an input: at any time in one thread
 * for each input, in several threads for different ones. work() does a job: in any thread. write()
 * takes the jobs that are done: one at a time, all of input 0 in the order of reading, then all of
 * input 1, and so on.
 *
 * A free thread reads from the earliest input that no other thread is reading. So many small or
 * large inputs are read at the same time, and one large input is read by one thread at a time and
 * worked on by all. Jobs that wait for earlier ones are held to a limit: beyond it only the job
 * that is to be written next is read. Nobody waits for what is not being done, so this cannot lock
 * up.
 */
#ifndef DATA_PIPELINE_H
#define DATA_PIPELINE_H

#include <signal.h>
#include <stddef.h>

struct job {			/* the first member of the caller's own */
	size_t held_bytes;	/* set by work(): memory of the job while it waits to be written */
	long number;		/* the rest is the pipeline's: place among the jobs of its input, */
	int input;
	struct job *next;	/* next job of the input that is done */
};

struct pipeline {
	void *context;		/* for all functions below */
	int n_inputs, n_threads;
	size_t held_max;	/* bytes of jobs that are done and wait */
	const volatile sig_atomic_t *stop;	/* if not NULL: end when it becomes non-zero */
	/* 1: *job is the next job, owned by the pipeline until free_job; 0: the input has ended;
	   < 0: a failure. */
	int (*read)(void *context, int input, struct job **job);
	/* 0, or < 0: a failure. `thread` counts from 0 to n_threads - 1. */
	int (*work)(void *context, int thread, struct job *job);
	int (*write)(void *context, const struct job *job);
	void (*free_job)(struct job *job);
};

/* Returns when all is written: 0; or soon after a function failed: the first failure; or soon after
   the stop: -1 without a message. Then all jobs are freed, and no thread is left. */
int pipeline_run(const struct pipeline *p);

#endif
