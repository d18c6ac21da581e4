/* Loss by number of experts: the paper's table 4. */
#include "report/table.h"

#include <math.h>

static const char key[] = "model.moe.n_experts";

static bool applies(const struct study *s)
{
	return study_has_axis(s, key);
}

static void columns(struct grid *g)
{
	grid_column(g, "n_experts", "experts", COLUMN_NUMBER);
	columns_of_model(g);
	grid_column(g, "seeds", "seeds", COLUMN_NUMBER);
	grid_column(g, "loss", "loss", COLUMN_INTERVAL);
	grid_column(g, "difference", "to baseline", COLUMN_INTERVAL);
	grid_column(g, "speedup_tokens", "speed-up", COLUMN_INTERVAL);
	grid_column(g, "drop", "dropped", COLUMN_NUMBER);
	grid_column(g, "least_load", "least load x E", COLUMN_NUMBER);
	grid_column(g, "published_loss", "published loss", COLUMN_NUMBER);
	grid_column(g, "published_speedup", "published speed-up", COLUMN_NUMBER);
}

static void row(struct study *s, struct grid *g, const struct arm *v)
{
	double n = arm_number(v, key);

	grid_row(g);
	if (isfinite(n))
		grid_number(g, n, "%.0f", n);
	else
		grid_number(g, NAN, "dense");
	cells_of_model(g, s, v);
	grid_number(g, v->n, "%d", v->n);
	cell_mean(g, ARM_MEAN(v, final_loss), 3);
	cell_difference(g, s, v);
	cell_speedup(g, s, v);
	cell_share(g, ARM_MEAN(v, drop));
	cell_value(g, ARM_MEAN(v, least_load).mean, 2);
	cell_published(g, s, v, "loss");
	cell_published(g, s, v, "speedup");
}

static int fill(struct study *s, struct grid *g)
{
	const struct arm **sorted = study_rows(s, arms_numbers(s, key));

	table_title(g, s, "final loss by number of experts (nats per token)");
	columns(g);
	for (int i = 0; i < s->n_arms; i++)
		row(s, g, sorted[i]);
	row_of_null_loss(g, s, 1, 8);
	notes_add(&g->notes, NOTE_PLAIN,
		"speed-up: tokens of the baseline to its final loss / tokens of the row;"
		" least load: smallest share of any expert in any layer at the end, times the"
		" number of experts");
	return 0;
}

const struct table table_experts = {
	.name = "experts",
	.place = 3,
	.help = "final loss and speed-up by number of experts",
	.applies = applies,
	.needs = "axis model.moe.n_experts",
	.fill = fill,
};
