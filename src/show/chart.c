#include "show/chart.h"

#include "base/path.h"
#include "show/gnuplot.h"
#include "show/grid.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double draw_limit_s = 60;

void chart_init(struct chart *c, const char *name)
{
	*c = (struct chart){.title = "",
		.headline = "",
		.marks = "",
		.subtitle = "",
		.x_title = "",
		.value_title = "",
		.x_low = NAN,
		.x_high = NAN,
		.look = LOOK_USUAL};
	c->name = arena_strdup(&c->arena, name);
}

void chart_release(struct chart *c)
{
	for (int i = 0; i < c->n_panels; i++)
		free(c->panels[i].series);
	free(c->panels);
	arena_release(&c->arena);
	*c = (struct chart){.name = ""};
}

struct panel *chart_panel(struct chart *c, const char *y_title)
{
	GROW(c->panels, c->n_panels + 1, c->cap_panels);
	c->panels[c->n_panels] = (struct panel){.y_title = arena_strdup(&c->arena, y_title),
		.y_low = NAN,
		.y_high = NAN,
		.y_level = NAN};
	return &c->panels[c->n_panels++];
}

struct series *chart_series(struct chart *c, struct panel *p, const char *label, int style, int n)
{
	struct series s = {.label = arena_strdup(&c->arena, label), .style = style, .n = n};
	double **const arrays[] = {&s.x, &s.y, &s.low, &s.high};

	for (int a = 0; a < (int)ARRAY_SIZE(arrays); a++) {
		*arrays[a] = ARENA_ARRAY(&c->arena, double, n);
		for (int i = 0; i < n; i++)
			(*arrays[a])[i] = NAN;
	}
	GROW(p->series, p->n_series + 1, p->cap_series);
	p->series[p->n_series] = s;
	return &p->series[p->n_series++];
}

bool chart_draws(int i, int n)
{
	enum { MOST_POINTS = 600 };
	int stride = (n + MOST_POINTS - 1) / MOST_POINTS;

	return i % stride == 0 || i == n - 1;
}

bool chart_is_heat(const struct chart *c)
{
	return c->n_panels && c->panels[0].n_rows;
}

static void csv_field(struct str *out, const char *text)
{
	str_add(out, "\"");
	for (; *text; text++) {
		if (*text == '"')
			str_add(out, "\"");
		str_add_bytes(out, *text == '\n' || *text == '\r' ? " " : text, 1);
	}
	str_add(out, "\"");
}

static void csv_value(struct str *out, double value, const char *end)
{
	if (isfinite(value))
		str_printf(out, "%.9g%s", value, end);
	else
		str_printf(out, "NaN%s", end);
}

static void csv_series(struct str *out, const struct panel *p, const struct series *s)
{
	for (int i = 0; i < s->n; i++) {
		csv_field(out, p->title ? p->title : p->y_title);
		str_add(out, ",");
		csv_field(out, s->label);
		str_add(out, ",");
		csv_value(out, s->x[i], ",");
		csv_value(out, s->y[i], ",");
		csv_value(out, s->low[i], ",");
		csv_value(out, s->high[i], "\n");
	}
}

static void csv_heat(struct str *out, const struct panel *p)
{
	for (int i = 0; i < p->n_x * p->n_rows; i++) {
		csv_field(out, p->title ? p->title : p->y_title);
		str_add(out, ",");
		csv_value(out, p->x[i % p->n_x], ",");
		str_printf(out, "%d,", i / p->n_x);
		csv_value(out, p->value[i], "\n");
	}
}

void chart_csv(const struct chart *c, struct str *out)
{
	bool heat = chart_is_heat(c);

	str_add(out, heat ? "panel,x,row,value\n" : "panel,series,x,y,low,high\n");
	for (int i = 0; i < c->n_panels; i++) {
		if (heat)
			csv_heat(out, &c->panels[i]);
		for (int j = 0; j < c->panels[i].n_series; j++)
			csv_series(out, &c->panels[i], &c->panels[i].series[j]);
	}
}

static int write_beside(const char *folder, const char *stem, const char *suffix,
	const struct str *text)
{
	char *name = xasprintf("%s%s", stem, suffix), *path = path_join(folder, name);
	int result = path_write(path, text->text, text->length);

	free(path);
	free(name);
	return result;
}

/* Data and script, by which the figure can be drawn anew, and the caption if it stands beside. */
static int write_script(const struct chart *c, const struct chart_format *f, const char *folder,
	const char *stem)
{
	struct str csv, gp;
	int result;

	str_init(&csv);
	str_init(&gp);
	chart_csv(c, &csv);
	chart_script(c, f, stem, &gp);
	result = write_beside(folder, stem, ".csv", &csv) || write_beside(folder, stem, ".gp", &gp);
	str_release(&csv);
	str_release(&gp);
	return result ? -1 : 0;
}

static int write_caption(const struct chart *c, const char *folder, const char *stem)
{
	struct str text = {.text = (char *)c->caption};

	if (!c->caption)
		return 0;
	text.length = strlen(c->caption);
	return write_beside(folder, stem, ".txt", &text);
}

