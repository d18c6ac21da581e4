/*
 * The gnuplot script of a chart. Texts stand in single quotes, where gnuplot expands nothing, and
 * the terminal is noenhanced, so names with underscores, backquotes or @ come out as they are.
 */
#include "show/chart_sheet.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/*
 * Okabe and Ito 2008, without yellow; black for the baseline. Dash and point differ, too; beyond seven
 * lines the colours come again, twice, with another dash.
 */
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

	{"#0072b2", "(5,1.5)", 4},
	{"#d55e00", "solid", 8},
	{"#009e73", "solid", 10},
	{"#cc79a7", "(2,1.2)", 12},
	{"#e69f00", "(7,1.5,1.5,1.5)", 5},
	{"#56b4e9", "solid", 7},
	{"#7f7f7f", "(2,1.2)", 9},

	{"#0072b2", "(2,1.2)", 6},
	{"#d55e00", "(7,1.5,1.5,1.5)", 11},
	{"#009e73", "(5,1.5)", 13},
	{"#cc79a7", "(7,1.5,1.5,1.5)", 4},
	{"#e69f00", "solid", 8},
	{"#56b4e9", "(5,1.5)", 10},
	{"#7f7f7f", "solid", 12},
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
	if (!path)
		return chart_format_find("svg");
	for (const struct chart_format *f = chart_formats; f->name; f++)
		if (*f->suffix && str_ends_nocase(path, f->suffix))
			return f;
	error("%s: a figure's name ends in .svg, .png or .pdf", path);
	return NULL;
}

/* A text's size in em: smaller, to a limit, if it is longer than the room. */
static double fitted(double em, const char *text, double room)
{
	double fits = room / (0.55 * (double)strlen(text) + 1e-9);

	return fmin(em, fmax(fits, 0.7 * em));
}

/* Title and subtitle stand left, above the axes. */
static void headings(const struct chart *c, const struct chart_format *f, const struct sheet *s,
	struct str *out)
{
	const double line = 24 / 14.0;

	if (format_is_terminal(f)) {
		str_add(out, "set title ");
		gnuplot_quoted(out, c->title);
		str_add(out, "\n");
		return;
	}
	if (!*c->title)
		return;
	str_add(out, "set label 1 ");
	gnuplot_quoted(out, c->title);
	str_printf(out, " at screen 0.02, screen %.4f left ", 1 - line / s->height);
	sheet_font(s, fitted(16 / 14.0, c->title, 0.96 * s->width), out);
	str_add(out, "\nset label 2 ");
	gnuplot_quoted(out, c->subtitle);
	str_printf(out, " at screen 0.02, screen %.4f left ", 1 - 2 * line / s->height);
	sheet_font(s, fitted(11 / 14.0, c->subtitle, 0.96 * s->width), out);
	str_add(out, " textcolor rgb '#555555'\n");
}

static void legend(const struct chart_format *f, const struct sheet *s, struct str *out)
{
	if (format_is_terminal(f))
		str_add(out, "set key outside below\n");
	else if (s->legend_below)
		str_printf(out,
			"set key at screen 0.5, screen %.4f bottom center horizontal maxcols %d"
			" Left reverse samplen 3 spacing 1.25\n",
			0.4 / s->height, s->legend_columns);
	else
		str_add(out, "set key outside right center Left reverse samplen 3 spacing 1.25\n");
}

static void look(const struct chart_format *f, const struct sheet *s, struct str *out)
{
	str_add(out,
		"set border 3 linewidth 1 linecolor rgb '#333333'\n"
		"set tics nomirror out scale 0.6\n"
		"set grid linetype 1 linewidth 0.5 linecolor rgb '#dddddd'\n");
	str_add(out, "set style fill transparent solid 0.18 noborder\n");
	if (format_is_terminal(f))
		str_add(out, "unset grid\n");
	legend(f, s, out);
}

static double last_y(const struct chart *c, const struct series *s)
{
	for (int i = s->n - 1; i >= 0; i--)
		if (isfinite(s->y[i]) && !(s->x[i] > c->x_high))
			return s->y[i];
	return -INFINITY;
}

