/*
 * Several inputs, read and worked on by many threads, with the results handed over in the order in
 * which one thread would have made them.
 *
 * An input is a stream of portions. read() makes the next portion of an input: at any time in one
 * thread for each input, in several threads for different ones. work() does a portion: in any
 * thread. write() takes the portions that are done: one at a time, all of input 0 in the order of
 * reading, then all of input 1, and so on.
 *
 * A free thread reads from the earliest input that no other thread is reading. So many small or
 * large inputs are read at the same time, and one large input is read by one thread at a time and
 * worked on by all. Portions that wait for earlier ones are held to a limit: beyond it only the
 * portion that is to be written next is read. Nobody waits for what is not being done, so this
 * cannot lock up.
 */
#ifndef DATA_PIPELINE_H
#define DATA_PIPELINE_H

#include <signal.h>
#include <stddef.h>

struct portion {			/* the first member of the caller's own */
	size_t held_bytes;	/* set by work(): memory of the portion while it waits to be written */
	long number;		/* the rest is the pipeline's: place among the portions of its input, */
	int input;
	struct portion *next;	/* next portion of the input that is done */
};

struct pipeline {
	void *context;		/* for all functions below */
	int n_inputs, n_threads;
	size_t held_max;	/* bytes of portions that are done and wait */
	const volatile sig_atomic_t *stop;	/* if not NULL: end when it becomes non-zero */
	/* 1: *portion is the next portion, owned by the pipeline until free_portion; 0: the input has ended;
	   < 0: a failure. */
	int (*read)(void *context, int input, struct portion **portion);
	/* 0, or < 0: a failure. `thread` counts from 0 to n_threads - 1. */
	int (*work)(void *context, int thread, struct portion *portion);
	int (*write)(void *context, const struct portion *portion);
	void (*free_portion)(struct portion *portion);
};

/* Returns when all is written: 0; or soon after a function failed: the first failure; or soon after
   the stop: -1 without a message. Then all portions are freed, and no thread is left. */
int pipeline_run(const struct pipeline *p);

#endif
