#include "show/chart_sheet.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

/* Of figures without a size of their own, in points. PNG: four thirds of a pixel a point, twice. */
static const struct usual {
	const char *format;
	double width, em;
} usual[] = {{"svg", 720, 10.5}, {"png", 720, 10.5}, {"pdf", 18 / 2.54 * 72, 7.5}};

static const double png_dots_per_pt = 8 / 3.0, png_sized_dots_per_pt = 300 / 72.0;

void gnuplot_quoted(struct str *out, const char *text)
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

void gnuplot_file(struct str *out, const char *stem, const char *suffix)
{
	char *file = xasprintf("./%s%s", stem, suffix);

	gnuplot_quoted(out, file);
	free(file);
}

bool format_is_terminal(const struct chart_format *f)
{
	return !*f->suffix;
}

/* Rows of panels beyond the first make the page longer. */
static double usual_height(const struct chart *c, int n_rows)
{
	if (chart_is_heat(c))
		return (110 + 190 * n_rows) / 14.0;
	return (560 + 260 * (n_rows - 1)) / 14.0;
}

/* Of many heat maps a column would be longer than a screen, or on a page of a size that is asked for too flat. */
static int usual_columns(const struct chart *c)
{
	if (!chart_is_heat(c) || c->look.height_pt > 0 || c->n_panels <= 6)
		return 1;
	return c->n_panels <= 12 ? 2 : 3;
}

static void set_columns(struct sheet *s, const struct chart *c, int n)
{
	s->n_columns = n;
	s->n_rows = (c->n_panels + n - 1) / n;
}

static const double flat = 5, narrow = 8;	/* panels of heat maps, in em */

/* On a page too low for its panels they stand beside each other, as many as are still wide enough, and closer. */
static void fit_grid(struct sheet *s, const struct chart *c)
{
	if (!chart_is_heat(c))
		return;
	while (s->n_columns < c->n_panels && sheet_room(s) < flat) {
		set_columns(s, c, s->n_columns + 1);
		if (sheet_across(s) >= narrow)
			continue;
		set_columns(s, c, s->n_columns - 1);
		break;
	}
	if (sheet_room(s) < flat)
		s->gap_y = 26 / 14.0;
}

/* A line of the legend: its sample, and the longest of the labels at a usual width of letters. */
static double legend_width(const struct chart *c)
{
	size_t longest = 0;

	for (int i = 0; i < c->n_panels; i++)
		for (int k = 0; k < c->panels[i].n_series; k++) {
			size_t length = strlen(c->panels[i].series[k].label);
			longest = length > longest ? length : longest;
		}
	return 5 + 0.58 * (double)longest;
}

static int most_series(const struct chart *c)
{
	int n = 0;

	for (int i = 0; i < c->n_panels; i++)
		n = c->panels[i].n_series > n ? c->panels[i].n_series : n;
	return n;
}

/* Right of the axes, unless that leaves too little for them: then in columns below. Beside a panel that is lower than
   its legend, gnuplot makes columns of it. */
static void place_legend(struct sheet *s, const struct chart *c)
{
	const double line = 1.25 * 1.18;	/* em: the spacing set, of a line of type */
	double width = legend_width(c), between = s->gap_y * (s->n_rows - 1) / s->n_rows;
	int n = most_series(c), columns = (int)ceil(n * line / (sheet_room(s) - between));

	s->right = fmax(16.5, width * (columns > 1 ? columns : 1));
	if (chart_is_heat(c) && (s->width < 60 || s->n_columns > 1))
		s->right = 11;
	if (chart_is_heat(c) || s->width - s->left - s->right >= 28)
		return;
	s->legend_below = true;
	width *= 1.05;		/* where gnuplot takes letters for wider it makes fewer columns, and those grow into the axes */
	s->legend_columns = s->width > 2 * width ? (int)(s->width / width) : 1;
	s->right = 1.5;
	s->bottom = 4.6 + 1.4 * ((n + s->legend_columns - 1) / s->legend_columns);
}

static struct sheet sheet_in(const struct chart *c, const struct chart_format *f, const struct usual *u, double em_pt)
{
	struct sheet s = {.format = f->name, .font = *c->look.font ? c->look.font : "sans", .em_pt = em_pt};
	double usual_width;
	int n_headings = (*c->title != '\0') + (*c->title && *c->subtitle);

