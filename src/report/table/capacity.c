/* What dropping tokens costs: loss by capacity factor, with and without drops in the evaluation. */
#include "report/table.h"

#include <math.h>

static const char key[] = "model.moe.capacity_factor";

static bool applies(const struct study *s)
{
	return study_has_axis(s, key);
}

static void columns(struct grid *g)
{
	grid_column(g, "capacity_factor", "capacity", COLUMN_NUMBER);
	grid_column(g, "n_experts", "experts", COLUMN_NUMBER);
	columns_of_model(g);
	grid_column(g, "seeds", "seeds", COLUMN_NUMBER);
	grid_column(g, "loss", "loss", COLUMN_INTERVAL);
	grid_column(g, "loss_dropless", "no drops", COLUMN_INTERVAL);
	grid_column(g, "drop", "dropped", COLUMN_NUMBER);
	grid_column(g, "difference", "to baseline", COLUMN_INTERVAL);
	grid_column(g, "speedup_tokens", "speed-up", COLUMN_INTERVAL);
	grid_column(g, "flops_per_token", "FLOPs/token", COLUMN_NUMBER);
	grid_column(g, "published_loss", "published", COLUMN_NUMBER);
}

static void row(struct study *s, struct grid *g, const struct arm *v)
{
	double flops = v->runs[0]->flops / v->runs[0]->tokens;
	char buffer[32];

	grid_row(g);
	cell_value(g, arm_number(v, key), 2);
	cell_value(g, arm_number(v, "model.moe.n_experts"), 0);
	cells_of_model(g, s, v);
	grid_number(g, v->n, "%d", v->n);
	cell_mean(g, ARM_MEAN(v, final_loss), 3);
	cell_mean(g, ARM_MEAN(v, loss_dropless), 3);
	cell_share(g, ARM_MEAN(v, drop));
	cell_difference(g, s, v);
	cell_speedup(g, s, v);
	grid_number(g, flops, "%s", text_flops(flops, buffer));
	cell_published(g, s, v, "loss");
}

static int fill(struct study *s, struct grid *g)
{
	const struct arm **sorted = study_rows(s, arms_numbers(s, key));

	table_title(g, s, "final loss by capacity factor (nats per token)");
	columns(g);
	for (int i = 0; i < s->n_arms; i++)
		row(s, g, sorted[i]);
	row_of_null_loss(g, s, 2, 11);
	notes_add(&g->notes, NOTE_PLAIN,
		"no drops: the last evaluation repeated without capacity; FLOPs count"
		" the routed tokens that were computed");
	return 0;
}

const struct table table_capacity = {
	.name = "capacity",
	.place = 4,
	.help = "final loss, dropped tokens and loss without drops by capacity factor",
	.applies = applies,
	.needs = "axis model.moe.capacity_factor",
	.fill = fill,
};
