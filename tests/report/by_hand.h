/* A table of the database of hand.h, its cells, and figures that need no code under test. */
#ifndef TESTS_REPORT_BY_HAND_H
#define TESTS_REPORT_BY_HAND_H

#include "caught.h"

#include "hand.h"
#include "report/table.h"

#include <math.h>

/* Student's t, 97.5 %, with 1 and with 2 degrees of freedom. */
static const double t1 = 12.706204736432095, t2 = 4.302652729911275;

static struct study study;
static struct grid grid;

/* Columns of the tables that were shown, and whether a test looked at them. */
static struct seen {
	char table[32], column[64];
	bool read;
} seen[400];
static int n_seen;

/* ---- set up and away: of a test, or of all of a program --------------------------------------- */

static inline int open_hand(void **state)
{
	(void)state;
	hand_open();
	return 0;
}

static inline int close_hand(void **state)
{
	(void)state;
	hand_close();
	return 0;
}

/* ---- a table, its cells --------------------------------------------------------------------- */

static inline struct seen *seen_of(const char *column)
{
	struct seen *s = seen;

	while (s < seen + n_seen && (strcmp(s->table, grid.name) || strcmp(s->column, column)))
		s++;
	if (s == seen + n_seen) {
		assert_true(++n_seen < (int)ARRAY_SIZE(seen));
		snprintf(s->table, sizeof s->table, "%s", grid.name);
		snprintf(s->column, sizeof s->column, "%s", column);
	}
	return s;
}

static inline void show(const char *sweep, const char *table, struct study_options o)
{
	catch_messages();
	if (study_open(&study, &hand_db, sweep, &o) ||
		table_make(table_find(table), &study, true, &grid))
		fail_msg("%s", caught);
	for (int i = 0; i < grid.n_columns; i++)
		if (grid.columns[i].name)
			seen_of(grid.columns[i].name);
}

static inline void hide(void)
{
	grid_release(&grid);
	study_close(&study);
	error_sink = NULL;
}

static inline int column_of(const char *name)
{
	for (int i = 0; i < grid.n_columns; i++)
		if (grid.columns[i].name && !strcmp(grid.columns[i].name, name)) {
			seen_of(name)->read = true;
			return i;
		}
	fail_msg("table %s has no column %s", grid.name, name);
	return -1;
}

/* Of the n-th row of a model, from 0. */
static inline const struct cell *cell(const char *model, int n, const char *column)
{
	int at = column_of(column), key = column_of("model");

	for (int i = 0; i < grid.n_rows; i++)
		if (!strcmp(grid.rows[i][key].text, model) && n-- == 0)
			return &grid.rows[i][at];
	fail_msg("table %s has no row %s", grid.name, model);
	return NULL;
}

static inline void near(const char *what, const char *model, const char *column, double is,
	double should)
{
	if (isnan(is) != isnan(should) || fabs(is - should) > 1e-9 * fmax(fabs(should), 1))
		fail_msg("%s, %s, %s of %s: %.12g, by hand %.12g", grid.name, column, what, model, is, should);
}

static inline void expect(const char *model, const char *column, double value)
{
	near("value", model, column, cell(model, 0, column)->value, value);
}

static inline void expect_interval(const char *model, const char *column, double value, double low,
	double high)
{
	const struct cell *c = cell(model, 0, column);

	near("value", model, column, c->value, value);
	near("low", model, column, c->low, low);
	near("high", model, column, c->high, high);
}

static inline void expect_text(const char *model, const char *column, const char *text)
{
	assert_string_equal(cell(model, 0, column)->text, text);
}

/* ---- by hand -------------------------------------------------------------------------------- */

static inline double mean(double a, double b, double c)
{
	return (a + b + c) / 3;
}

/* Standard deviation with n - 1. */
static inline double spread(double a, double b, double c)
{
	double m = mean(a, b, c);

	return sqrt(((a - m) * (a - m) + (b - m) * (b - m) + (c - m) * (c - m)) / 2);
}

static inline void expect_mean(const char *model, const char *column, double a, double b, double c)
{
	double half = t2 * spread(a, b, c) / sqrt(3);

	expect_interval(model, column, mean(a, b, c), mean(a, b, c) - half, mean(a, b, c) + half);
}

static inline void expect_mean2(const char *model, const char *column, double a, double b)
{
	double half = t1 * fabs(a - b) / 2;

	expect_interval(model, column, (a + b) / 2, (a + b) / 2 - half, (a + b) / 2 + half);
}

/* Geometric. */
static inline void expect_ratio(const char *model, const char *column, double a, double b, double c)
{
	double half = exp(t2 * spread(log(a), log(b), log(c)) / sqrt(3));

	expect_interval(model, column, cbrt(a * b * c), cbrt(a * b * c) / half, cbrt(a * b * c) * half);
}

/* What three repeats could show: t sd sqrt(2 / 3). */
static inline double unseen(double a, double b, double c)
{
	return t2 * spread(a, b, c) * sqrt(2.0 / 3);
}

/* ---- what several tables share -------------------------------------------------------------- */

#define M4 "moe-n_experts=4"
#define M2 "moe-n_experts=2"

static inline void expect_model(void)
{
	expect("base", "params_total", 1000);
	expect(M4, "params_total", 4000);
	expect(M4, "params_active", 1000);
	expect(M4, "params_embedding", 100);
}

static inline void expect_null_of_loss(void)
{
	double null = unseen(2.0, 2.02, 1.98);

	expect_interval("null", "difference", NAN, -null, null);
	expect_text("null", "difference", "seeds 0.040 apart, 3 show 0.070");
}

static inline void expect_router(int router, const char *column, double value)
{
	near("value", M4, column, cell(M4, router, column)->value, value);
}

static inline void expect_trial(const char *model, int n, double value, int diverged, double loss,
	const char *chosen)
{
	near("value", model, "value", cell(model, n, "value")->value, value);
	near("value", model, "seeds", cell(model, n, "seeds")->value, 2);
	near("value", model, "diverged", cell(model, n, "diverged")->value, diverged);
	near("value", model, "loss", cell(model, n, "loss")->value, loss);
	assert_string_equal(cell(model, n, "chosen")->text, chosen);
}

#endif
