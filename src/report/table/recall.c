/* Tasks with answers: shares of right tokens and of whole answers, by set of examples. */
#include "report/recall.h"
#include "report/table.h"

#include <math.h>

enum { MAX_SEEDS = 256 };

/* A column's .member: set and share. */
static int shares_of(const struct subject *r, const struct arm *v, size_t member, double x[MAX_SEEDS])
{
	const struct recall *of = r->more;
	int n = 0;

	for (int k = 0; k < v->n && n < MAX_SEEDS; k++) {
		x[n] = recall_of(of, r->s, v->runs[k], (int)(member / N_RECALL_SHARES),
			(enum recall_share)(member % N_RECALL_SHARES));
		n += isfinite(x[n]);
	}
	return n;
}

static CELL(cell_share)
{
	double x[MAX_SEEDS];
	struct interval share = interval_of_mean(x, shares_of(r, r->v, c->member, x));

	grid_interval(g, share.mean, share.low, share.high, isfinite(share.mean) ? "%.1f %%" : "-",
		100 * share.mean);
}

static CELL(null_share)
{
	double x[MAX_SEEDS], unseen = smallest_difference(x, shares_of(r, r->s->baseline, c->member, x));

	grid_interval(g, NAN, NAN, NAN, isfinite(unseen) ? "%.1f %%" : c->member ? "-" : "needs 2 seeds",
		100 * unseen);
}

static void add_column(struct grid *g, const struct recall_set *set, int i, enum recall_share which)
{
	bool whole = which == RECALL_ANSWERS;
	const struct column share = {
		arena_printf(&g->arena, "%s_%s", whole ? "answers" : "tokens", set->name),
		arena_printf(&g->arena, "%s%s", set->name, whole ? ", whole" : ""), COLUMN_INTERVAL,
		.cell = cell_share, .null = null_share, .member = (size_t)(N_RECALL_SHARES * i) + which};

	grid_columns(g, &share, 1);
}

/* What the most frequent answer of training would have right. */
static void add_majority(struct grid *g, const struct recall *of)
{
	bool told = false;

	for (int i = 0; i < of->n; i++)
		told |= isfinite(of->sets[i].majority);
	if (!told)
		return;
	recall_rule(g, "most frequent answer");
	for (int i = 0; i < of->n; i++) {
		double share = of->sets[i].majority;
		grid_interval(g, share, NAN, NAN, isfinite(share) ? "%.1f %%" : "-", 100 * share);
		if (of->sets[i].several)
			grid_interval(g, NAN, NAN, NAN, "%s", "");
	}
}

static int fill(struct study *s, struct grid *g)
{
	static const struct column model[] = {COLUMNS_OF_MODEL, COLUMN_SEEDS};
	struct recall of;

	if (recall_read(&of, s, false))
		return -1;
	grid_columns(g, model, ARRAY_SIZE(model));
	for (int i = 0; i < of.n; i++) {
		add_column(g, &of.sets[i], i, RECALL_TOKENS);
		if (of.sets[i].several)
			add_column(g, &of.sets[i], i, RECALL_ANSWERS);
	}
	for (int k = 0; k < s->n_arms; k++)
		grid_fill(g, &(struct subject){s, &s->arms[k], &of});
	add_majority(g, &of);
	if (s->baseline)
		grid_fill_null(g, &(struct subject){s, NULL, &of});
	return 0;
}

const struct table table_recall = {
	.name = "recall",
	.place = 13,
	.help = "right answers of a task, by set of examples",
	.applies = recall_applies,
	.needs = recall_needs,
	.title = "right answers",
	.fill = fill,
	.notes = {"share of the tokens asked for that are the model's best guess, the true ones before given, at"
			" the last score of each set, mean over seeds; whole: of the answers with every token right",
		"columns: val is mixed as the training data; the others are test sets, named by the length and"
			" the items of their examples; null row: the smallest difference that the baseline's"
			" seeds could show"},
};
