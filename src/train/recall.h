/*
 * Scores on rows of examples. Of recall: how many of the tokens that are asked for a model says (its best guess,
 * the true tokens before), and how many whole answers. An answer is a run of targets one behind the other. Of
 * forecasts: how far what is said lies from the values.
 */
#ifndef TRAIN_RECALL_H
#define TRAIN_RECALL_H

#include "train/setup.h"

struct recall_score {
	double nll;			/* sum, nats; of forecasts of squares */
	double error;			/* sum, of forecasts: distances */
	long tokens, right;		/* asked for; right ones of them */
	long answers, whole;		/* answers; those with every token right */
};

struct recall_rows {			/* of one replay */
	const int *targets_BT;		/* < 0: nothing is asked */
	const double *nll_BT, *correct_BT;	/* of forecasts: square, distance */
	long n, context;		/* rows to score; T */
	bool forecasts;
};

void recall_add(struct recall_score *score, const struct recall_rows *r);
enum { EVALUATION_STOPPED = 1 };
/* All rows of a test set. s: of setup_open_for() or _tests() with this dataset. 0, EVALUATION_STOPPED if the worker is
   asked to stop (the score counts for nothing), or -1 after a message: a damaged file. */
int recall_test(struct recall_score *score, const struct setup *s, const struct dataset *d, enum split test);

#endif
