/* Reading the files that foreign curves come in. */
#include "store/foreign.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"
#include "base/str.h"

enum { MOST_CELLS = 1024 };

const char *const foreign_column_name[N_FOREIGN_COLUMNS] = {
	"step", "tokens", "seconds", "flops", "loss", "train_loss",
};

struct reader {
	const struct foreign *f;
	struct foreign_points *points;
	struct arena arena;
	const char *name[N_FOREIGN_COLUMNS];	/* in the file */
	int at[N_FOREIGN_COLUMNS];		/* cell of a CSV's row; -1: none */
	int line;
};

/* --- names of columns ------------------------------------------------------------------------- */

static int set_name(struct reader *r, char *word)
{
	char *equals = strchr(word, '=');

	for (int c = 0; equals && c < N_FOREIGN_COLUMNS; c++) {
		if (strlen(foreign_column_name[c]) != (size_t)(equals - word) ||
			strncmp(foreign_column_name[c], word, (size_t)(equals - word)))
			continue;
		r->name[c] = equals + 1;
		return 0;
	}
	return error("column \"%s\": columns are named as step=NAME, for step, tokens, seconds, "
		"flops, loss and train_loss", word);
}

static int set_names(struct reader *r)
{
	char *rest = r->f->columns ? arena_strdup(&r->arena, r->f->columns) : NULL, *word;

	for (int c = 0; c < N_FOREIGN_COLUMNS; c++)
		r->name[c] = foreign_column_name[c];
	while ((word = strsep(&rest, ",")))
		if (set_name(r, word))
			return -1;
	return 0;
}

/* --- points ----------------------------------------------------------------------------------- */

/* One row: a point, if it has a step and a loss. */
static int add_row(struct reader *r, double value[N_FOREIGN_COLUMNS])
{
	struct foreign_points *p = r->points;
	double step = value[FOREIGN_STEP];

	if (!isfinite(step) ||
		(!isfinite(value[FOREIGN_LOSS]) && !isfinite(value[FOREIGN_TRAIN_LOSS])))
		return 0;
	if (step < 0 || step > 1e15 || floor(step) < step)
		return error_at(r->f->path, r->line, 1, "step %g: not a whole number", step);
	if (p->n && step <= p->at[p->n - 1][FOREIGN_STEP])
		return error_at(r->f->path, r->line, 1, "step %.0f comes after step %.0f: order the"
			" rows by step, one a step", step, p->at[p->n - 1][FOREIGN_STEP]);
	if (isnan(value[FOREIGN_TOKENS]) && r->f->tokens_per_step > 0)
		value[FOREIGN_TOKENS] = step * r->f->tokens_per_step;
	if (!(value[FOREIGN_TOKENS] >= 0 && value[FOREIGN_TOKENS] < 1e18))
		return error_at(r->f->path, r->line, 1, "no number of tokens in \"%s\": name the"
			" column (--column tokens=NAME) or give --tokens-per-step",
			r->name[FOREIGN_TOKENS]);
	GROW(p->at, p->n + 1, p->cap);
	memcpy(p->at[p->n++], value, sizeof *p->at);
	return 0;
}

/* --- CSV -------------------------------------------------------------------------------------- */

/* Cuts a line into cells, in place; quoted ones may hold commas, and "" for a quote. */
static int cut_cells(const struct reader *r, char *line, char **cells, int *n)
{
	char *from = line, *to = line;

	for (*n = 0; *n < MOST_CELLS;) {
		bool quoted = *from == '"';
		cells[(*n)++] = to;
		from += quoted;
		while (*from && (quoted ? *from != '"' || from[1] == '"' : *from != ',')) {
			from += quoted && *from == '"';
			*to++ = *from++;
		}
		if (quoted && (*from++ != '"' || (*from && *from != ',')))
			return error_at(r->f->path, r->line, 1, "a quoted cell does not end");
		bool last = !*from++;
		*to++ = '\0';
		if (last)
			return 0;
	}
	return error_at(r->f->path, r->line, 1, "more than %d columns", MOST_CELLS);
}

