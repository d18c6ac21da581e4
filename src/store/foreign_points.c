/*
 * Rows to points. Loggers write training and validation apart, in rows in turn or in one block
 * behind the other; so each loss must be in order of step by itself, and rows of one step tell each
 * other what they lack.
 */
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "store/foreign_table.h"

static const enum foreign_column losses[] = {FOREIGN_LOSS, FOREIGN_TRAIN_LOSS};
static const enum foreign_column measures[] = {FOREIGN_TOKENS, FOREIGN_SECONDS, FOREIGN_FLOPS};

PRINTF_LIKE(4, 5) static int error_in(const struct foreign_table *t, const struct foreign_row *row,
	enum foreign_column c, const char *format, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	return error_at(t->f->path, row->line, row->column[c], "%s", text);
}

/* --- row by row, as they stand in the file ---------------------------------------------------- */

static int check_whole(const struct foreign_table *t, const struct foreign_row *row,
	enum foreign_column c, double most)
{
	double v = row->value[c];

	return isnan(v) || isinf(v) || (v <= most && floor(v) == v) ? 0 :
		error_in(t, row, c, "%s %g: not a whole number", t->name[c], v);
}

static int check_row(const struct foreign_table *t, const struct foreign_row *row)
{
	if (check_whole(t, row, FOREIGN_STEP, 1e15) || check_whole(t, row, FOREIGN_TOKENS, 1e18))
		return -1;
	for (int c = 0; c < N_FOREIGN_COLUMNS; c++) {
		bool loss = c == FOREIGN_LOSS || c == FOREIGN_TRAIN_LOSS;
		if (loss && isfinite(row->value[c]) && row->value[c] > (double)FLT_MAX)
			return error_in(t, row, (enum foreign_column)c,
				"%s %g is beyond float32, and no loss in nats per token", t->name[c],
				row->value[c]);
		if (row->value[c] < 0 || (isinf(row->value[c]) && !loss))
			return error_in(t, row, (enum foreign_column)c, "%s is %s",
				t->name[c], row->value[c] < 0 ? "negative" : "not finite");
	}
	return 0;
}

/* Each loss has one value a step, in order. */
static int check_order(const struct foreign_table *t, enum foreign_column loss)
{
	const struct foreign_row *before = NULL;

	for (int i = 0; i < t->n; i++) {
		const struct foreign_row *row = &t->rows[i];
		if (isnan(row->value[loss]))
			continue;
		if (before && row->value[FOREIGN_STEP] <= before->value[FOREIGN_STEP])
			return error_in(t, row, FOREIGN_STEP,
				"step %.0f comes after step %.0f of line %d: order the rows by "
				"step, one %s a step", row->value[FOREIGN_STEP],
				before->value[FOREIGN_STEP], before->line, t->name[loss]);
		before = row;
	}
	return 0;
}

/* A loss that is not finite to its end has diverged; one that comes back has gaps. */
static bool end_of_loss(const struct foreign_table *t, enum foreign_column loss)
{
	int first = -1, n = 0, last = t->n;

	while (last && isnan(t->rows[last - 1].value[loss]))
		last--;
	bool diverged = last && isinf(t->rows[last - 1].value[loss]);
	while (last && !isfinite(t->rows[last - 1].value[loss]))
		last--;
	for (int i = 0; i < last; i++) {
		if (!isinf(t->rows[i].value[loss]))
			continue;
		first = first < 0 ? t->rows[i].line : first;
		t->rows[i].value[loss] = NAN;
		n++;
	}
	if (n)
		warning("%s:%d: %s is not finite, and later it is again: %d such values are left out",
			t->f->path, first, t->name[loss], n);
	return diverged;
}

/* --- by step ---------------------------------------------------------------------------------- */

static int by_step(const void *a, const void *b)
{
	const struct foreign_row *x = a, *y = b;
	double step = x->value[FOREIGN_STEP] - y->value[FOREIGN_STEP];

	return step < 0 ? -1 : step > 0 ? 1 : x->line - y->line;
}

/* Rows of one step: what one lacks, it has from the row before, or from the next that has it. */
static int fill_step(const struct foreign_table *t, struct foreign_row *rows, int n,
	enum foreign_column c)
{
	const struct foreign_row *before = NULL;