/* What gnuplot has drawn in its folder, under the name it was asked for. */
static int take_figure(const char *drawn, const char *figure)
{
	size_t n = 0;
	char *bytes = path_read(drawn, &n);
	int result = !bytes || !n ? error("%s: gnuplot has drawn nothing", figure) :
		path_write(figure, bytes, n);

	free(bytes);
	return result;
}

static int print_figure(const char *drawn)
{
	size_t n = 0;
	char *text = path_read(drawn, &n);

	fwrite(text ? text : "", 1, n, stdout);
	free(text);
	return text ? 0 : -1;
}

/* Draws in a folder of its own, by the plot's name. figure: NULL for the terminal. */
static int draw(const struct chart *c, const struct chart_format *f, const char *figure)
{
	char folder[PATH_MAX], *script, *drawn;
	int result;

	if (path_tmp_folder(folder, sizeof folder, "plot"))
		return EXIT_ENVIRONMENT;
	script = xasprintf("%s.gp", c->name);
	drawn = xasprintf("%s/%s%s", folder, c->name, f->suffix);
	result = write_script(c, f, folder, c->name) || gnuplot_run(folder, script, draw_limit_s) ||
		(figure ? take_figure(drawn, figure) : print_figure(drawn)) ? EXIT_ENVIRONMENT : 0;
	path_remove_tree(folder);
	free(drawn);
	free(script);
	return result;
}

static int draw_on_terminal(const struct chart *c, const struct chart_format *f)
{
	if (chart_is_heat(c))
		return error("plot %s: a heat map needs the format svg, png or pdf", c->name), EXIT_USAGE;
	return draw(c, f, NULL);
}

char *chart_file(const struct chart_format *f, const char *path)
{
	return xasprintf("%s%s", path, str_ends_nocase(path, f->suffix) ? "" : f->suffix);
}

static int check_name(const char *path)
{
	for (const char *p = path; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return error("a control character in the name of a figure");
	return 0;
}

int chart_write(const struct chart *c, const struct chart_format *f, const char *path)
{
	if (!*f->suffix)
		return draw_on_terminal(c, f);
	if (check_name(path))
		return EXIT_USAGE;
	char *figure = chart_file(f, path), *folder = path_folder(path);
	char *stem = xstrdup(path_name(figure));
	stem[strlen(stem) - strlen(f->suffix)] = '\0';
	if (strcmp(f->name, "svg"))
		look_check_font(&c->look);
	int result = path_mkdirs(folder) || write_script(c, f, folder, stem) ||
		write_caption(c, folder, stem) ? EXIT_ENVIRONMENT : draw(c, f, figure);
	free(stem);
	free(folder);
	free(figure);
	return result;
}

/* --- dressing -------------------------------------------------------------------------------- */

static bool within(double value, double low, double high)
{
	return !(value < low) && !(value > high);
}

static bool shows_points(const struct chart *c)
{
	for (const struct panel *p = c->panels; p < c->panels + c->n_panels; p++)
		for (int i = 0; i < p->n_series; i++)
			for (int k = 0; k < p->series[i].n; k++)
				if (isfinite(p->series[i].y[k]) &&
					within(p->series[i].x[k], c->x_low, c->x_high) &&
					within(p->series[i].y[k], p->y_low, p->y_high))
					return true;
	return false;
}

static bool has_logarithms(const struct panel *p)
{
	for (int i = 0; i < p->n_series; i++)
		for (int k = 0; k < p->series[i].n; k++)
			if (p->series[i].y[k] <= 0 || p->series[i].low[k] <= 0)
				return false;
	return !(p->y_low <= 0);
}

static int dress_axes(struct chart *c, const struct look *l)
{
	struct panel *p = c->panels;

	c->x_low = l->x_low;
	c->x_high = l->x_high;
	p->y_low = isfinite(l->y_low) ? l->y_low : p->y_low;
	p->y_high = isfinite(l->y_high) ? l->y_high : p->y_high;
	if (l->log >= 0) {
		c->x_log = l->log & LOOK_LOG_X;
		p->y_log = l->log & LOOK_LOG_Y;
	}
	if (c->x_log && c->x_low <= 0)
		return error("plot %s: --xrange begins at %g, but its axis is logarithmic (--log)",
			c->name, c->x_low);
	if (p->y_log && !has_logarithms(p))
		return error("plot %s: --log y: the axis reaches to 0 or below", c->name);
	if (!shows_points(c))
		return error("plot %s: no point lies in --xrange and --yrange", c->name);
	return 0;
}

int chart_dress(struct chart *c, const struct look *l)
{
	bool axes = isfinite(l->x_low) || isfinite(l->x_high) || isfinite(l->y_low) ||
		isfinite(l->y_high) || l->log >= 0;

	c->look = *l;
	if (l->title && c->forced)
		c->title = arena_printf(&c->arena, "FORCED%s%s", *l->title ? " " : "", l->title);
	else if (l->title)
		c->title = arena_strdup(&c->arena, l->title);
	if (l->title && !*l->title)
		c->subtitle = "";
	if (l->x_title)
		c->x_title = arena_strdup(&c->arena, l->x_title);
	if (l->y_title)
		c->panels[0].y_title = arena_strdup(&c->arena, l->y_title);
	if (axes && chart_is_heat(c))
		return error("plot %s: a heat map takes no --xrange, --yrange, --log", c->name);
	return axes ? dress_axes(c, l) : 0;
}
