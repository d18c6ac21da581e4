/*
 * The last validation loss by classes of its tokens, of all runs of a study: by position in the
 * context, by frequency of the target. What the tables and plots `position`, `frequency` and `gap` share.
 */
#ifndef REPORT_SLICE_H
#define REPORT_SLICE_H

#include "report/plot.h"
#include "report/table.h"

/* For `applies` and `needs`: has any run such losses? */
bool slice_by_position(const struct study *s);
bool slice_by_frequency(const struct study *s);
extern const char slice_needs[], slice_recall_needs[];

/* Rows: configurations, the share of the tokens, the null. A column for each class. */
int slice_table(struct study *s, struct grid *g, const char *by);
/* A line for each configuration, over the low ends of the classes, from 1 on. */
int slice_plot(struct study *s, struct chart *c, const char *by);

#endif
