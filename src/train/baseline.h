/*
 * What a rule that learns nothing scores on a set of examples: without it the scores of models say little.
 * Of answers that are ids: always the one that is most frequent in training. Of forecasts: the last value that is
 * known, or the value a season (struct dataset) before, of the last season in which it is known; if in none, the last
 * value; and 0, the mean to train, where a row has no known value at all.
 */
#ifndef TRAIN_BASELINE_H
#define TRAIN_BASELINE_H

#include "data/order.h"

struct baseline {			/* NAN where it makes no sense */
	double majority;		/* share of the tokens asked for that are the most frequent answer */
	double last_mse, last_mae, season_mse, season_mae;
};

/* The most frequent answer of the first rows to train, of equals the lowest; -1 of series. -2 after a message. */
int baseline_answer(const struct dataset *d);
/* Of the windows of an evaluation, as that of its split, and of all test sets of a dataset of rows, by split. 0,
   or -1 after a message. */
int baselines_of(struct baseline all[MAX_SPLITS], const struct sequences *windows, long n_windows);

#endif
