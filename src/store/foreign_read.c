/* Rows of the files that foreign curves come in. */
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/source.h"
#include "base/str.h"
#include "store/foreign_table.h"

enum { MOST_CELLS = 1024, MOST_BYTES = 1 << 30 };
#define BYTE_ORDER_MARK "\xef\xbb\xbf"
#define BLANK " \t"

static const char *const column_name[N_FOREIGN_COLUMNS] = {
	"step", "tokens", "seconds", "flops", "loss", "train_loss",
};

struct cell {
	char *text;
	int column;	/* of its first byte, from 1 */
};

struct reader {
	struct foreign_table *t;
	const char *path;
	int line;
	struct str text;	/* of a JSON line, for the parser */
	/* CSV: */
	int n_cells;		/* of the line of names; 0: not read yet */
	int at[N_FOREIGN_COLUMNS];	/* cell of a row; -1: none */
};

static int place_error(const struct reader *r, int column, const char *format, ...)
	PRINTF_LIKE(3, 4);
static int place_error(const struct reader *r, int column, const char *format, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	return error_at(r->path, r->line, column, "%s", text);
}

/* --- names of columns ------------------------------------------------------------------------- */

/* The name behind "=", up to the next comma; in quotes it may hold commas, and "" for a quote. */
static char *cut_name(char **rest)
{
	char *from = *rest, *to = from, *name = from;
	bool quoted = *from == '"';

	from += quoted;
	while (*from && (quoted ? *from != '"' || from[1] == '"' : *from != ',')) {
		from += quoted && *from == '"';
		*to++ = *from++;
	}
	if (quoted && (*from++ != '"' || (*from && *from != ',')))
		return NULL;
	*rest = *from ? from + 1 : NULL;
	*to = '\0';
	return name;
}

static int set_name(struct foreign_table *t, char **rest)
{
	char *word = *rest, *equals = strchr(word, '=');

	for (int c = 0; equals && c < N_FOREIGN_COLUMNS; c++) {
		size_t n = (size_t)(equals - word);
		if (strlen(column_name[c]) != n || strncmp(column_name[c], word, n))
			continue;
		if (t->name[c])
			return error("column \"%s\" is named twice", column_name[c]);
		*rest = equals + 1;
		t->name[c] = cut_name(rest);
		return t->name[c] ? 0 : error("column %s: the quotes do not end", word);
	}
	return error("column \"%s\": columns are named as step=NAME, for step, tokens, seconds, "
		"flops, loss and train_loss", word);
}

static int set_names(struct foreign_table *t)
{
	char *rest = t->f->columns ? arena_strdup(&t->arena, t->f->columns) : NULL;

	while (rest)
		if (set_name(t, &rest))
			return -1;
	for (int c = 0; c < N_FOREIGN_COLUMNS; c++)
		if (!t->name[c])
			t->name[c] = column_name[c];
	return 0;
}

/* --- values ----------------------------------------------------------------------------------- */

static bool is_absent(const char *text)
{
	static const char *const words[] = {"", "null", "none", "na"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcasecmp(text, words[i]))
			return true;
	return false;
}

static int read_value(const struct reader *r, enum foreign_column c, const char *text, int column,
	struct foreign_row *row)
{
	double v = NAN;

	if (!is_absent(text) && (strpbrk(text, "xX") || !str_to_double(text, &v)))
		return place_error(r, column, "%s \"%s\" is no number", r->t->name[c], text);
	row->value[c] = isfinite(v) || is_absent(text) ? v : INFINITY;
	row->column[c] = column;
	return 0;
}

static struct foreign_row row_new(const struct reader *r)
{
	struct foreign_row row = {.line = r->line};

	for (int c = 0; c < N_FOREIGN_COLUMNS; c++) {
		row.value[c] = NAN;
		row.column[c] = 1;
	}
	return row;
}

static bool has_loss(const struct foreign_row *row)
{
	return !isnan(row->value[FOREIGN_LOSS]) || !isnan(row->value[FOREIGN_TRAIN_LOSS]);
}

/* Rows without a step say nothing of the curve, unless they have a loss. */
static int add_row(struct reader *r, const struct foreign_row *row)
{
	struct foreign_table *t = r->t;

	if (isnan(row->value[FOREIGN_STEP]))
		return has_loss(row) ? place_error(r, 1, "a loss without a step (\"%s\")",
			t->name[FOREIGN_STEP]) : 0;
	GROW(t->rows, t->n + 1, t->cap);
	t->rows[t->n++] = *row;
	return 0;
}

