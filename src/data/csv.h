/* Columns of numbers in a CSV file: its form is data/import_series.h's. A line break ends a line, also in quotes. */
#ifndef DATA_CSV_H
#define DATA_CSV_H

#include "base/hash.h"

enum csv_head {
	CSV_HEAD_SEEN,		/* names if it is no numbers; refused where numbers may be names, too */
	CSV_HEAD_NAMES,
	CSV_HEAD_VALUES,
};

struct csv {
	char **names;		/* of the columns: those of the first line, or "1", "2", ... */
	int n_columns;
	long n_lines;		/* with numbers */
	double *values;		/* [n_lines, n_columns]; NaN: missing */
	char hash[HASH_HEX];	/* of the text */
};

/* head: what the first line is. 0, or -1 after a message with file, line and column, and nothing to release. */
int csv_read(struct csv *f, const char *file, enum csv_head head);
void csv_release(struct csv *f);

static inline double csv_at(const struct csv *f, long line, int column)
{
	return f->values[line * f->n_columns + column];
}

#endif
