/* Forecasts: squared and absolute errors by set of windows, and those of rules that learn nothing. */
#include "report/recall.h"
#include "report/table.h"

#include <math.h>

enum { MAX_SEEDS = 256, N_ERRORS = N_RECALL_SHARES - RECALL_MSE };

/* A column's .member: set and which of its errors. */
static int errors_of(const struct subject *r, const struct arm *v, size_t member, double x[MAX_SEEDS])
{
	int n = 0;

	for (int k = 0; k < v->n && n < MAX_SEEDS; k++) {
		x[n] = recall_of(r->more, r->s, v->runs[k], (int)(member / N_ERRORS),
			RECALL_MSE + (enum recall_share)(member % N_ERRORS));
		n += isfinite(x[n]);
	}
	return n;
}

static CELL(cell_error)
{
	double x[MAX_SEEDS];
	struct interval error = interval_of_mean(x, errors_of(r, r->v, c->member, x));

	grid_interval(g, error.mean, error.low, error.high, isfinite(error.mean) ? "%.3f" : "-", error.mean);
}

static CELL(null_error)
{
	double x[MAX_SEEDS], unseen = smallest_difference(x, errors_of(r, r->s->baseline, c->member, x));

	grid_interval(g, NAN, NAN, NAN, isfinite(unseen) ? "%.3f" : c->member ? "-" : "needs 2 seeds", unseen);
}

static void add_column(struct grid *g, const struct recall_set *set, int i, int which)
{
	const char *error = which ? "mae" : "mse", *title = which ? "MAE" : "MSE";
	const struct column column = {arena_printf(&g->arena, "%s_%s", error, set->name),
		arena_printf(&g->arena, "%s, %s", set->name, title), COLUMN_INTERVAL, .cell = cell_error,
		.null = null_error, .member = (size_t)(N_ERRORS * i + which)};

	grid_columns(g, &column, 1);
}

static void add_rule(struct grid *g, const struct recall *of, const char *rule, bool season)
{
	recall_rule(g, rule);
	for (int i = 0; i < of->n; i++)
		for (int k = 0; k < N_ERRORS; k++) {
			double error = season ? of->sets[i].season[k] : of->sets[i].last[k];
			grid_interval(g, error, NAN, NAN, isfinite(error) ? "%.3f" : "-", error);
		}
}

static int fill(struct study *s, struct grid *g)
{
	static const struct column model[] = {COLUMNS_OF_MODEL, COLUMN_SEEDS};
	struct recall of;

	if (recall_read(&of, s, true))
		return -1;
	grid_columns(g, model, ARRAY_SIZE(model));
	for (int i = 0; i < N_ERRORS * of.n; i++)
		add_column(g, &of.sets[i / N_ERRORS], i / N_ERRORS, i % N_ERRORS);
	for (int k = 0; k < s->n_arms; k++)
		grid_fill(g, &(struct subject){s, &s->arms[k], &of});
	add_rule(g, &of, "last value", false);
	add_rule(g, &of, "a season before", true);
	if (s->baseline)
		grid_fill_null(g, &(struct subject){s, NULL, &of});
	return 0;
}

const struct table table_forecast = {
	.name = "forecast",
	.place = 15,
	.help = "errors of forecasts, by horizon, beside those of the last value and of a season before",
	.applies = forecast_applies,
	.needs = "forecasts: its models have no model.head=forecast",
	.title = "errors of forecasts",
	.fill = fill,
	.notes = {"mean squared and absolute error over all values asked for, in the units of the dataset (of a CSV"
			" file: each column scaled by its mean and deviation to train), at the last score of each set, mean"
			" over seeds",
		"columns: val is mixed as the training data; the others are test sets, named by known values and"
			" horizon; last two rows: the last value that is known, and the value a season before, of the"
			" last season in which it is known; null row: the smallest difference that the baseline's seeds could show"},
};
