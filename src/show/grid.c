#include "show/grid.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void grid_init(struct grid *g, const char *name)
{
	*g = (struct grid){.title = "", .subtitle = "", .caption = ""};
	g->name = arena_strdup(&g->arena, name);
}

void grid_release(struct grid *g)
{
	free(g->columns);
	free(g->rows);
	free(g->ruled);
	notes_release(&g->notes);
	arena_release(&g->arena);
	*g = (struct grid){.name = ""};
}

enum { MOST_DIGITS = 15 };

/* With an exponent, if it has more digits: of a loss that ran away they would fill the page. */
static const char *shortened(struct grid *g, const char *text)
{
	struct str out;
	char *end;

	str_init(&out);
	for (const char *at = text; *at; at = end) {
		size_t n = strspn(at, "0123456789");
		end = (char *)at + (n ? n : 1);
		if (n > MOST_DIGITS)
			str_printf(&out, "%.3e", strtod(at, &end));
		else
			str_add_bytes(&out, at, (size_t)(end - at));
	}
	return str_keep(&out, &g->arena);
}

void grid_title(struct grid *g, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	g->title = arena_vprintf(&g->arena, format, args);
	va_end(args);
}

void grid_columns(struct grid *g, const struct column *columns, int n)
{
	CHECK(g->n_rows == 0);
	GROW(g->columns, g->n_columns + n, g->cap_columns);
	memcpy(g->columns + g->n_columns, columns, (size_t)n * sizeof *columns);
	g->n_columns += n;
}

void grid_column(struct grid *g, const char *name, const char *title, enum column_kind kind)
{
	const struct column column = {.kind = kind,
		.name = name ? arena_strdup(&g->arena, name) : NULL,
		.title = title ? arena_strdup(&g->arena, title) : NULL};

	grid_columns(g, &column, 1);
}

static bool is_called(const struct column *c, const char *name)
{
	return (c->name && !strcmp(c->name, name)) || (c->title && !strcmp(c->title, name));
}

/* The first n are chosen already. */
static int no_column(const struct grid *g, const char *name, int n)
{
	struct str all;

	for (int i = 0; i < n; i++)
		if (is_called(&g->columns[i], name))
			return error("table %s: column \"%s\" is named twice", g->name, name);
	str_init(&all);
	for (int i = 0; i < g->n_columns; i++) {
		const struct column *c = &g->columns[i];
		if (!i || !is_called(c - 1, c->name ? c->name : c->title))
			str_add_item(&all, "%s", c->name ? c->name : c->title);
	}
	error("table %s has no column \"%s\": there are %s", g->name, name, all.text);
	str_release(&all);
	return -1;
}

/* Moves all columns of the name, as one for people and one for programs, to the places from n on. Gives how many. */
static int bring_forward(struct grid *g, const char *name, int n)
{
	int begin = n;

	for (int i = n; i < g->n_columns; i++) {
		struct column column = g->columns[i];
		if (!is_called(&column, name))
			continue;
		memmove(g->columns + n + 1, g->columns + n, (size_t)(i - n) * sizeof column);
		g->columns[n] = column;
		for (int r = 0; r < g->n_rows; r++) {
			struct cell cell = g->rows[r][i];
			memmove(g->rows[r] + n + 1, g->rows[r] + n, (size_t)(i - n) * sizeof cell);
			g->rows[r][n] = cell;
		}
		n++;
	}
	if (n == begin + 1 && !g->columns[begin].title)
		g->columns[begin].title = g->columns[begin].name;
	return n - begin;
}

int grid_choose(struct grid *g, const char *names)
{
	char *list = arena_strdup(&g->arena, names);
	int n = 0;

	for (char *name = strsep(&list, ","); name; name = strsep(&list, ",")) {
		int more = bring_forward(g, name, n);
		if (!more)
			return no_column(g, name, n);
		n += more;
	}
	g->n_columns = n;
	return 0;
}

void grid_row(struct grid *g)
{
	struct cell *row = ARENA_ARRAY(&g->arena, struct cell, g->n_columns);

	for (int i = 0; i < g->n_columns; i++)
		row[i] = (struct cell){.text = "", .value = NAN, .low = NAN, .high = NAN};
	GROW(g->rows, g->n_rows + 1, g->cap_rows);
	GROW(g->ruled, g->n_rows + 1, g->cap_ruled);
	g->ruled[g->n_rows] = false;
	g->rows[g->n_rows++] = row;
	g->filled = 0;
}

void grid_rule(struct grid *g)
{
	CHECK(g->n_rows > 0);
	g->ruled[g->n_rows - 1] = true;
}

static void fill(struct grid *g, const struct subject *r, bool null)
{
	grid_row(g);
	g->ruled[g->n_rows - 1] = null;
	for (const struct column *c = g->columns; c < g->columns + g->n_columns; c++) {
		g->filled = (int)(c - g->columns);
		if (!null)
			c->cell(g, c, r);
		else if (c->null)
			c->null(g, c, r);
	}
}

void grid_fill(struct grid *g, const struct subject *r)
{
	fill(g, r, false);
}

void grid_fill_null(struct grid *g, const struct subject *r)
{
	fill(g, r, true);
}

static struct cell *grid_next(struct grid *g)
{
	CHECK(g->n_rows > 0 && g->filled < g->n_columns);
	return &g->rows[g->n_rows - 1][g->filled++];
}

void grid_text(struct grid *g, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	grid_next(g)->text = arena_vprintf(&g->arena, format, args);
	va_end(args);
}

void grid_number(struct grid *g, double value, const char *format, ...)
{
	struct cell *c = grid_next(g);
	va_list args;

	va_start(args, format);
	c->value = value;
	c->text = shortened(g, arena_vprintf(&g->arena, format, args));
	va_end(args);
}

void grid_interval(struct grid *g, double value, double low, double high, const char *format, ...)
{
	struct cell *c = grid_next(g);
	va_list args;

	va_start(args, format);
	*c = (struct cell){.text = shortened(g, arena_vprintf(&g->arena, format, args)), .value = value,
		.low = low, .high = high};
	va_end(args);
}

const struct grid_format *grid_format_find(const char *name)
{
	for (const struct grid_format *f = grid_formats; f->name; f++)
		if (!strcmp(f->name, name))
			return f;
	error("unknown format \"%s\": tables are md, csv, json, latex or html", name);
	return NULL;
}