/* Without an order of its own the legend has that of the lines at their right end. */
static void order_series(const struct chart *c, const struct panel *p, int *order)
{
	for (int i = 0; i < p->n_series; i++) {
		int at = i;
		for (; at > 0 && !c->ordered &&
			last_y(c, &p->series[order[at - 1]]) < last_y(c, &p->series[i]);
			at--)
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
	long first = first_point(c, p, s);

	gnuplot_file(out, stem, ".csv");
	str_printf(out, " every ::%ld::%ld using ", first, first + s->n - 1);
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
		str_printf(out, "3:5:6 with filledcurves fillcolor rgb '%s' notitle",
			look_of->colour);
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
	gnuplot_quoted(out, s->label);
}

static void plot_series(const struct chart *c, const struct chart_format *f, const struct panel *p,
	const char *stem, struct str *out)
{
	int *order = xcalloc((size_t)p->n_series + 1, sizeof *order);
	const char *between = "plot ";

	order_series(c, p, order);
	for (int i = 0; i < p->n_series && !format_is_terminal(f); i++) {
		const struct series *s = &p->series[order[i]];
		if (!has_range(s))
			continue;
		str_add(out, between);
		plot_range(c, p, s, stem, out);
		between = ", \\\n\t";
	}
	if (isfinite(p->y_level) && !format_is_terminal(f)) {
		str_printf(out,
			"%s%.9g with lines linecolor rgb '#888888' linewidth 1 dashtype 3 notitle",
			between, p->y_level);
		between = ", \\\n\t";
	}
	for (int i = 0; i < p->n_series; i++) {
		if (!p->series[order[i]].n)
			continue;
		str_add(out, between);
		plot_line(c, p, &p->series[order[i]], stem, out);
		between = ", \\\n\t";
	}
	str_add(out, "\n");
	free(order);
}

static int n_groups(const struct panel *p)
{
	int n = 0;

	for (int i = 0; i < p->n_rows; i++)
		n += p->row_title[i] != NULL;
	return n;
}

/* A white line between groups of rows, thin where these are low; labels in their middle, of so many that they stand
   clear of each other. room: of the panel, in em. */
static void heat_rows(const struct panel *p, double room, struct str *out)
{
	const char *between = "";
	struct str lines;
	int group = 0, every = (int)fmax(1, ceil(n_groups(p) * 1.1 / fmax(room, 1.1)));
	double width = fmin(3, fmax(0.2, 2 * room / n_groups(p)));

	str_init(&lines);
	str_printf(out, "set yrange [%g:-0.5] noextend\nset ytics (", p->n_rows - 0.5);
	for (int i = 0, end; i < p->n_rows; i = end) {
		for (end = i + 1; end < p->n_rows && !p->row_title[end]; end++)
			;
		str_add(out, between);
		gnuplot_quoted(out, p->row_title[i] && group++ % every == 0 ? p->row_title[i] : "");
		str_printf(out, " %g", (i + end - 1) / 2.0);
		between = ", ";
		if (end < p->n_rows)
			str_printf(&lines,
				"set arrow from graph 0, first %g to graph 1, first %g nohead front"
				" linecolor rgb 'white' linewidth %.2g\n",
				end - 0.5, end - 0.5, width);
	}
	str_printf(out, ")\nunset arrow\n%s", lines.text);
	str_release(&lines);
}

/* Column i reaches half-way to its neighbours. */
static void plot_heat(const struct chart *c, const struct panel *p, double room, const char *stem,
	struct str *out)
{
	long first = 0;
	double half = p->n_x > 1 ? (p->x[p->n_x - 1] - p->x[0]) / (p->n_x - 1) / 2 : 0.5;

	for (const struct panel *q = c->panels; q < p; q++)
		first += (long)q->n_x * q->n_rows;
	heat_rows(p, room, out);
	str_printf(out, "set xrange [%.9g:%.9g] noextend\nplot ", p->x[0] - half,
		p->x[p->n_x - 1] + half);
	gnuplot_file(out, stem, ".csv");
	str_printf(out,
		" every ::%ld::%ld using 2:3:(%.9g):(0.5):4 with boxxyerror"
		" fillstyle solid 1 noborder linecolor palette notitle\n",
		first, first + (long)p->n_x * p->n_rows - 1, half);
}

/* Of each panel, in em, without the gap below it. */
static double axis_height(const struct sheet *s)
{
	return sheet_room(s) - s->gap_y * (s->n_rows - 1) / s->n_rows;
}

static void level_label(const struct panel *p, const struct sheet *s, struct str *out)
{
	if (!isfinite(p->y_level) || !p->level_title || p->y_level < p->y_low ||
		p->y_level > p->y_high)
		return;
	str_add(out, "set label 3 ");
	gnuplot_quoted(out, p->level_title);
	str_printf(out, " at graph 0.01, first %.9g offset 0,0.5 left textcolor rgb '#555555' ",
		p->y_level);
	sheet_font(s, 10 / 14.0, out);
	str_add(out, "\n");
}

static void y_title(const struct chart_format *f, const struct sheet *s, const struct panel *p,
	struct str *out)
{
	double size = fitted(1, p->y_title, 1.1 * sheet_room(s));

	str_add(out, "set ylabel ");
	gnuplot_quoted(out, p->y_title);
	if (!format_is_terminal(f) && size < 1) {
		str_add(out, " ");
		sheet_font(s, size, out);
	}
	str_add(out, "\n");
}

/* Which panel's series the legend below all of them names. */
static const struct panel *fullest_panel(const struct chart *c)
{
	const struct panel *fullest = c->panels;

	for (const struct panel *p = c->panels; p < c->panels + c->n_panels; p++)
		if (p->n_series > fullest->n_series)
			fullest = p;
	return fullest;
}

static void panel(const struct chart *c, const struct chart_format *f, const struct sheet *s,
	const struct panel *p, const char *stem, struct str *out)
{
	bool last = format_is_terminal(f) || p + s->n_columns >= c->panels + c->n_panels;

	y_title(f, s, p, out);
	if (p->title && !format_is_terminal(f)) {
		str_add(out, "set title ");
		gnuplot_quoted(out, p->title);
		str_add(out, " offset 0,-0.6 ");
		sheet_font(s, fitted(12 / 14.0, p->title, sheet_across(s) + s->gap_x - 1), out);
		str_add(out, "\n");
	}
	str_add(out, "set xlabel ");
	gnuplot_quoted(out, last ? c->x_title : "");
	str_add(out, "\n");
	chart_x_axis(c, s, last, out);
	if (p->n_rows) {
		plot_heat(c, p, format_is_terminal(f) ? INFINITY : axis_height(s), stem, out);
	} else {
		chart_y_axis(c, p, s, out);
		if (!format_is_terminal(f))
			level_label(p, s, out);
		if (s->legend_below && p != fullest_panel(c))
			str_add(out, "unset key\n");
		else
			legend(f, s, out);
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
	gnuplot_quoted(out, c->value_title);
	str_add(out, "\n");
}

/* Right of all, where it would else stand beside the first panel, on its neighbour. */
static void colour_box(const struct sheet *s, struct str *out)
{
	double height = axis_height(s);

	str_printf(out, "set colorbox user origin screen %.4f, screen %.4f size screen %.4f, screen %.4f\n",
		1 - (s->right - 0.7) / s->width, 1 - (s->top + height) / s->height, 1.4 / s->width, height / s->height);
}

/* Panels share left and right margins; below each other, one x axis for all but heat maps. */
static void margins(const struct chart *c, const struct sheet *s, struct str *out)
{
	double top = 1 - s->top / s->height, bottom = s->bottom / s->height;

	if (c->n_panels > 1)
		str_printf(out,
			"set multiplot layout %d,%d margins screen %.4f, %.4f, %.4f, %.4f"
			" spacing screen %.4g, %.4f\n",
			s->n_rows, s->n_columns, s->left / s->width, 1 - s->right / s->width, bottom, top,
			s->n_columns > 1 ? s->gap_x / s->width : 0, s->gap_y / s->height);
	else
		str_printf(out, "set tmargin at screen %.4f\n", top);
	if (c->n_panels == 1 && s->legend_below)
		str_printf(out, "set bmargin at screen %.4f\nset rmargin at screen %.4f\n", bottom,
			1 - s->right / s->width);
}

void chart_script(const struct chart *c, const struct chart_format *f, const char *stem,
	struct str *out)
{
	struct sheet s = sheet_of(c, f);
	int shown = format_is_terminal(f) ? 1 : c->n_panels; /* a terminal has room for the first */

	str_printf(out, "# Draws %s%s from %s.csv: gnuplot %s.gp\n", stem, f->suffix, stem, stem);
	sheet_begin(&s, c, f, stem, out);
	look(f, &s, out);
	headings(c, f, &s, out);
	if (chart_is_heat(c))
		heat_look(c, out);
	if (!format_is_terminal(f))
		margins(c, &s, out);
	if (s.n_columns > 1)
		colour_box(&s, out);
	for (int i = 0; i < shown; i++)
		panel(c, f, &s, &c->panels[i], stem, out);
	if (shown > 1)
		str_add(out, "unset multiplot\n");
}
