/*
 * The last scores of all runs of a study on sets of examples (store/schema.sql, table recall): what the
 * tables `recall` and `forecast` and the plot `recall` share.
 */
#ifndef REPORT_RECALL_H
#define REPORT_RECALL_H

#include "show/grid.h"
#include "study/study.h"

struct recall_set {
	const char *name;		/* "val", "64x4" */
	long long length, items;	/* -1: not counted, or mixed */
	bool several;			/* its answers are of several tokens */
	double majority;		/* share of the most frequent answer; NaN: not told */
	double last[2], season[2];	/* MSE and MAE of the last value, and of the value a season before */
};

/* Right: tokens, whole answers. Errors of forecasts: squared, absolute. */
enum recall_share { RECALL_TOKENS, RECALL_ANSWERS, RECALL_MSE, RECALL_MAE, N_RECALL_SHARES };

struct recall {
	struct recall_set *sets;	/* by length, then items; val is first */
	int n;
	double *share[N_RECALL_SHARES];	/* share[.][run * n + set], run as in study.runs; NaN: none */
};

/* For `applies` and `needs`: has any run such scores, of answers or of forecasts? */
bool recall_applies(const struct study *s);
bool forecast_applies(const struct study *s);
extern const char recall_needs[];

/* The sets with answers, or those with forecasts; in the study's arena. 0, or -1 after a message. */
int recall_read(struct recall *r, struct study *s, bool forecasts);
/* Of a run that did not diverge, else NaN. */
/* Begins the row of a rule in a table that begins with COLUMNS_OF_MODEL and COLUMN_SEEDS. */
void recall_rule(struct grid *g, const char *rule);
double recall_of(const struct recall *r, const struct study *s, const struct run_data *run, int set,
	enum recall_share which);

#endif
