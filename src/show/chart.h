/*
 * A figure in memory: panels of series, or of a heat map, between the query that fills it and the
 * gnuplot script that draws it. Beside each figure stand its data (.csv, one line a point), its
 * script (.gp), which runs alone, and its caption (.txt). Texts are never read as markup.
 */
#ifndef SHOW_CHART_H
#define SHOW_CHART_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"
#include "show/look.h"

#include <stdbool.h>

struct series {
	const char *label;
	int style;		/* colour, dash and point; 0 is the baseline's */
	bool points, flat;	/* points: marked; flat: a reference line right across, one y */
	int n;
	double *x, *y;
	double *low, *high;	/* band, or bars if there are points; NaN: none */
};

struct panel {
	const char *title, *y_title;	/* title: NULL, or text above the panel */
	bool y_log;
	double y_low, y_high;		/* NaN: as the data need */
	double y_level;			/* a thin line at this height; NaN: none */
	const char *level_title;	/* what it says, or NULL */
	struct series *series;
	int n_series, cap_series;
	/* A heat map instead of series: n_x columns at x, rows below each other from the top. */
	double *x, *value;		/* value[row * n_x + column] */
	const char **row_title;		/* at the first row of each group of rows, else NULL */
	int n_x, n_rows;
};

struct chart {
	struct arena arena;
	const char *name, *title, *subtitle;	/* subtitle: n, band, data */
	/* For a paper: title without the sweep's name, what lines and bands are, and the whole. */
	const char *headline, *marks, *caption;	/* caption: NULL if it has none */
	bool ruleless;		/* shows something else than losses under the study's rule */
	const char *x_title;
	bool x_log;
	double x_low, x_high;		/* NaN: as the data need */
	bool x_few;			/* few values of x, each with a tic of its own */
	const char *value_title;	/* of a heat map's colours */
	bool ordered;			/* the legend lists series as they were added */
	bool forced;			/* against a refusal: whatever the title, it says so */
	struct look look;
	struct panel *panels;
	int n_panels, cap_panels;
};

void chart_init(struct chart *c, const char *name);
void chart_release(struct chart *c);
/* Valid until the next one. */
struct panel *chart_panel(struct chart *c, const char *y_title);
/* Room for n points, low and high NaN; n may be lowered afterwards. Valid until the next one. */
struct series *chart_series(struct chart *c, struct panel *p, const char *label, int style, int n);

/* Is point i of a curve of n drawn? Some hundreds are enough, the last one among them. */
bool chart_draws(int i, int n);
bool chart_is_heat(const struct chart *c);

/* The first N_COLOURS styles differ in colour, all in colour or dash. */
enum { N_COLOURS = 8, N_STYLES = 1 + 3 * (N_COLOURS - 1) };

struct chart_format {
	const char *name, *suffix;	/* "svg", ".svg"; the suffix is "" for the terminal */
};
/* svg, png, pdf, term; ended by name NULL. */
extern const struct chart_format chart_formats[];
const struct chart_format *chart_format_find(const char *name);	/* NULL after a message */
/* By the end of a file's name, capitals or not; svg for NULL. NULL after a message for others. */
const struct chart_format *chart_format_of(const char *path);

/*
 * Draws it as the look asks for: size, font, title, ranges, scales. 0, or -1 after a message if that
 * cannot be: a range without data, a logarithm of 0, an axis of a heat map.
 */
int chart_dress(struct chart *c, const struct look *look);

void chart_csv(const struct chart *c, struct str *out);
/* The script that draws from stem.csv into stem and the format's suffix, in its own folder. */
void chart_script(const struct chart *c, const struct chart_format *f, const char *stem,
	struct str *out);

/*
 * Writes STEM.csv, STEM.gp and, if there is a caption, STEM.txt, and draws: to chart_file(), or to
 * standard output. Gnuplot sees none of these names: it draws in a temporary folder.
 * path: the figure's file, with or without suffix; folders are made. The terminal needs no path.
 * An exit code: 0; after a message EXIT_ENVIRONMENT, or EXIT_USAGE for a heat map on a terminal and
 * for a control character in the name.
 */
int chart_write(const struct chart *c, const struct chart_format *f, const char *path);
/* What it makes: the path itself, or with the suffix if it has another or none. Caller frees. */
char *chart_file(const struct chart_format *f, const char *path);

#endif
