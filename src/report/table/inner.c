/* Loss with mixtures in place of projections inside Mamba: the paper's table 3. */
#include "report/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct projection {
	const char *key, *name;
} projections[] = {
	{"model.inner.conv", "conv"}, {"model.inner.gate", "gate"}, {"model.inner.out", "out"},
};

static bool is_mixture(const struct arm *v, const struct projection *p)
{
	const char *text = run_text(v->runs[0], p->key);

	return text && !strcmp(text, "true");
}

/* Every how many-th layer has mixtures; NaN: none, or of unknown arrangement (model.pattern). */
static double layers(const struct arm *v)
{
	return run_text(v->runs[0], "model.pattern") ? NAN : arm_number(v, "model.inner.every");
}

/* The paper's order: number of projections; conv, gate, out; all layers, every other. */
static double place(const struct arm *v)
{
	double n = 0, which = 0;

	for (int i = 0; i < (int)ARRAY_SIZE(projections); i++)
		if (is_mixture(v, &projections[i])) {
			n++;
			which += 1 << i;
		}
	return 100 * n + 10 * which + layers(v);
}

static bool applies(const struct study *s)
{
	double first = NAN;

	for (int i = 0; i < s->n_arms; i++) {
		double at = place(&s->arms[i]);
		if (isnan(first))
			first = at;
		if (fabs(at - first) > 0)
			return true;
	}
	return false;
}

static void columns(struct grid *g)
{
	grid_column(g, "projections", "in place of", COLUMN_TEXT);
	grid_column(g, "layers", "layers", COLUMN_TEXT);
	grid_column(g, "n_experts", "experts", COLUMN_NUMBER);
	columns_of_model(g);
	grid_column(g, "seeds", "seeds", COLUMN_NUMBER);
	grid_column(g, "loss", "loss", COLUMN_INTERVAL);
	grid_column(g, "difference", "to baseline", COLUMN_INTERVAL);
	grid_column(g, "speedup_tokens", "speed-up", COLUMN_INTERVAL);
	grid_column(g, "published_loss", "published loss", COLUMN_NUMBER);
}

static void cells_of_place(struct grid *g, const struct arm *v)
{
	char names[64] = "";
	double every = layers(v);

	for (int i = 0; isfinite(every) && i < (int)ARRAY_SIZE(projections); i++)
		if (is_mixture(v, &projections[i]))
			snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
				*names ? " + " : "", projections[i].name);
	grid_text(g, "%s", *names ? names : "-");
	grid_text(g, "%s", isnan(every) ? "-" : every > 1 ? "every other" : "all");
}

static void row(struct study *s, struct grid *g, const struct arm *v)
{
	grid_row(g);
	cells_of_place(g, v);
	cell_value(g, arm_number(v, "model.moe.n_experts"), 0);
	cells_of_model(g, s, v);
	grid_number(g, v->n, "%d", v->n);
	cell_mean(g, ARM_MEAN(v, final_loss), 3);
	cell_difference(g, s, v);
	cell_speedup(g, s, v);
	cell_published(g, s, v, "loss");
}

static int fill(struct study *s, struct grid *g)
{
	double *at = ARENA_ARRAY(&s->arena, double, s->n_arms);

	for (int i = 0; i < s->n_arms; i++)
		at[i] = place(&s->arms[i]);
	const struct arm **sorted = study_rows(s, at);
	table_title(g, s, "final loss with mixtures inside Mamba (nats per token)");
	columns(g);
	for (int i = 0; i < s->n_arms; i++)
		row(s, g, sorted[i]);
	row_of_null_loss(g, s, 3, 10);
	notes_add(&g->notes, NOTE_PLAIN,
		"in place of: projections of a Mamba layer that are mixtures of so many experts each,"
		" with a router each; layers: of all that the model has");
	return 0;
}

const struct table table_inner = {
	.name = "inner",
	.place = 6,
	.help = "final loss with mixtures in place of projections inside Mamba",
	.applies = applies,
	.needs = "rows that differ in the projections that are mixtures",
	.fill = fill,
};
