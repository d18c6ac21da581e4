/*
 * The gnuplot script of a chart. Texts stand in single quotes, where gnuplot expands nothing, and
 * the terminal is noenhanced, so names with underscores, backquotes or @ come out as they are.
 */
#include "report/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Okabe and Ito 2008, without yellow; black for the baseline. Dash and point differ, too. */
static const struct style {
	const char *colour, *dash;
	int point;
} styles[N_STYLES] = {
	{"#000000", "solid", 7},
	{"#0072b2", "solid", 5},
	{"#d55e00", "(5,1.5)", 9},
	{"#009e73", "(7,1.5,1.5,1.5)", 11},
	{"#cc79a7", "solid", 13},
	{"#e69f00", "(5,1.5)", 4},
	{"#56b4e9", "(2,1.2)", 6},
	{"#7f7f7f", "(7,1.5,1.5,1.5)", 8},
};

const struct chart_format chart_formats[] = {
	{"svg", ".svg"}, {"png", ".png"}, {"pdf", ".pdf"}, {"term", ""}, {NULL, NULL}};

const struct chart_format *chart_format_find(const char *name)
{
	for (const struct chart_format *f = chart_formats; f->name; f++)
		if (!strcmp(f->name, name))
			return f;
	error("unknown format \"%s\": plots are svg, png, pdf or term", name);
	return NULL;
}

const struct chart_format *chart_format_of(const char *path)
{
	for (const struct chart_format *f = chart_formats; path && f->name; f++)
		if (*f->suffix && str_ends(path, f->suffix))
			return f;
	return chart_format_find("svg");
}

static void quoted(struct str *out, const char *text)
{
	str_add(out, "'");
	for (; *text; text++) {
		if (*text == '\'')
			str_add(out, "''");
		else
			str_add_bytes(out, *text == '\n' || *text == '\r' ? " " : text, 1);
	}
	str_add(out, "'");
}

static bool is_heat(const struct chart *c)
{
	return c->n_panels && c->panels[0].n_rows;
}

static bool on_terminal(const struct chart_format *f)
{
	return !*f->suffix;
}

static void terminal_size(int *width, int *height)
{
	struct winsize w = {0};
	const char *columns = getenv("COLUMNS");

	ioctl(1, TIOCGWINSZ, &w);
	*width = columns ? atoi(columns) : w.ws_col;
	*height = w.ws_row;
	*width = *width < 60 ? (*width ? 60 : 100) : *width > 160 ? 160 : *width;
	*height = *height < 20 ? 32 : *height > 50 ? 50 : *height - 2;
}

/* Panels beyond the first make the page longer. */
static double page_height(const struct chart *c)
{
	if (is_heat(c))
		return 110 + 190 * c->n_panels;
	return 560 + 260 * (c->n_panels - 1);
}

static void terminal(
	const struct chart *c, const struct chart_format *f, const char *stem, struct str *out)
{
	double height = page_height(c);
	int columns, lines;

	if (!strcmp(f->name, "svg")) {
		str_printf(out,
			"set terminal svg size 960,%.0f dynamic font 'sans,14' linewidth 1"
			" background rgb 'white' name ",
			height);
		quoted(out, c->name);
		str_add(out, "\n");
	} else if (!strcmp(f->name, "png")) {
		str_printf(out,
			"set terminal pngcairo size 1920,%.0f font 'sans,14' fontscale 1.5"
			" linewidth 2 pointscale 2 background rgb 'white'\n",
			2 * height);
	} else if (!strcmp(f->name, "pdf")) {
		str_printf(out,
			"set terminal pdfcairo size 18cm,%.1fcm font 'sans,10' linewidth 1\n",
			18 * height / 960);
	} else {
		terminal_size(&columns, &lines);
		str_printf(out, "set terminal dumb size %d,%d\n", columns, lines);
	}
	str_add(out, "set termoption noenhanced\nset encoding utf8\n");
	if (!on_terminal(f)) {
		char *file = xasprintf("%s%s", stem, f->suffix);
		str_add(out, "set output ");
		quoted(out, file);
		str_add(out, "\n");
		free(file);
	}
	str_add(out,
		"set datafile separator comma\nset datafile columnheaders\n"
		"set datafile missing 'NaN'\n");
}

/* Title and subtitle stand left, above the page. */
static void headings(const struct chart *c, const struct chart_format *f, struct str *out)
{
	if (on_terminal(f)) {
		str_add(out, "set title ");
		quoted(out, c->title);
		str_add(out, "\n");
		return;
	}
	double line = 1 / page_height(c);
	str_add(out, "set label 1 ");
	quoted(out, c->title);
	str_printf(out, " at screen 0.02, screen %.4f left font 'sans,16'\nset label 2 ",
		1 - 24 * line);
	quoted(out, c->subtitle);
	str_printf(out,
		" at screen 0.02, screen %.4f left font 'sans,11' textcolor rgb '#555555'\n",
		1 - 48 * line);
}

