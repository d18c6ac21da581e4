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

static const double *order(struct study *s)
{
	double *at = ARENA_ARRAY(&s->arena, double, s->n_arms);

	for (int i = 0; i < s->n_arms; i++)
		at[i] = place(&s->arms[i]);
	return at;
}

static CELL(cell_projections)
{
	const struct arm *v = r->v;
	char names[64] = "";

	for (int i = 0; isfinite(layers(v)) && i < (int)ARRAY_SIZE(projections); i++)
		if (is_mixture(v, &projections[i]))
			snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
				*names ? " + " : "", projections[i].name);
	grid_text(g, "%s", *names ? names : "-");
}

static CELL(cell_layers)
{
	double every = layers(r->v);

	grid_text(g, "%s", isnan(every) ? "-" : every > 1 ? "every other" : "all");
}

static const struct column columns[] = {
	{"projections", "in place of", COLUMN_TEXT, .cell = cell_projections},
	{"layers", "layers", COLUMN_TEXT, .cell = cell_layers},
	COLUMN_EXPERTS,
	COLUMNS_OF_MODEL,
	COLUMN_SEEDS,
	COLUMN_LOSS,
	COLUMN_DIFFERENCE,
	COLUMN_SPEEDUP,
	COLUMN_PUBLISHED("loss", "published loss"),
};

const struct table table_inner = {
	.name = "inner",
	.place = 6,
	.help = "final loss with mixtures in place of projections inside Mamba",
	.applies = applies,
	.needs = "rows that differ in the projections that are mixtures",
	.title = "final loss with mixtures inside Mamba",
	.of_losses = true,
	.columns = columns,
	.n_columns = ARRAY_SIZE(columns),
	.order = order,
	.notes = {"in place of: projections of a Mamba layer that are mixtures of so many experts each,"
		" with a router each, or one for all of a layer (model.inner.router); layers: of all that the model has"},
};
