/* How long a training step takes, as a whole and by operator, or beside the same with a key changed. */
#ifndef MEASURE_STEP_TIMES_H
#define MEASURE_STEP_TIMES_H

#include "measure/bench.h"
#include "train/cost.h"

/* All nodes of one operator. */
struct step_row {
	const struct op *op;
	int n;
	double forward_s, backward_s;	/* of all, per step */
	double forward_flops, backward_flops, forward_bytes, backward_bytes;
};

struct step_times {
	struct arena arena;
	struct config config;
	long batch_tokens;		/* of a step */
	struct cost cost;
	double tokens_per_s, peak_bytes;
	struct step_row *rows;		/* slowest first; in the arena */
	int n_rows;
};

/*
 * First b->steps steps as users run them, then as many with a clock around each call; and adds them to
 * the report. An exit code; the caller releases the arena in any case.
 */
int step_times_measure(struct step_times *t, struct bench *b, const char *spec);

enum { STEP_MAX_ROUNDS = 101 };

struct step_side {			/* the step with, or without the change */
	struct cost cost;
	double seconds[STEP_MAX_ROUNDS];	/* per step */
	double median_s, ratio;		/* ratio: median of those to the unchanged one's neighbours */
};

/*
 * b->steps rounds of both in turn, so that a machine that grows slower or faster favours neither; one in
 * memory at a time. change: key=value. Gives both sides, the unchanged one first, and the rounds, and
 * adds them to the report. An exit code.
 */
int step_times_pair(struct bench *b, const char *spec, const char *change, struct step_side sides[2],
	int *rounds);

#endif
