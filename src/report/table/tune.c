/* The trials by which each configuration chose its value: losses, the best, is it at an edge? */
#include "report/table.h"

#include <math.h>

static void columns(struct grid *g, const char *key)
{
	grid_column(g, "model", "model", COLUMN_TEXT);
	grid_column(g, "value", key, COLUMN_NUMBER);
	grid_column(g, "seeds", "seeds", COLUMN_NUMBER);
	grid_column(g, "diverged", "diverged", COLUMN_NUMBER);
	grid_column(g, "loss", "loss", COLUMN_INTERVAL);
	grid_column(g, "chosen", "chosen", COLUMN_TEXT);
}

static void rows(struct study *s, struct grid *g, const struct arm **trials, int n, const char *key)
{
	int best = trials_best(trials, n);

	for (int i = 0; i < n; i++) {
		double value = arm_number(trials[i], key);
		bool edge = n > 1 && (i == 0 || i == n - 1);
		grid_row(g);
		if (i == 0 && g->n_rows > 1)
			grid_rule(g);
		grid_text(g, "%s", label_without(s, trials[i], key));
		grid_number(g, value, "%g", value);
		grid_number(g, trials[i]->n, "%d", trials[i]->n);
		grid_number(g, arm_diverged(trials[i]), "%d", arm_diverged(trials[i]));
		cell_mean(g, ARM_MEAN(trials[i], final_loss), 3);
		grid_text(g, "%s", i != best || isinf(trial_loss(trials[i])) ? "" :
			edge ? "best, at the edge" : "best");
	}
}

static int fill(struct study *s, struct grid *g)
{
	const char *key = study_tuned_key(s, s->name);

	if (!key)
		return error("sweep %s: its trials do not differ in any key", s->name);
	table_title(g, s, "trials of %s (nats per token)", key);
	columns(g, key);
	for (int i = 0; i < s->n_arms; i++) {
		int n;
		const struct arm **trials = arms_like(s, &s->arms[i], key, &n);
		if (n && trials[0] == &s->arms[i])
			rows(s, g, trials, n, key);
	}
	notes_add(&g->notes, NOTE_PLAIN,
		"trials have seeds of their own and are evaluated on the split tune; best: lowest"
		" mean loss, a value with a diverged seed is the worst");
	return 0;
}

const struct table table_tune = {
	.name = "tune",
	.place = 8,
	.help = "trials by which learning rates were chosen",
	.applies = study_is_trials,
	.needs = "trials: show the sweep NAME.tune",
	.fill = fill,
};
