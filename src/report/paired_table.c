/* Two runs held against each other, as a table and as a figure. */
#include "report/paired.h"

#include <math.h>
#include <string.h>

#include "study/check.h"

static const struct loss_kind {
	const char *kind, *name;
} kinds[] = {{"train", "training"}, {"val", "validation"}};

#define PARAM(key) "(SELECT value FROM param p WHERE p.run_id = r.run_id AND p.key = '" key "')"

/* What must agree for two points to be a pair: an expression on a row r of `runs`. */
static const struct likeness {
	const char *what, *sql;
} likenesses[] = {
	{"data", "r.data_hash"},
	{"evaluation windows", "r.windows"},
	{"data.seed", "CASE WHEN " PARAM("data.seed") " >= 0 THEN " PARAM("data.seed")
		" ELSE r.seed END"},	/* -1: the run's seed */
	{"data.sampling", PARAM("data.sampling")},
	{"train.batch", PARAM("train.batch")},
	{"train.context", PARAM("train.context")},
};

static const char *likeness_of(struct db *db, const struct likeness *l, long long run_id,
	struct arena *a)
{
	const char *sql = arena_printf(a, "SELECT %s FROM runs r WHERE run_id = :run", l->sql);
	const char *text = NULL;
	struct db_statement s;

	db_prepare(&s, db, sql);
	db_bind_int(&s, ":run", run_id);
	if (db_step(&s) && db_text(&s, 0))
		text = arena_strdup(a, db_text(&s, 0));
	return db_finish(&s) ? NULL : text;
}

/* A key that neither has is one that is younger than both: they ran with its old meaning. */
static void warn_of_unlike(struct db *db, const struct run_row *ab, struct grid *g)
{
	if (query_param(db, ab[0].run_id, "foreign", &g->arena) ||
		query_param(db, ab[1].run_id, "foreign", &g->arena)) {
		notes_add(&g->notes, NOTE_WARNING,
			"a foreign curve: nothing says that it saw the same batches");
		return;
	}
	for (int i = 0; i < (int)ARRAY_SIZE(likenesses); i++) {
		const struct likeness *l = &likenesses[i];
		const char *a = likeness_of(db, l, ab[0].run_id, &g->arena);
		const char *b = likeness_of(db, l, ab[1].run_id, &g->arena);
		if (a && b ? strcmp(a, b) : a != b)
			notes_add(&g->notes, NOTE_WARNING,
				"no pairs: they differ in %s, %.16s and %.16s", l->what,
				a ? a : "unknown", b ? b : "unknown");
	}
}

static void warn_of_future(struct db *db, const struct run_row *ab, struct grid *g)
{
	for (int i = 0; i < 2; i++) {
		struct db_statement s;
		db_prepare(&s, db, "SELECT 1 FROM run WHERE run_id = :run AND depends = 'F'");
		db_bind_int(&s, ":run", ab[i].run_id);
		if (db_step(&s))
			notes_add(&g->notes, NOTE_WARNING, "%s: %s s%ld", SEES_FUTURE, ab[i].label, ab[i].seed);
		db_finish(&s);
	}
}

static const char *unit_of(struct db *db, const struct run_row *ab, struct arena *a)
{
	return loss_unit(query_param(db, ab[0].run_id, "model.head", a));
}

static void columns(struct grid *g)
{
	grid_column(g, "loss", "loss", COLUMN_TEXT);
	grid_column(g, "pairs", "pairs", COLUMN_NUMBER);
	grid_column(g, "last_step", "to step", COLUMN_NUMBER);
	grid_column(g, "equal_to_step", "equal to step", COLUMN_NUMBER);
	grid_column(g, "part_step", "part at step", COLUMN_NUMBER);
	grid_column(g, "part_tokens", "tokens", COLUMN_NUMBER);
	grid_column(g, "last_difference", "B - A, last", COLUMN_NUMBER);
	grid_column(g, "window", "window", COLUMN_NUMBER);
	grid_column(g, "difference", "B - A, last window", COLUMN_NUMBER);
	grid_column(g, "standard_error", NULL, COLUMN_NUMBER);
}

