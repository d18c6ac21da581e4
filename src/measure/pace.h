/*
 * The pace of workers side by side: so many processes of so many threads, on cores of their own,
 * train one configuration together for a moment, since what they share (caches, memory bandwidth)
 * shows only then. Random tokens; no run directory, no database.
 */
#ifndef MEASURE_PACE_H
#define MEASURE_PACE_H

#include "spec/config.h"
#include "train/worker.h"

struct pace {
	const struct config *config;
	const char *device;
	double tokens;			/* of a micro-batch */
	double limit_s;			/* gives up after that */
};

/*
 * Training tokens/s of all workers together: each is timed from one micro-batch to another, two or
 * more and half a second at least, while all others are at work and after each has had one to warm
 * up. Processes only: the caller's threads and memory are not used. < 0 after a warning.
 */
double pace_measure(const struct pace *p, int workers, int threads);

/* The worker's side: trains on what dir/config.yaml says until the pipe is closed or it is killed,
   and writes the time (clock_s, a double) to the pipe at the beginning of each micro-batch. */
int pace_worker(const char *dir, const struct worker_options *options);

#endif
