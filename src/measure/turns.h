/*
 * Step times that compare: a training step of several configurations, each alone on the machine, in
 * turn (A B C, A B C, ...), so that a machine that changes its pace does so for all of them.
 */
#ifndef MEASURE_TURNS_H
#define MEASURE_TURNS_H

#include "store/db.h"

enum { TURNS = 5 };

struct timed_run {
	long long id;			/* in the database */
	const char *dir;		/* run directory */
};

struct timed {
	const char *label;		/* for people */
	const struct timed_run *runs;	/* of this configuration, one or more: config.yaml of the first */
	int n_runs;
	const char *device;
	long vocab;
	int n_steps;			/* timed in all turns together */
	double seconds[TURNS];		/* of a step, rising afterwards; the median is in the middle */
};

/*
 * Each turn makes the model anew, drops one step and takes the median of three (on a GPU of fifteen), or
 * the second where steps are long; on random tokens. busy: share of the machine's processors that other
 * programs took meanwhile. 0, or -1 after a message: no such directory, too little memory.
 */
int turns_measure(struct timed *all, int n, double *busy);

/* Gives each run the median of its configuration: in its metrics.jsonl and in the database. 0, or -1 after
   a message. */
int turns_keep(const struct timed *all, int n, double busy, struct db *db);

#endif