	for (int i = 0; i < n; i++) {
		if (isnan(rows[i].value[c]) && before)
			rows[i].value[c] = before->value[c];
		else if (c == FOREIGN_TOKENS && before && before->value[c] != rows[i].value[c])
			return error_in(t, &rows[i], c, "%s %.0f of step %.0f: "
				"in line %d it has %.0f", t->name[c], rows[i].value[c],
				rows[i].value[FOREIGN_STEP], before->line, before->value[c]);
		before = isnan(rows[i].value[c]) ? NULL : &rows[i];
	}
	for (int i = n - 1; i > 0; i--)
		if (isnan(rows[i - 1].value[c]))
			rows[i - 1].value[c] = rows[i].value[c];
	return 0;
}

static int fill_steps(struct foreign_table *t)
{
	for (int i = 0, n; i < t->n; i += n) {
		for (n = 1; i + n < t->n; n++)
			if (t->rows[i + n].value[FOREIGN_STEP] > t->rows[i].value[FOREIGN_STEP])
				break;
		for (size_t m = 0; m < ARRAY_SIZE(measures); m++)
			if (fill_step(t, &t->rows[i], n, measures[m]))
				return -1;
	}
	return 0;
}

/* Cumulative, so they never fall. */
static int check_rises(const struct foreign_table *t, enum foreign_column c)
{
	const struct foreign_row *before = NULL;

	for (int i = 0; i < t->n; i++) {
		const struct foreign_row *row = &t->rows[i];
		if (before && row->value[c] < before->value[c])
			return error_in(t, row, c, "%s fall from %.15g in line %d to %.15g: "
				"they count from the start of training", t->name[c],
				before->value[c], before->line, row->value[c]);
		if (!isnan(row->value[c]))
			before = row;
	}
	return 0;
}

static int add_point(const struct foreign_table *t, struct foreign_row *row,
	struct foreign_points *p)
{
	if (isnan(row->value[FOREIGN_LOSS]) && isnan(row->value[FOREIGN_TRAIN_LOSS]))
		return 0;
	if (isnan(row->value[FOREIGN_TOKENS]) && t->f->tokens_per_step > 0)
		row->value[FOREIGN_TOKENS] = row->value[FOREIGN_STEP] * t->f->tokens_per_step;
	if (!(row->value[FOREIGN_TOKENS] <= 1e18))
		return error_in(t, row, FOREIGN_TOKENS, "no number of tokens in \"%s\": "
			"name the column (--column tokens=NAME) or give --tokens-per-step",
			t->name[FOREIGN_TOKENS]);
	GROW(p->at, p->n + 1, p->cap);
	memcpy(p->at[p->n++], row->value, sizeof *p->at);
	return 0;
}

/* --- all of it -------------------------------------------------------------------------------- */

static int order_rows(struct foreign_table *t, struct foreign_points *p)
{
	for (int i = 0; i < t->n; i++)
		if (check_row(t, &t->rows[i]))
			return -1;
	for (size_t i = 0; i < ARRAY_SIZE(losses); i++)
		if (check_order(t, losses[i]))
			return -1;
	for (size_t i = 0; i < ARRAY_SIZE(losses); i++)
		p->diverged |= end_of_loss(t, losses[i]);
	if (t->n)
		qsort(t->rows, (size_t)t->n, sizeof *t->rows, by_step);
	if (fill_steps(t))
		return -1;
	for (size_t m = 0; m < ARRAY_SIZE(measures); m++)
		if (check_rises(t, measures[m]))
			return -1;
	for (int i = 0; i < t->n; i++)
		if (add_point(t, &t->rows[i], p))
			return -1;
	return 0;
}

int foreign_read(const struct foreign *f, struct foreign_points *p)
{
	struct foreign_table t = {.f = f};
	int ret;

	*p = (struct foreign_points){0};
	ret = foreign_table_read(&t) || order_rows(&t, p) ? -1 : 0;
	if (!ret && !p->n)
		ret = error("%s: no row has a step (\"%s\") and a loss (\"%s\" or \"%s\"): name"
			" them by --column", f->path, t.name[FOREIGN_STEP], t.name[FOREIGN_LOSS],
			t.name[FOREIGN_TRAIN_LOSS]);
	memcpy(p->hash, t.hash, sizeof p->hash);
	free(t.rows);
	arena_release(&t.arena);
	return ret;
}