/* --- CSV -------------------------------------------------------------------------------------- */

/*
 * Cuts a line into cells, in place; quoted ones may hold commas, and "" for a quote. Blanks around
 * a cell are no part of it.
 */
static int cut_cells(const struct reader *r, char *line, struct cell *cells, int *n)
{
	char *from = line, *to = line;

	for (*n = 0; *n < MOST_CELLS;) {
		from += strspn(from, BLANK);
		bool quoted = *from == '"';
		struct cell *cell = &cells[(*n)++];
		*cell = (struct cell){to, (int)(from - line) + 1};
		from += quoted;
		while (*from && (quoted ? *from != '"' || from[1] == '"' : *from != ',')) {
			from += quoted && *from == '"';
			*to++ = *from++;
		}
		if (quoted && *from++ != '"')
			return place_error(r, cell->column, "a quoted cell does not end");
		from += strspn(from, quoted ? BLANK : "");
		if (*from && *from != ',')
			return place_error(r, cell->column, "text behind a quoted cell");
		while (!quoted && to > cell->text && strchr(BLANK, to[-1]))
			to--;
		bool last = !*from++;
		*to++ = '\0';
		if (last)
			return 0;
	}
	return place_error(r, 1, "more than %d columns", MOST_CELLS);
}

static int find_column(struct reader *r, enum foreign_column c, const struct cell *cells, int n)
{
	const char *name = r->t->name[c];

	r->at[c] = -1;
	for (int i = 0; i < n; i++) {
		if (strcmp(cells[i].text, name))
			continue;
		if (r->at[c] >= 0)
			return place_error(r, cells[i].column, "two columns are called \"%s\"",
				name);
		r->at[c] = i;
	}
	if (r->at[c] < 0 && strcmp(name, column_name[c]))
		return place_error(r, 1, "no column \"%s\"", name);
	return 0;
}

static int read_header(struct reader *r, const struct cell *cells, int n)
{
	for (int c = 0; c < N_FOREIGN_COLUMNS; c++)
		if (find_column(r, (enum foreign_column)c, cells, n))
			return -1;
	if (r->at[FOREIGN_STEP] < 0)
		return place_error(r, 1, "no column \"step\": name it (--column step=NAME)");
	r->n_cells = n;
	return 0;
}

static int read_cells(struct reader *r, const struct cell *cells, int n)
{
	struct foreign_row row = row_new(r);

	while (n > r->n_cells && !*cells[n - 1].text)
		n--;
	if (n != r->n_cells)
		return place_error(r, cells[n > r->n_cells ? r->n_cells : n - 1].column,
			"%d cells, the line of names has %d", n, r->n_cells);
	for (int c = 0; c < N_FOREIGN_COLUMNS; c++)
		if (r->at[c] >= 0 && read_value(r, (enum foreign_column)c, cells[r->at[c]].text,
				cells[r->at[c]].column, &row))
			return -1;
	return add_row(r, &row);
}

static int read_csv_line(struct reader *r, char *line)
{
	struct cell cells[MOST_CELLS];
	int n;

	if (line[strspn(line, BLANK ",")] == '\0')
		return 0;
	if (cut_cells(r, line, cells, &n))
		return -1;
	return r->n_cells ? read_cells(r, cells, n) : read_header(r, cells, n);
}

/* --- JSON lines ------------------------------------------------------------------------------- */

static bool is_json_word(const char *word, size_t n)
{
	return (n == 4 && (!memcmp(word, "true", 4) || !memcmp(word, "null", 4))) ||
		(n == 5 && !memcmp(word, "false", 5));
}

/*
 * Numbers as strings, to be read like the cells of a CSV: NaN and Infinity, as Python writes them,
 * 1e400 and integers of any length are none for a parser of JSON. Gives the place in the line where
 * `out` becomes `most` bytes long.
 */
