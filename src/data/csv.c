#include "data/csv.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/source.h"
#include "base/str.h"
#include "data/content.h"

static const size_t MOST_BYTES = (size_t)1 << 34;
static const char DIGITS[] = "0123456789";
static const double LARGEST = 1e100;	/* sums of squares of such are finite */

struct reader {
	struct csv *f;
	const char *file;
	enum csv_head head;
	char apart;		/* between cells */
	int line;		/* from 1 */
	int first;		/* 1: the first cell of each line is left out */
	bool words;		/* of those none is a number */
	long size;		/* of f->values */
};

/* The next cell of a line, cut off it, without quotes ("" within them is one) and spaces around; *line NULL behind the
   last. */
static char *next_cell(const struct reader *r, char **line)
{
	char *from = *line + strspn(*line, " "), *cell = from, *end = from;
	bool quoted = false;

	for (; *from && (quoted || *from != r->apart); from++)
		if (*from != '"')
			*end++ = *from;
		else if (quoted && from[1] == '"')
			*end++ = *from++;
		else
			quoted = !quoted;
	*line = *from ? from + 1 : NULL;
	while (end > cell && (end[-1] == ' ' || end[-1] == '\r'))
		end--;
	*end = '\0';
	return cell;
}

/* A number, or a NaN where it is missing. */
static bool read_value(const char *cell, double *x)
{
	*x = NAN;
	return !*cell || !strcasecmp(cell, "nan") || (str_to_double(cell, x) && fabs(*x) <= LARGEST);
}

static bool is_value(const char *cell)
{
	double x;

	return read_value(cell, &x);
}

/* Not missing, but it may be too large for a value. */
static bool is_number(const char *cell)
{
	double x;

	return str_to_double(cell, &x) && !isnan(x);
}

static bool is_word(const char *cell)
{
	return !is_value(cell) && !is_number(cell);
}

static char choose_apart(const char *line)
{
	return strchr(line, ',') ? ',' : strchr(line, ';') ? ';' : strchr(line, '\t') ? '\t' : ',';
}

/* Columns by the first line; true: it names them. */
static bool read_names(struct reader *r, char *line)
{
	bool names = false, none = false;
	int size = 0;

	for (char *rest = line; rest;) {
		char *cell = next_cell(r, &rest);
		GROW(r->f->names, r->f->n_columns + 1, size);
		names |= r->f->n_columns > 0 && is_word(cell);
		none |= r->f->n_columns == 0 && is_word(cell);
		r->f->names[r->f->n_columns++] = xstrdup(cell);
	}
	return names || (none && r->f->n_columns == 1);
}

static bool is_whole(const char *cell)
{
	return *cell && !cell[strspn(cell, DIGITS)];
}

/* May numbers be names? Whole ones behind a first cell without any, as "date,0,1"; or all of them a count, "0,1,2". */
static bool may_be_names(const struct csv *f)
{
	const char *first = f->names[0];
	bool words = !first[strcspn(first, DIGITS)], count = is_whole(first) && atol(first) <= 1 && f->n_columns > 2;

	for (int i = 1; i < f->n_columns; i++) {
		words &= is_whole(f->names[i]);
		count &= is_whole(f->names[i]) && atol(f->names[i]) == atol(first) + i;
	}
	return f->n_columns > 1 && (words || count);
}

/* Is the first line names? -1 after a message: it does not say. */
static int has_names(struct reader *r, char *line)
{
	bool names = read_names(r, line);

	if (r->head != CSV_HEAD_SEEN)
		return r->head == CSV_HEAD_NAMES;
	return names || !may_be_names(r->f) ? names
		: error_at(r->file, r->line, 1, "are the numbers of the first line names of columns, or values? --header yes: "
			"names, --header no: values");
}

/* The first column is left out. */
static void drop_first(struct reader *r)
{
	struct csv *f = r->f;

	r->first = 1;
	free(f->names[0]);
	memmove(f->names, f->names + 1, (size_t)(f->n_columns - 1) * sizeof *f->names);
	f->n_columns--;
}

static int read_line(struct reader *r, char *line)
{
	struct csv *f = r->f;
	double *row;
	int n = -r->first;

	GROW(f->values, (f->n_lines + 1) * f->n_columns, r->size);
	row = f->values + f->n_lines * f->n_columns;
	for (char *rest = line; rest; n++) {
		char *cell = next_cell(r, &rest);
		if (n < 0 && r->words && is_number(cell))
			return error_at(r->file, r->line, (int)(cell - line) + 1, "\"%.40s\" is a number, but the first "
				"column begins with none; what is missing is an empty cell or nan", cell);
		if (n < 0 || n >= f->n_columns)
			continue;
		if (!read_value(cell, &row[n]))
			return error_at(r->file, r->line, (int)(cell - line) + 1, "column %s: \"%.40s\" is no number of at "
				"most %g, and what is missing is an empty cell or nan", f->names[n], cell, LARGEST);
	}
	if (n != f->n_columns)
		return error_at(r->file, r->line, 1, "%d cells, but the first line has %d", n + r->first,
			f->n_columns + r->first);
	f->n_lines++;
	return 0;
}

/* The first lines: names, or none; and what the first column is: without a name among names it numbers the lines, with
   a word in the first line of numbers it has words. 0: the line is still to be read as numbers; 1: it is not; -1 after
   a message. */
static int begin(struct reader *r, const char *line)
{
	char *copy = xstrdup(line), *rest = copy;
	int names = 0;

	if (!r->f->n_columns) {
		r->apart = choose_apart(line);
		names = has_names(r, copy);
		if (names == 1 && r->f->n_columns > 1 && !*r->f->names[0])
			drop_first(r);
		for (int i = 0; names == 0 && i < r->f->n_columns; i++) {
			free(r->f->names[i]);
			r->f->names[i] = xasprintf("%d", i + 1);
		}
		strcpy(copy, line);
	}
	if (names == 0 && !r->first && r->f->n_columns > 1 && !is_value(next_cell(r, &rest))) {
		drop_first(r);
		r->words = true;
	}
	free(copy);
	return names;
}

static int read_lines(struct reader *r, char *text)
{
	for (char *line; (line = strsep(&text, "\n"));) {
		r->line++;
		if (!line[strspn(line, " \r")])
			continue;
		int names = r->f->n_lines ? 0 : begin(r, line);
		if (names < 0 || (!names && read_line(r, line)))
			return -1;
	}
	return r->f->n_lines ? 0 : error("%s: no line with numbers", r->file);
}

int csv_read(struct csv *f, const char *file, enum csv_head head)
{
	struct reader r = {.f = f, .file = file, .head = head};
	size_t n;
	char *text = source_text(file, MOST_BYTES, &n);
	int ret;

	*f = (struct csv){.n_lines = 0};
	if (!text)
		return -1;
	hash_bytes(text, n, f->hash);
	ret = strlen(text) == n ? read_lines(&r, text + content_mark(text, n)) : error("%s: holds bytes 0: no text", file);
	free(text);
	if (ret)
		csv_release(f);
	return ret;
}

void csv_release(struct csv *f)
{
	for (int i = 0; i < f->n_columns; i++)
		free(f->names[i]);
	free(f->names);
	free(f->values);
	*f = (struct csv){.n_lines = 0};
}
