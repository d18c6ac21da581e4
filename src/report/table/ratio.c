/* Loss by the share of the active parameters in Mamba layers: the paper's table 2 and figure 5. */
#include "report/table.h"

#include <math.h>

/* The baseline stands before all others. */
static const double *order(struct study *s)
{
	double *share = ARENA_ARRAY(&s->arena, double, s->n_arms);

	for (int i = 0; i < s->n_arms; i++)
		share[i] = &s->arms[i] == s->baseline ? NAN : arm_mamba_share(&s->arms[i]);
	return share;
}

static CELL(cell_ratio)
{
	double share = arm_mamba_share(r->v);

	grid_number(g, share, isfinite(share) ? "%.1f : %.1f" : "-", 6 * share, 6 - 6 * share);
}

static const struct column columns[] = {
	{"mamba_share", "Mamba : MoE", COLUMN_NUMBER, .cell = cell_ratio},
	COLUMNS_OF_MODEL,
	{"expand", "expand", COLUMN_NUMBER, .cell = cell_key, .key = "model.ssm.expand", .digits = 2},
	{"d_expert", "d_expert", COLUMN_NUMBER, .cell = cell_key, .key = "model.moe.d_expert"},
	COLUMN_EXPERTS,
	COLUMN_SEEDS,
	COLUMN_LOSS,
	COLUMN_DIFFERENCE,
	COLUMN_SPEEDUP,
	COLUMN_PUBLISHED("loss", "published loss"),
	COLUMN_PUBLISHED("speedup", "published speed-up"),
};

const struct table table_ratio = {
	.name = "ratio",
	.place = 5,
	.help = "final loss by the share of the active parameters in Mamba layers",
	.applies = study_has_shares,
	.needs = "mixtures that differ in their share of Mamba",
	.title = "final loss by share of Mamba",
	.of_losses = true,
	.columns = columns,
	.n_columns = ARRAY_SIZE(columns),
	.order = order,
	.notes = {"Mamba : MoE: sixths of the active parameters in Mamba layers and norms, and in channel"
		" mixers (one expert of a mixture and its router, or dense)"},
};