/* An entry of one of the pairs' arrays; at < 0: "-". */
static void cell_at(struct grid *g, const double *x, int at, const char *none)
{
	if (at >= 0 && isfinite(x[at]))
		grid_number(g, x[at], "%.0f", x[at]);
	else
		grid_number(g, NAN, "%s", none);
}

static void row(struct grid *g, const char *name, const struct paired *p)
{
	int part = paired_part(p), end = p->n_means - 1;
	int seen = part < 0 ? -1 : part + p->window - 1;	/* the last pair of that window */

	grid_row(g);
	grid_text(g, "%s", name);
	grid_number(g, p->n, "%d", p->n);
	cell_at(g, p->step, p->n - 1, "-");
	cell_at(g, p->step, paired_equal(p) - 1, "never");
	cell_at(g, p->step, seen, "not seen");
	cell_at(g, p->tokens, seen, "-");
	if (end < 0)
		return;
	grid_number(g, p->difference[p->n - 1], "%+.4f", p->difference[p->n - 1]);
	grid_number(g, p->window, "%d", p->window);
	grid_number(g, p->mean[end], "%+.4f +- %.4f", p->mean[end], p->error[end]);
	grid_number(g, p->error[end], "%.4f", p->error[end]);
}

static void notes(struct grid *g)
{
	notes_add(&g->notes, NOTE_PLAIN,
		"part: the mean of a window of neighbouring pairs lies more than 3 standard errors"
		" from 0, and stays there until no pair of the window is left; named is the last"
		" step of that window");
	notes_add(&g->notes, NOTE_PLAIN,
		"+- one standard error from the scatter within the window: it says nothing of other"
		" seeds, nor, for the validation loss, of other windows of text");
}

int paired_table(struct db *db, const struct run_row *ab, struct grid *g)
{
	struct paired p;

	grid_title(g, "%s s%ld (B) against %s s%ld (A), %s", ab[1].label, ab[1].seed, ab[0].label, ab[0].seed,
		unit_of(db, ab, &g->arena));
	columns(g);
	warn_of_unlike(db, ab, g);
	warn_of_future(db, ab, g);
	notes(g);
	for (int i = 0; i < (int)ARRAY_SIZE(kinds); i++) {
		if (paired_read(db, ab[0].run_id, ab[1].run_id, kinds[i].kind, &g->arena, &p))
			return -1;
		row(g, kinds[i].name, &p);
	}
	return 0;
}

/* --- figure ---------------------------------------------------------------------------------- */

static void add_panel(struct chart *c, const char *name, const char *unit, const struct paired *p)
{
	struct panel *panel = chart_panel(c, arena_printf(&c->arena, "B - A, %s", unit));
	const char *label = arena_printf(&c->arena, "mean of %d", p->window);
	struct series *s = chart_series(c, panel, label, 1, p->n_means);

	panel->title = arena_printf(&c->arena, "%s loss", name);
	panel->y_level = 0;
	s->n = 0;
	for (int i = 0; i < p->n_means; i++) {
		if (!chart_draws(i, p->n_means))
			continue;
		s->x[s->n] = p->tokens[i + p->window / 2];
		s->y[s->n] = p->mean[i];
		s->low[s->n] = p->mean[i] - 2 * p->error[i];
		s->high[s->n++] = p->mean[i] + 2 * p->error[i];
	}
}

int paired_chart(struct db *db, const struct run_row *ab, struct chart *c)
{
	struct paired p;

	chart_init(c, "compare");
	c->title = arena_printf(&c->arena, "%s s%ld (B) against %s s%ld (A)", ab[1].label, ab[1].seed,
		ab[0].label, ab[0].seed);
	c->subtitle = "running mean of the paired difference, at the middle of its window; band: 2"
		" standard errors";
	c->x_title = "training tokens";
	for (int i = 0; i < (int)ARRAY_SIZE(kinds); i++) {
		if (paired_read(db, ab[0].run_id, ab[1].run_id, kinds[i].kind, &c->arena, &p))
			return -1;
		if (p.n_means > 1)
			add_panel(c, kinds[i].name, unit_of(db, ab, &c->arena), &p);
	}
	return c->n_panels ? 0 : error("%s and %s have no steps in common to draw", ab[0].label,
		ab[1].label);
}