	set_columns(&s, c, usual_columns(c));
	usual_width = s.n_columns > 2 ? 4 / 3.0 * u->width : u->width;
	s.width_pt = c->look.width_pt > 0 ? c->look.width_pt : usual_width;
	s.width = s.width_pt / s.em_pt;
	s.height_pt = c->look.height_pt > 0 ? c->look.height_pt
					    : usual_height(c, s.n_rows) * u->em * s.width_pt / usual_width;
	s.height = s.height_pt / s.em_pt;
	s.gap_x = 6.9;
	s.gap_y = (chart_is_heat(c) ? 44 : 24) / 14.0;
	s.left = 6.9;
	s.bottom = 76 / 14.0;
	s.top = n_headings ? (n_headings + 1) * 24 / 14.0 : 1;
	s.top += chart_is_heat(c) ? 20 / 14.0 : 0;
	place_legend(&s, c);
	fit_grid(&s, c);
	return s;
}

/* On a page of a size that is asked for, too small for heat maps in the usual font, type is smaller, to a limit. */
struct sheet sheet_of(const struct chart *c, const struct chart_format *f)
{
	const double least = 5, step = 0.5;	/* pt */
	bool yields = chart_is_heat(c) && c->look.height_pt > 0 && !(c->look.font_pt > 0);
	const struct usual *u = usual;
	struct sheet s;

	while (u < usual + ARRAY_SIZE(usual) - 1 && strcmp(u->format, f->name))
		u++;
	s = sheet_in(c, f, u, c->look.font_pt > 0 ? c->look.font_pt : u->em);
	while (yields && (sheet_room(&s) < flat || sheet_across(&s) < narrow) && s.em_pt >= least + step)
		s = sheet_in(c, f, u, s.em_pt - step);
	return s;
}

void sheet_font(const struct sheet *s, double em, struct str *out)
{
	double unit = strcmp(s->format, "svg") ? 1 : 4 / 3.0; /* SVG: pixels of 1/96 inch */

	str_printf(out, "font '%s,%.4g'", s->font, em * s->em_pt * unit);
}

double sheet_room(const struct sheet *s)
{
	return (s->height - s->top - s->bottom) / s->n_rows;
}

double sheet_across(const struct sheet *s)
{
	return (s->width - s->left - s->right - s->gap_x * (s->n_columns - 1)) / s->n_columns;
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

static void begin_svg(const struct sheet *s, const struct chart *c, struct str *out)
{
	str_printf(out, "set terminal svg size %.0f,%.0f %s ", s->width_pt * 4 / 3,
		s->height_pt * 4 / 3, c->look.width_pt > 0 ? "fixed" : "dynamic");
	sheet_font(s, 1, out);
	str_printf(out, " linewidth %.3g background rgb 'white' name ", s->em_pt / 10.5);
	gnuplot_quoted(out, c->name);
	str_add(out, "\n");
}

/* A point of a font is 96/72 pixels to pngcairo, as a line's width of 1 is one. */
static void begin_png(const struct sheet *s, const struct chart *c, struct str *out)
{
	double dots = c->look.width_pt > 0 ? png_sized_dots_per_pt : png_dots_per_pt;
	double scale = dots * 0.75, lines = scale * s->em_pt / 10.5;

	str_printf(out, "set terminal pngcairo size %.0f,%.0f ", s->width_pt * dots,
		s->height_pt * dots);
	sheet_font(s, 1, out);
	str_printf(out, " fontscale %.4g linewidth %.3g pointscale %.3g background rgb 'white'\n",
		scale, lines, lines);
}

/* A font's point is 96/72 points to pdfcairo, a line's width of 1 is half a point. */
static void begin_pdf(const struct sheet *s, struct str *out)
{
	str_printf(out, "set terminal pdfcairo size %.3fcm,%.3fcm ", s->width_pt / 72 * 2.54,
		s->height_pt / 72 * 2.54);
	sheet_font(s, 1, out);
	str_printf(out, " fontscale 0.75 linewidth %.3g pointscale %.3g\n", 1.5 * s->em_pt / 10.5,
		s->em_pt / 10.5);
}

void sheet_begin(const struct sheet *s, const struct chart *c, const struct chart_format *f,
	const char *stem, struct str *out)
{
	int columns, lines;

	if (!strcmp(f->name, "svg")) {
		begin_svg(s, c, out);
	} else if (!strcmp(f->name, "png")) {
		begin_png(s, c, out);
	} else if (!strcmp(f->name, "pdf")) {
		begin_pdf(s, out);
	} else {
		terminal_size(&columns, &lines);
		str_printf(out, "set terminal dumb size %d,%d\n", columns, lines);
	}
	str_add(out, "set termoption noenhanced\nset encoding utf8\n");
	str_add(out, "set output ");
	gnuplot_file(out, stem, f->suffix);
	str_add(out, "\n");
	str_add(out,
		"set datafile separator comma\nset datafile columnheaders\n"
		"set datafile missing 'NaN'\n");
}
