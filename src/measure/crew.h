/*
 * How many workers of how many threads do the missing work of a plan on this machine. At small scale
 * many workers of one thread do most; large models need memory, and so fewer workers. Results do not
 * depend on it: a run has the same bits for any number of threads.
 *
 * Considered are crews of at most as many threads as there are free cores (supervise/cores.h), as many
 * workers as runs to do, and as much memory as is free, or the sweep's limit, by the plan of the
 * largest run. By rule the crew with most workers is taken. By measuring, they train the costliest run
 * side by side for a moment (measure/pace.h), and the crew is taken with which all missing runs are over
 * first: runs are dealt out in order, each to the worker that is free first. On GPUs each worker gets one
 * of them (supervise/gpus.h), of those that have memory free for the largest run.
 */
#ifndef MEASURE_CREW_H
#define MEASURE_CREW_H

#include "plan/plan.h"

enum crew_by {
	CREW_BY_RULE,
	CREW_BY_NEED,		/* measured where that takes a small part of the work's own time */
	CREW_BY_MEASURING,
};

struct crew {
	int workers, threads;		/* of each; 0: to be chosen */
	double flops_per_s;		/* of one worker, model FLOPs: measured or expected; 0: not known */
};

/*
 * Chooses what is 0; workers that are given share all cores without measuring. why: one line for
 * people on what was chosen and from what, empty if nothing was. Sets the number of OpenMP threads to
 * all cores.
 */
void crew_choose(const struct plan *p, enum crew_by by, struct crew *crew, struct str *why);

/* Model FLOP/s that one worker of so many threads may be expected to reach on the device, by the rate of
   its products; NAN for a GPU that is not here. */
double crew_expected(const struct device *d, int threads);

/* The time that n pieces of work take, each so long on one worker, dealt out in order. */
double crew_seconds(const double *seconds, int n, int workers);

/* Bytes that runs may use: all memory, or what is free now, or the sweep's limit. */
double crew_memory(const struct plan *p, bool free_now);

/*
 * Crews to choose among, most workers first: all cores, or with siblings also one thread for each whole
 * core, shared by the most workers, or by a power of two of them. threads: 0 or given. Gives how many.
 */
enum { CREW_MAX = 32 };
int crew_candidates(int most_workers, int cores, int whole, int threads, struct crew list[CREW_MAX]);

#endif
