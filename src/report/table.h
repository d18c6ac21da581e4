/*
 * A table: src/report/table/NAME.c defines `const struct table table_NAME`, which fills a grid from
 * a study. Its columns are objects: columns.h has those that several tables share.
 */
#ifndef REPORT_TABLE_H
#define REPORT_TABLE_H

#include "report/columns.h"

struct table {
	const char *name, *help;	/* help: one line */
	int place;			/* in reports and lists: small ones first */
	/* Has the study what the table shows? NULL: always. needs: what is missing, for people. */
	bool (*applies)(const struct study *s);
	const char *needs;
	const char *axis;	/* in place of both: a key that the sweep must vary; rows rise with it, but for `order` */
	const char *title;	/* NULL: fill gives it */
	bool of_losses;		/* behind the title stands their unit */
	/* Of a configuration each (struct subject). NULL: fill adds them. */
	const struct column *columns;
	int n_columns;
	/* Rows rise with these values of each configuration; NULL: they stand as in the study. */
	const double *(*order)(struct study *s);
	/* NULL: a row for each configuration, and the null row. 0, or -1 after a message. */
	int (*fill)(struct study *s, struct grid *g);
	const char *notes[2];
};

extern const struct table *const tables[];	/* ended by NULL */
const struct table *table_find(const char *name);	/* NULL after a message */
bool table_applies(const struct table *t, const struct study *s);
/*
 * The grid; with the study's notes, unless the page it goes to has them already. Released by the
 * caller also after an error.
 */
int table_make(const struct table *t, struct study *s, bool with_notes, struct grid *g);

/* --- for the tables -------------------------------------------------------------------------- */

/* Title as printf, followed by the sweep's name, and the epochs above four. */
void table_title(struct grid *g, const struct study *s, const char *format, ...) PRINTF_LIKE(3, 4);
/* A row for each of them, all in the study's order for NULL, and the null row if there is a baseline. */
void rows_of_arms(struct grid *g, struct study *s, const struct arm **arms);
/* That says whether FLOPs are with or without the output head; behind: what else, or "". */
void note_flops(struct grid *g, const struct study *s, const char *behind);

#endif