static int read_header(struct reader *r, char **cells, int n)
{
	for (int c = 0; c < N_FOREIGN_COLUMNS; c++) {
		r->at[c] = -1;
		for (int i = 0; i < n; i++)
			if (!strcmp(cells[i], r->name[c]))
				r->at[c] = i;
		if (r->at[c] < 0 && strcmp(r->name[c], foreign_column_name[c]))
			return error_at(r->f->path, 1, 1, "no column \"%s\"", r->name[c]);
	}
	if (r->at[FOREIGN_STEP] < 0)
		return error_at(r->f->path, 1, 1,
			"no column \"step\": name it (--column step=NAME)");
	return 0;
}

static bool is_absent(const char *text)
{
	static const char *const words[] = {"", "null", "none", "na"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcasecmp(text, words[i]))
			return true;
	return false;
}

static int read_cells(struct reader *r, char **cells, int n)
{
	double value[N_FOREIGN_COLUMNS];

	for (int c = 0; c < N_FOREIGN_COLUMNS; c++) {
		const char *text = r->at[c] >= 0 && r->at[c] < n ? cells[r->at[c]] : "";
		value[c] = NAN;
		if (!is_absent(text) && !str_to_double(text, &value[c]))
			return error_at(r->f->path, r->line, 1, "%s \"%s\" is no number",
				r->name[c], text);
	}
	return add_row(r, value);
}

static int read_csv_line(struct reader *r, char *line)
{
	char *cells[MOST_CELLS];
	int n;

	if (r->line == 1 && str_starts(line, "\xef\xbb\xbf"))	/* byte order mark */
		line += 3;
	if (cut_cells(r, line, cells, &n))
		return -1;
	return r->line == 1 ? read_header(r, cells, n) : read_cells(r, cells, n);
}

/* --- JSON lines ------------------------------------------------------------------------------- */

static int read_json_line(struct reader *r, char *line)
{
	double value[N_FOREIGN_COLUMNS];
	json_error_t problem;
	json_t *row = json_loads(line, JSON_ALLOW_NUL, &problem);
	int ret;

	if (!json_is_object(row)) {
		ret = error_at(r->f->path, r->line, 1, "no JSON object: %s",
			row ? "another value" : problem.text);
		json_decref(row);
		return ret;
	}
	for (int c = 0; c < N_FOREIGN_COLUMNS; c++) {
		const json_t *v = json_object_get(row, r->name[c]);
		value[c] = json_is_number(v) ? json_number_value(v) : NAN;
	}
	ret = add_row(r, value);
	json_decref(row);
	return ret;
}

/* --- files ------------------------------------------------------------------------------------ */

static int read_lines(struct reader *r, FILE *file, int (*read_line)(struct reader *, char *))
{
	char *line = NULL;
	size_t size = 0;
	int ret = 0;

	while (!ret && getline(&line, &size, file) > 0) {
		r->line++;
		line[strcspn(line, "\r\n")] = '\0';
		if (*line)
			ret = read_line(r, line);
	}
	free(line);
	if (!ret && !r->points->n)
		ret = error("%s: no row has a step (\"%s\") and a loss (\"%s\" or \"%s\"): name"
			" them by --column", r->f->path, r->name[FOREIGN_STEP],
			r->name[FOREIGN_LOSS], r->name[FOREIGN_TRAIN_LOSS]);
	return ret;
}

static enum foreign_form form_of(const struct foreign *f)
{
	if (f->form != FOREIGN_BY_NAME)
		return f->form;
	if (str_ends(f->path, ".csv"))
		return FOREIGN_CSV;
	return str_ends(f->path, ".jsonl") || str_ends(f->path, ".ndjson") ? FOREIGN_JSONL :
		FOREIGN_BY_NAME;
}

int foreign_read(const struct foreign *f, struct foreign_points *p)
{
	struct reader r = {.f = f, .points = p};
	enum foreign_form form = form_of(f);
	FILE *file;
	int ret = -1;

	*p = (struct foreign_points){0};
	if (form == FOREIGN_BY_NAME)
		return error("%s: CSV or JSON lines? Say --csv or --jsonl", f->path);
	file = fopen(f->path, "re");
	if (!file)
		return error_errno("cannot read %s", f->path);
	if (!set_names(&r))
		ret = read_lines(&r, file, form == FOREIGN_CSV ? read_csv_line : read_json_line);
	fclose(file);
	arena_release(&r.arena);
	return ret;
}
