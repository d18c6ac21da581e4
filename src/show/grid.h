/*
 * A table in memory, between the query that fills it and the form it is printed in.
 *
 * A cell has a text for people and a value for programs. Markdown, LaTeX and HTML show texts; CSV
 * and JSON give values, and the texts of columns that have none. So a sentence like "not reached"
 * never stands where a program expects a number: there the value is empty (null).
 * All texts are copied; everything belongs to the grid.
 */
#ifndef SHOW_GRID_H
#define SHOW_GRID_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"
#include "show/note.h"

#include <stdbool.h>

enum column_kind {
	COLUMN_TEXT,
	COLUMN_NUMBER,
	COLUMN_INTERVAL,	/* CSV and JSON have name, name_low, name_high */
};

struct grid;
struct subject;	/* what a row is of; who lists columns says what it holds */

struct column {
	const char *name;	/* for programs: "speedup_tokens"; NULL: a column for people only */
	const char *title;	/* for people: "tokens, x"; NULL: a column for programs only */
	enum column_kind kind;
	/* Sets the next cell, this column's. null: of the null row; NULL: empty there. */
	void (*cell)(struct grid *g, const struct column *c, const struct subject *r);
	void (*null)(struct grid *g, const struct column *c, const struct subject *r);
	/* For a cell that several columns have: whose number it is, and how it is put. */
	const char *key;
	size_t member;
	void (*put)(struct grid *g, double value, int digits);
	int digits;
};

struct cell {
	const char *text;
	double value, low, high;	/* NaN: none */
};

struct grid {
	struct arena arena;
	const char *name, *title, *subtitle;	/* subtitle: a line below the title, or "" */
	const char *caption;	/* what LaTeX's caption has to say besides, in sentences, or "" */
	struct column *columns;
	struct cell **rows;	/* rows[i][column] */
	bool *ruled;		/* a line is drawn above row i */
	struct notes notes;	/* footers; stamps stand above the table */
	int n_columns, cap_columns, n_rows, cap_rows, cap_ruled;
	int filled;		/* cells of the last row that are set */
};

void grid_init(struct grid *g, const char *name);
void grid_release(struct grid *g);
void grid_title(struct grid *g, const char *format, ...) PRINTF_LIKE(2, 3);

/* All columns come before the first row. Of these the texts must last as long as the grid. */
void grid_columns(struct grid *g, const struct column *columns, int n);
/* One whose cells are set one by one. */
void grid_column(struct grid *g, const char *name, const char *title, enum column_kind kind);
/* A row of all columns' cells; of their null cells, with a line above. */
void grid_fill(struct grid *g, const struct subject *r);
void grid_fill_null(struct grid *g, const struct subject *r);
void grid_row(struct grid *g);		/* begins a row; cells not set are empty */
void grid_rule(struct grid *g);		/* a line above the row that grid_row began */

/* Leaves these columns alone, "model,loss", by their names or titles, in this order; once all rows are there. Those for
   programs only are then for people, too. 0, or -1 after a message. */
int grid_choose(struct grid *g, const char *names);

/* Set the next cell of the last row. */
void grid_text(struct grid *g, const char *format, ...) PRINTF_LIKE(2, 3);
/* NaN gives an empty value, whatever the text. */
void grid_number(struct grid *g, double value, const char *format, ...) PRINTF_LIKE(3, 4);
void grid_interval(struct grid *g, double value, double low, double high, const char *format, ...)
	PRINTF_LIKE(5, 6);

struct grid_format {
	const char *name, *suffix;	/* "md", ".md" */
	void (*render)(const struct grid *g, struct str *out);	/* appends */
};

/* md (aligned for terminals), csv, json, latex, html (a fragment); ended by name NULL. */
extern const struct grid_format grid_formats[];
const struct grid_format *grid_format_find(const char *name);	/* NULL after a message */

/* Text made safe for HTML, for LaTeX; appended. */
void html_text(struct str *out, const char *text);
void latex_text(struct str *out, const char *text);

#endif
