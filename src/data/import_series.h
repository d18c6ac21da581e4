/*
 * A series from a CSV file (plain or compressed), as windows like those of the task series (data/task/series.c). A
 * line is a step, a column a channel; cells are apart by commas, or if the first line has none, by semicolons or
 * tabs, and may stand in quotes. A first line that is no numbers names the columns, and where names may be numbers
 * `head` has to say what it is; a first column that is none, such as dates, or that alone has no name there and
 * numbers the lines, is left out.
 * An empty cell or "nan" is a value that is missing; a column without a value to train on, or numbers above 1e100,
 * are refused.
 *
 * Time is split in its order: train, tune, val, test. What is asked for lies in its part, what is known may lie in
 * the one before. Each column is scaled to mean 0 and deviation 1 over its part to train (one that does not change
 * there, to mean 0 alone). Every window of every column in which a value is asked for is a row: in each part they begin
 * `stride` steps apart, in test sets at every step.
 */
#ifndef DATA_IMPORT_SERIES_H
#define DATA_IMPORT_SERIES_H

#include <stdbool.h>

#include "data/csv.h"

enum { MOST_HORIZONS = 16 };

struct series_options {
	const char *input, *output;
	enum csv_head head;			/* of the input */
	long known;				/* values of a window in front of those asked for */
	long horizons[MOST_HORIZONS];		/* a test set each; the first is that of train, tune and val */
	int n_horizons;
	long stride;
	long season;				/* struct dataset's */
	double tune, val, test;			/* shares of the steps */
	bool force;				/* replace an existing dataset */
};

/* 0; or after a message and with nothing left behind, -1 for a wrong file and DATASET_UNWRITTEN (data/dataset.h). */
int import_series(const struct series_options *o);

#endif
