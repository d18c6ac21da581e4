/*
 * The last validation loss by classes of its tokens, of all runs of a study: by position in the
 * context, by frequency of the target. What the tables and plots `position` and `frequency` share.
 */
#ifndef REPORT_SLICE_H
#define REPORT_SLICE_H

#include "report/plot.h"
#include "report/table.h"

struct slices {
	int n;				/* classes that some run has, rising */
	long long *low, *high;		/* of class i, both included */
	double *tokens;			/* evaluated in class i, by the first run that has it */
	double *loss;			/* loss[run * n + i], run as in study.runs; NaN: none */
};

/* by: "position", "frequency". In the study's arena. 0, or -1 after a message. */
int slices_read(struct slices *t, struct study *s, const char *by);
/* Over the seeds that did not diverge. */
struct interval slice_mean(const struct slices *t, const struct study *s, const struct arm *v, int i);
/* Paired with the baseline's runs of the same seed. */
struct interval slice_difference(
	const struct slices *t, const struct study *s, const struct arm *v, int i);
/* Smallest difference that the baseline's seeds could show in class i; NaN below two. */
double slice_unseen(const struct slices *t, const struct study *s, int i);

/* For `applies` and `needs`: has any run such losses? */
bool slice_applies(const struct study *s);
extern const char slice_needs[];

/* "5-8", "10K-100K". Buffer of 64 bytes. */
const char *slice_title(const struct slices *t, int i, char *buffer);
/* Rows: configurations, the share of the tokens, the null. A column for each class. */
int slice_table(struct study *s, struct grid *g, const char *by);
/* A line for each configuration, over the low ends of the classes, from 1 on. */
int slice_plot(struct study *s, struct chart *c, const char *by);

#endif