static size_t quote_numbers(const char *line, struct str *out, size_t most)
{
	bool inside = false;
	size_t i = 0;

	while (line[i] && out->length < most) {
		size_t n = inside ? 0 : strspn(line + i, "+-.0123456789_"
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
		bool quote = n && !is_json_word(line + i, n);
		if (!n) {
			inside ^= line[i] == '"';
			n = inside && line[i] == '\\' && line[i + 1] ? 2 : 1;
		}
		str_add(out, quote ? "\"" : "");
		str_add_bytes(out, line + i, n);
		str_add(out, quote ? "\"" : "");
		i += n;
	}
	return i;
}

static json_t *parse_object(struct reader *r, const char *line)
{
	json_error_t problem;
	json_t *object;

	str_clear(&r->text);
	quote_numbers(line, &r->text, SIZE_MAX);
	object = json_loads(r->text.text, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &problem);
	if (json_is_object(object))
		return object;
	str_clear(&r->text);
	place_error(r, object ? 1 : (int)quote_numbers(line, &r->text, (size_t)problem.position),
		"no JSON object: %s", object ? "another value" : problem.text);
	json_decref(object);
	return NULL;
}

/* Where the member stands in the line, by its name; 1 where the name is written with escapes. */
static int member_column(const char *line, const char *name)
{
	char *quoted = xasprintf("\"%s\"", name);
	const char *at = strstr(line, quoted);

	free(quoted);
	return at ? (int)(at - line) + 1 : 1;
}

static int read_member(struct reader *r, enum foreign_column c, const json_t *v, const char *line,
	struct foreign_row *row)
{
	int column = member_column(line, r->t->name[c]);

	if (!v || json_is_null(v))
		return 0;
	if (!json_is_string(v) || json_string_length(v) != strlen(json_string_value(v)))
		return place_error(r, column, "%s is no number", r->t->name[c]);
	return read_value(r, c, json_string_value(v), column, row);
}

static int read_json_line(struct reader *r, char *line)
{
	struct foreign_row row = row_new(r);
	json_t *object;
	int ret = 0;

	if (!line[strspn(line, BLANK)])
		return 0;
	object = parse_object(r, line);
	if (!object)
		return -1;
	for (int c = 0; c < N_FOREIGN_COLUMNS && !ret; c++)
		ret = read_member(r, (enum foreign_column)c,
			json_object_get(object, r->t->name[c]), line, &row);
	json_decref(object);
	return ret ? ret : add_row(r, &row);
}

/* --- files ------------------------------------------------------------------------------------ */

/* Ends the line where its text ends; what does not belong into a line of text is an error. */
static int check_line(const struct reader *r, char *line, size_t n)
{
	const char *stray;

	while (n && line[n - 1] == '\r')
		n--;
	line[n] = '\0';
	if (strlen(line) != n)
		return place_error(r, (int)strlen(line) + 1, "a NUL byte: this is no text");
	stray = strchr(line, '\r');
	if (stray)
		return place_error(r, (int)(stray - line) + 1, "a carriage return within the line");
	return 0;
}

/* Cuts the text into its lines, in place. */
static int read_lines(struct reader *r, char *text, size_t n,
	int (*read_line)(struct reader *, char *))
{
	char *end = text + n;

	if (str_starts(text, "\xff\xfe") || str_starts(text, "\xfe\xff"))
		return error("%s: UTF-16: save it as UTF-8", r->path);
	if (str_starts(text, BYTE_ORDER_MARK))
		text += strlen(BYTE_ORDER_MARK);
	while (text < end) {
		char *feed = memchr(text, '\n', (size_t)(end - text)), *stop = feed ? feed : end;
		r->line++;
		if (check_line(r, text, (size_t)(stop - text)) || read_line(r, text))
			return -1;
		text = stop + 1;
	}
	return 0;
}

static enum foreign_form form_of(const struct foreign *f, const char *text)
{
	bool named = str_ends_nocase(f->path, ".jsonl") || str_ends_nocase(f->path, ".ndjson");

	if (f->form != FOREIGN_BY_CONTENT)
		return f->form;
	text += str_starts(text, BYTE_ORDER_MARK) ? strlen(BYTE_ORDER_MARK) : 0;
	return named || text[strspn(text, BLANK "\r\n")] == '{' ? FOREIGN_JSONL : FOREIGN_CSV;
}

int foreign_table_read(struct foreign_table *t)
{
	struct reader r = {.t = t, .path = t->f->path};
	enum foreign_form form;
	char *text;
	size_t n;
	int ret;

	if (set_names(t))
		return -1;
	text = source_text(r.path, MOST_BYTES, &n);
	if (!text)
		return -1;
	form = form_of(t->f, text);
	hash_bytes(text, n, t->hash);
	str_init(&r.text);
	ret = read_lines(&r, text, n, form == FOREIGN_CSV ? read_csv_line : read_json_line);
	str_release(&r.text);
	free(text);
	return ret;
}
