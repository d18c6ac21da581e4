/* Loss by number of experts: the paper's table 4. */
#include "report/table.h"

#include <math.h>

static CELL(cell_experts)
{
	double n = arm_number(r->v, c->key);

	grid_number(g, n, isfinite(n) ? "%.0f" : "dense", n);
}

static const struct column columns[] = {
	{"n_experts", "experts", COLUMN_NUMBER, .cell = cell_experts, .key = "model.moe.n_experts"},
	COLUMNS_OF_MODEL,
	COLUMN_SEEDS,
	COLUMN_LOSS,
	COLUMN_DIFFERENCE,
	COLUMN_SPEEDUP,
	COLUMN_DROP,
	{"least_load", "least load x E", COLUMN_NUMBER, .cell = cell_average, OF(least_load),
		.put = put_value, .digits = 2},
	COLUMN_PUBLISHED("loss", "published loss"),
	COLUMN_PUBLISHED("speedup", "published speed-up"),
};

const struct table table_experts = {
	.name = "experts",
	.place = 3,
	.help = "final loss and speed-up by number of experts",
	.axis = "model.moe.n_experts",
	.title = "final loss by number of experts",
	.of_losses = true,
	.columns = columns,
	.n_columns = ARRAY_SIZE(columns),
	.notes = {"speed-up: tokens of the baseline to its final loss / tokens of the row;"
		" least load: smallest share of any expert in any layer at the end, times the"
		" number of experts"},
};