static void look(const struct chart *c, const struct chart_format *f, struct str *out)
{
	str_add(out,
		"set border 3 linewidth 1 linecolor rgb '#333333'\n"
		"set tics nomirror out scale 0.6\n"
		"set grid linetype 1 linewidth 0.5 linecolor rgb '#dddddd'\n");
	str_add(out, "set style fill transparent solid 0.18 noborder\n");
	if (on_terminal(f))
		str_add(out, "unset grid\nset key outside below\n");
	else
		str_add(out, "set key outside right center Left reverse samplen 3 spacing 1.25\n");
	str_add(out, "set xlabel ");
	quoted(out, c->x_title);
	str_printf(out, "\nset format x '%s'\n", chart_x_format(c));
	if (!is_heat(c))
		chart_x_axis(c, out);
}

static double last_y(const struct series *s)
{
	for (int i = s->n - 1; i >= 0; i--)
		if (isfinite(s->y[i]))
			return s->y[i];
	return -INFINITY;
}

/* Without an order of its own the legend has that of the lines at their right end. */
static void order_series(const struct chart *c, const struct panel *p, int *order)
{
	for (int i = 0; i < p->n_series; i++) {
		int at = i;
		for (; at > 0 && !c->ordered && last_y(&p->series[order[at - 1]]) < last_y(&p->series[i]); at--)
			order[at] = order[at - 1];
		order[at] = i;
	}
}

/* Points of a series in the file: gnuplot counts them from 0, behind the line of names. */
static long first_point(const struct chart *c, const struct panel *p, const struct series *s)
{
	long first = 0;

	for (const struct panel *q = c->panels; q <= p; q++)
		for (int i = 0; i < q->n_series; i++) {
			if (&q->series[i] == s)
				return first;
			first += q->series[i].n;
		}
	return first;
}

static bool has_range(const struct series *s)
{
	for (int i = 0; i < s->n; i++)
		if (isfinite(s->low[i]) && isfinite(s->high[i]))
			return true;
	return false;
}

static void source(const struct chart *c, const struct panel *p, const struct series *s,
	const char *stem, struct str *out)
{
	char *file = xasprintf("%s.csv", stem);
	long first = first_point(c, p, s);

	quoted(out, file);
	str_printf(out, " every ::%ld::%ld using ", first, first + s->n - 1);
	free(file);
}

static void plot_range(const struct chart *c, const struct panel *p, const struct series *s,
	const char *stem, struct str *out)
{
	const struct style *look_of = &styles[s->style % N_STYLES];

	source(c, p, s, stem, out);
	if (s->points)
		str_printf(out,
			"3:4:5:6 with yerrorbars linecolor rgb '%s' linewidth 1.2 pointtype -1"
			" notitle",
			look_of->colour);
	else
		str_printf(
			out, "3:5:6 with filledcurves fillcolor rgb '%s' notitle", look_of->colour);
}

static void plot_line(const struct chart *c, const struct panel *p, const struct series *s,
	const char *stem, struct str *out)
{
	const struct style *look_of = &styles[s->style % N_STYLES];

	source(c, p, s, stem, out);
	str_printf(out, "3:4 with %s linecolor rgb '%s' linewidth 2 dashtype %s",
		s->points ? "linespoints" : "lines", look_of->colour,
		s->flat ? "3" : look_of->dash);
	if (s->points)
		str_printf(out, " pointtype %d pointsize 0.8", look_of->point);
	str_add(out, " title ");
	quoted(out, s->label);
}

static void plot_series(const struct chart *c, const struct chart_format *f, const struct panel *p,
	const char *stem, struct str *out)
{
	int *order = xcalloc((size_t)p->n_series + 1, sizeof *order);
	const char *between = "plot ";

	order_series(c, p, order);
	for (int i = 0; i < p->n_series && !on_terminal(f); i++) {
		const struct series *s = &p->series[order[i]];
		if (!has_range(s))
			continue;
		str_add(out, between);
		plot_range(c, p, s, stem, out);
		between = ", \\\n\t";
	}
	if (isfinite(p->y_level) && !on_terminal(f)) {
		str_printf(out,
			"%s%.9g with lines linecolor rgb '#888888' linewidth 1 dashtype 3 notitle",
			between, p->y_level);
		between = ", \\\n\t";
	}
	for (int i = 0; i < p->n_series; i++) {
		str_add(out, between);
		plot_line(c, p, &p->series[order[i]], stem, out);
		between = ", \\\n\t";
	}
	str_add(out, "\n");
	free(order);
}

/* A label in the middle of each group of rows, a white line between groups. */
static void heat_rows(const struct panel *p, struct str *out)
{
	const char *between = "";
	struct str lines;

	str_init(&lines);
	str_printf(out, "set yrange [%g:-0.5] noextend\nset ytics (", p->n_rows - 0.5);
	for (int i = 0, end; i < p->n_rows; i = end) {
		for (end = i + 1; end < p->n_rows && !p->row_title[end]; end++)
			;
		str_add(out, between);
		quoted(out, p->row_title[i] ? p->row_title[i] : "");
		str_printf(out, " %g", (i + end - 1) / 2.0);
		between = ", ";
		if (end < p->n_rows)
			str_printf(&lines,
				"set arrow from graph 0, first %g to graph 1, first %g nohead front"
				" linecolor rgb 'white' linewidth 3\n",
				end - 0.5, end - 0.5);
	}
	str_printf(out, ")\nunset arrow\n%s", lines.text);
	str_release(&lines);
}

