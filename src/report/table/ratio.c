/* Loss by the share of the active parameters in Mamba layers: the paper's table 2 and figure 5. */
#include "report/table.h"

#include <math.h>

/* The baseline stands before all others. */
static const double *places(struct study *s)
{
	double *share = ARENA_ARRAY(&s->arena, double, s->n_arms);

	for (int i = 0; i < s->n_arms; i++)
		share[i] = &s->arms[i] == s->baseline ? NAN : arm_mamba_share(&s->arms[i]);
	return share;
}

static void columns(struct grid *g)
{
	grid_column(g, "mamba_share", "Mamba : MoE", COLUMN_NUMBER);
	columns_of_model(g);
	grid_column(g, "expand", "expand", COLUMN_NUMBER);
	grid_column(g, "d_expert", "d_expert", COLUMN_NUMBER);
	grid_column(g, "n_experts", "experts", COLUMN_NUMBER);
	grid_column(g, "seeds", "seeds", COLUMN_NUMBER);
	grid_column(g, "loss", "loss", COLUMN_INTERVAL);
	grid_column(g, "difference", "to baseline", COLUMN_INTERVAL);
	grid_column(g, "speedup_tokens", "speed-up", COLUMN_INTERVAL);
	grid_column(g, "published_loss", "published loss", COLUMN_NUMBER);
	grid_column(g, "published_speedup", "published speed-up", COLUMN_NUMBER);
}

static void row(struct study *s, struct grid *g, const struct arm *v)
{
	double share = arm_mamba_share(v);

	grid_row(g);
	if (isfinite(share))
		grid_number(g, share, "%.1f : %.1f", 6 * share, 6 - 6 * share);
	else
		grid_number(g, NAN, "-");
	cells_of_model(g, s, v);
	cell_value(g, arm_number(v, "model.ssm.expand"), 2);
	cell_value(g, arm_number(v, "model.moe.d_expert"), 0);
	cell_value(g, arm_number(v, "model.moe.n_experts"), 0);
	grid_number(g, v->n, "%d", v->n);
	cell_mean(g, ARM_MEAN(v, final_loss), 3);
	cell_difference(g, s, v);
	cell_speedup(g, s, v);
	cell_published(g, s, v, "loss");
	cell_published(g, s, v, "speedup");
}

static int fill(struct study *s, struct grid *g)
{
	const struct arm **sorted = study_rows(s, places(s));

	table_title(g, s, "final loss by share of Mamba (nats per token)");
	columns(g);
	for (int i = 0; i < s->n_arms; i++)
		row(s, g, sorted[i]);
	row_of_null_loss(g, s, 1, 11);
	notes_add(&g->notes, NOTE_PLAIN,
		"Mamba : MoE: sixths of the active parameters in Mamba layers and norms, and in channel"
		" mixers (one expert of a mixture and its router, or dense)");
	return 0;
}

const struct table table_ratio = {
	.name = "ratio",
	.place = 5,
	.help = "final loss by the share of the active parameters in Mamba layers",
	.applies = study_has_shares,
	.needs = "mixtures that differ in their share of Mamba",
	.fill = fill,
};
