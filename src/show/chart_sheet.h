/*
 * The sheet a chart is drawn on: its size, and all distances on it in ems, the size of its font. So
 * a figure looks the same in every format, and a small one keeps its proportions.
 */
#ifndef SHOW_CHART_SHEET_H
#define SHOW_CHART_SHEET_H

#include "show/chart.h"

struct sheet {
	const char *format;
	const char *font;
	double width_pt, height_pt, em_pt;
	double width, height;		/* in em */
	/* Margins in em; below there is room for the legend, if it stands there. */
	double top, bottom, left, right;
	/* Panels stand row after row, so many beside each other; gaps between them in em. */
	int n_rows, n_columns;
	double gap_x, gap_y;
	bool legend_below;
	int legend_columns;
};

/* The shape of what the format draws; not for the terminal. */
struct sheet sheet_of(const struct chart *c, const struct chart_format *f);
/* The commands that set it up: terminal, output file, data format. Also for the terminal. */
void sheet_begin(const struct sheet *s, const struct chart *c, const struct chart_format *f,
	const char *stem, struct str *out);
/* "font 'sans,16'", for a text of so many em. */
void sheet_font(const struct sheet *s, double em, struct str *out);

double sheet_room(const struct sheet *s);	/* height of a panel and its gap, in em */
double sheet_across(const struct sheet *s);	/* width of a panel, in em */

/* Range, scale and tics; numbers: with these below. y: of the panel. */
void chart_x_axis(const struct chart *c, const struct sheet *s, bool numbers, struct str *out);
void chart_y_axis(const struct chart *c, const struct panel *p, const struct sheet *s,
	struct str *out);

bool format_is_terminal(const struct chart_format *f);
/* In gnuplot's single quotes, where nothing is expanded. */
void gnuplot_quoted(struct str *out, const char *text);
/* The file of the script's folder: never taken for a pipe, a data block or an option. */
void gnuplot_file(struct str *out, const char *stem, const char *suffix);

#endif
