/*
 * A table: src/report/table/NAME.c defines `const struct table table_NAME`, which fills a grid from
 * a study. Below: what several tables share.
 */
#ifndef REPORT_TABLE_H
#define REPORT_TABLE_H

#include "show/grid.h"
#include "study/study.h"

struct table {
	const char *name, *help;	/* help: one line */
	int place;			/* in reports and lists: small ones first */
	/* Has the study what the table shows? NULL: always. needs: what is missing, for people. */
	bool (*applies)(const struct study *s);
	const char *needs;
	/* Title, columns, rows. 0, or -1 after a message. */
	int (*fill)(struct study *s, struct grid *g);
};

extern const struct table *const tables[];	/* ended by NULL */
const struct table *table_find(const char *name);	/* NULL after a message */
/*
 * The grid; with the study's notes, unless the page it goes to has them already. Released by the
 * caller also after an error.
 */
int table_make(const struct table *t, struct study *s, bool with_notes, struct grid *g);

/* --- for the tables -------------------------------------------------------------------------- */

/* "27.1M", "1.23e15", "85.2": at least 32 bytes. NaN gives "-". */
const char *text_count(double n, char *buffer);
const char *text_flops(double flops, char *buffer);

/* Title as printf, followed by the sweep's name, and the epochs above four. */
void table_title(struct grid *g, const struct study *s, const char *format, ...) PRINTF_LIKE(3, 4);
void columns_of_model(struct grid *g);			/* model, params, active, vocabulary */
void cells_of_model(struct grid *g, const struct study *s, const struct arm *v);
void cell_count(struct grid *g, double n);
void cell_value(struct grid *g, double value, int digits);	/* NaN: "-" */
void cell_mean(struct grid *g, struct interval x, int digits);	/* "1.912 +- 0.004" */
void cell_share(struct grid *g, struct interval x);		/* "0.8 %" */
/* The paired difference of final losses to the baseline, or what stands in its place. */
void cell_difference(struct grid *g, struct study *s, const struct arm *v);

/* What a speed-up in tokens amounts to. */
struct verdict {
	/* "faster", "slower", "unclear" (the interval holds 1), "no difference seen", ... */
	const char *word;
	char text[64];		/* the same for people, with the number where there is one */
};
struct verdict verdict_of(const struct study *s, const struct arm *v, const struct speedup *up,
	const struct null_speedup *null);
/* To the first target. */
void cell_speedup(struct grid *g, struct study *s, const struct arm *v);
void cell_published(struct grid *g, const struct study *s, const struct arm *v,
	const char *quantity);
/* Begins the null row; model: number of the first column of columns_of_model(). */
void row_of_null(struct grid *g, const struct study *s, int model);
/* The null row of a table of losses, its sentence in column `difference`; no baseline, no row. */
void row_of_null_loss(struct grid *g, const struct study *s, int model, int difference);
/* Largest minus smallest final loss of the baseline's seeds; NaN below two. */
double study_baseline_spread(const struct study *s);

#endif
