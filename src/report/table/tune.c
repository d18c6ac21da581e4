/* The trials by which each configuration chose its value: losses, the best, is it at an edge? */
#include "report/table.h"

#include <math.h>

struct trial {
	const char *key, *chosen;
};

static const struct trial *trial_of(const struct subject *r)
{
	return r->more;
}

static CELL(cell_name)
{
	grid_text(g, "%s", label_without(r->s, r->v, trial_of(r)->key));
}

static CELL(cell_value)
{
	double value = arm_number(r->v, trial_of(r)->key);

	grid_number(g, value, "%g", value);
}

static CELL(cell_diverged)
{
	grid_number(g, arm_diverged(r->v), "%d", arm_diverged(r->v));
}

static CELL(cell_chosen)
{
	grid_text(g, "%s", trial_of(r)->chosen);
}

static void columns(struct grid *g, const char *key)
{
	const struct column columns[] = {
		{"model", "model", COLUMN_TEXT, .cell = cell_name},
		{"value", arena_strdup(&g->arena, key), COLUMN_NUMBER, .cell = cell_value},
		COLUMN_SEEDS,
		{"diverged", "diverged", COLUMN_NUMBER, .cell = cell_diverged},
		COLUMN_LOSS,
		{"chosen", "chosen", COLUMN_TEXT, .cell = cell_chosen},
	};

	grid_columns(g, columns, ARRAY_SIZE(columns));
}

static void rows(struct study *s, struct grid *g, const struct arm **trials, int n, const char *key)
{
	int best = trials_best(trials, n);

	for (int i = 0; i < n; i++) {
		bool edge = n > 1 && (i == 0 || i == n - 1);
		struct trial t = {key, ""};
		if (i == best && !isinf(trial_loss(trials[i])))
			t.chosen = edge ? "best, at the edge" : "best";
		grid_fill(g, &(struct subject){s, trials[i], &t});
		if (i == 0 && g->n_rows > 1)
			grid_rule(g);
	}
}

static void configuration(struct study *s, struct grid *g, const struct arm *v, const char *key)
{
	const struct arm *same = arm_same_before(s, v);
	int n;
	const struct arm **trials = arms_like(s, v, key, &n);

	if (!n || trials[0] != v)
		return;
	if (same)
		notes_add(&g->notes, NOTE_PLAIN, "%s: the same configuration as %s, with the same trials",
			label_without(s, v, key), label_without(s, same, key));
	else
		rows(s, g, trials, n, key);
}

static int fill(struct study *s, struct grid *g)
{
	const char *key = study_tuned_key(s, s->name);

	if (!key)
		return error("sweep %s: its trials do not differ in any key", s->name);
	table_title(g, s, "trials of %s (%s)", key, study_loss_unit(s));
	columns(g, key);
	for (int i = 0; i < s->n_arms; i++)
		configuration(s, g, &s->arms[i], key);
	notes_add(&g->notes, NOTE_PLAIN,
		"trials have seeds of their own and are evaluated on the split tune; best: lowest"
		" mean loss, a value with a diverged seed is the worst");
	return 0;
}

const struct table table_tune = {
	.name = "tune",
	.place = 9,
	.help = "trials by which learning rates were chosen",
	.applies = study_is_trials,
	.needs = "trials: show the sweep NAME.tune",
	.fill = fill,
};
