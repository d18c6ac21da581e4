/*
 * The last scores of all runs of a study on sets of examples (store/schema.sql, table recall): what the
 * table and the plot `recall` share.
 */
#ifndef REPORT_RECALL_H
#define REPORT_RECALL_H

#include "study/study.h"

struct recall_set {
	const char *name;		/* "val", "64x4" */
	long long length, items;	/* -1: not counted, or mixed */
	bool several;			/* its answers are of several tokens */
};

enum recall_share { RECALL_TOKENS, RECALL_ANSWERS, N_RECALL_SHARES };	/* right: tokens, whole answers */

struct recall {
	struct recall_set *sets;	/* by length, then items; val is first */
	int n;
	double *share[N_RECALL_SHARES];	/* share[.][run * n + set], run as in study.runs; NaN: none */
};

/* For `applies` and `needs`: has any run such scores? */
bool recall_applies(const struct study *s);
extern const char recall_needs[];

/* In the study's arena. 0, or -1 after a message. */
int recall_read(struct recall *r, struct study *s);
/* Of a run that did not diverge, else NaN. */
double recall_of(const struct recall *r, const struct study *s, const struct run_data *run, int set,
	enum recall_share which);

#endif