/* Column i reaches half-way to its neighbours. */
static void plot_heat(
	const struct chart *c, const struct panel *p, const char *stem, struct str *out)
{
	char *file = xasprintf("%s.csv", stem);
	long first = 0;
	double half = p->n_x > 1 ? (p->x[p->n_x - 1] - p->x[0]) / (p->n_x - 1) / 2 : 0.5;

	for (const struct panel *q = c->panels; q < p; q++)
		first += (long)q->n_x * q->n_rows;
	heat_rows(p, out);
	str_printf(out, "set xrange [%.9g:%.9g] noextend\nplot ", p->x[0] - half,
		p->x[p->n_x - 1] + half);
	quoted(out, file);
	str_printf(out,
		" every ::%ld::%ld using 2:3:(%.9g):(0.5):4 with boxxyerror"
		" fillstyle solid 1 noborder linecolor palette notitle\n",
		first, first + (long)p->n_x * p->n_rows - 1, half);
	free(file);
}

static void range(const struct panel *p, struct str *out)
{
	char low[32] = "*", high[32] = "*";

	if (isfinite(p->y_low))
		snprintf(low, sizeof low, "%.6g", p->y_low);
	if (isfinite(p->y_high))
		snprintf(high, sizeof high, "%.6g", p->y_high);
	str_printf(
		out, "set yrange [%s:%s]\n%s logscale y\n", low, high, p->y_log ? "set" : "unset");
}

static void level_label(const struct panel *p, struct str *out)
{
	if (!isfinite(p->y_level) || !p->level_title)
		return;
	str_add(out, "set label 3 ");
	quoted(out, p->level_title);
	str_printf(out,
		" at graph 0.01, first %.9g offset 0,0.5 left font 'sans,10'"
		" textcolor rgb '#555555'\n",
		p->y_level);
}

static void panel(const struct chart *c, const struct chart_format *f, const struct panel *p,
	const char *stem, struct str *out)
{
	bool last = p == &c->panels[c->n_panels - 1];

	str_add(out, "set ylabel ");
	quoted(out, p->y_title);
	str_add(out, "\n");
	if (p->title && !on_terminal(f)) {
		str_add(out, "set title ");
		quoted(out, p->title);
		str_add(out, " font 'sans,12' offset 0,-0.6\n");
	}
	if (c->n_panels > 1 && !on_terminal(f)) {
		str_add(out, "set xlabel ");
		quoted(out, last ? c->x_title : "");
		str_printf(out, "\nset format x '%s'\n", last ? chart_x_format(c) : "");
	}
	if (p->n_rows) {
		plot_heat(c, p, stem, out);
	} else {
		range(p, out);
		if (!on_terminal(f))
			level_label(p, out);
		plot_series(c, f, p, stem, out);
	}
	str_add(out, "unset label\nunset colorbox\n");
}

static void heat_look(const struct chart *c, struct str *out)
{
	str_add(out,
		"set style fill solid 1 noborder\nunset grid\nset cbrange [0:2]\n"
		"set palette defined (0 '#2166ac', 0.5 '#92c5de', 1 '#f7f7f7', 1.5 '#f4a582',"
		" 2 '#b2182b')\n"
		"set cbtics ('0' 0, '1' 1, '2 and more' 2)\nset cblabel ");
	quoted(out, c->value_title);
	str_add(out, "\n");
}

void chart_script(
	const struct chart *c, const struct chart_format *f, const char *stem, struct str *out)
{
	double line = 1 / page_height(c);
	int shown = on_terminal(f) ? 1 : c->n_panels; /* a terminal has room for the first panel */

	str_printf(out, "# Draws %s%s from %s.csv: gnuplot %s.gp\n", stem, f->suffix, stem, stem);
	terminal(c, f, stem, out);
	look(c, f, out);
	headings(c, f, out);
	if (is_heat(c))
		heat_look(c, out);
	if (!on_terminal(f) && c->n_panels == 1)
		str_printf(out, "set tmargin at screen %.4f\n", 1 - (is_heat(c) ? 92 : 72) * line);
	if (shown > 1)
		str_printf(out,
			"set multiplot layout %d,1 margins screen 0.1, 0.76, %.4f, %.4f"
			" spacing screen 0, %.4f\n",
			c->n_panels, 76 * line, 1 - (is_heat(c) ? 92 : 72) * line,
			(is_heat(c) ? 44 : 24) * line);
	for (int i = 0; i < shown; i++)
		panel(c, f, &c->panels[i], stem, out);
	if (shown > 1)
		str_add(out, "unset multiplot\n");
}
