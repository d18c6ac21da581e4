/* What dropping tokens costs: loss by capacity factor, with and without drops in the evaluation. */
#include "report/table.h"

#include <math.h>

static CELL(cell_flops_per_token)
{
	const struct run_data *run = r->v->runs[0];

	put_flops(g, run->flops / run->tokens, 0);
}

static const char key[] = "model.moe.capacity_factor";

/* 0 is no limit, above all others. */
static const double *order(struct study *s)
{
	double *x = ARENA_ARRAY(&s->arena, double, s->n_arms);

	for (int i = 0; i < s->n_arms; i++) {
		double capacity = arm_number(&s->arms[i], key);
		x[i] = capacity == 0 ? INFINITY : capacity;
	}
	return x;
}

static void put_capacity(struct grid *g, double value, int digits)
{
	if (value == 0)
		grid_number(g, value, "all");
	else
		put_value(g, value, digits);
}

static CELL(cell_capacity)
{
	put_capacity(g, arm_number(r->v, key), c->digits);
}

static const struct column columns[] = {
	{"capacity_factor", "capacity", COLUMN_NUMBER, .cell = cell_capacity, .digits = 2},
	{"capacity_end", "at the end", COLUMN_NUMBER, .cell = cell_average, OF(capacity), .put = put_capacity,
		.digits = 2},
	COLUMN_EXPERTS,
	COLUMNS_OF_MODEL,
	COLUMN_SEEDS,
	COLUMN_LOSS,
	COLUMN_DROPLESS,
	COLUMN_DROP,
	COLUMN_DIFFERENCE,
	COLUMN_SPEEDUP,
	{"flops_per_token", "FLOPs/token", COLUMN_NUMBER, .cell = cell_flops_per_token},
	COLUMN_PUBLISHED("loss", "published"),
};

const struct table table_capacity = {
	.name = "capacity",
	.place = 4,
	.help = "final loss, dropped tokens and loss without drops by capacity factor",
	.axis = key,
	.order = order,
	.title = "final loss by capacity factor",
	.of_losses = true,
	.columns = columns,
	.n_columns = ARRAY_SIZE(columns),
	.notes = {"no drops: the last evaluation repeated without capacity; FLOPs count"
		" the routed tokens that were computed", "at the end: capacity as training has moved it,"
		" mean over routers and seeds; all: an expert takes all tokens that choose it"},
};
