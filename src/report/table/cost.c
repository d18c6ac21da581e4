/* What each variant costs: FLOPs, time, memory. */
#include "report/table.h"

#include "base/str.h"

#include <math.h>

static CELL(cell_head)
{
	const struct run_data *run = r->v->runs[0];

	put_share(g, r->s->options.no_head_flops ? 0 :
		run->head_flops_per_token / run->flops_per_token, 0);
}

static CELL(cell_seconds)
{
	double time = ARM_MEAN(r->v, seconds).mean;

	grid_number(g, time, isfinite(time) ? "%s%.1f" : "-", mark_of_busy(r), time);
}

static CELL(null_speed)
{
	const struct arm *b = r->s->baseline;
	double logs[256];
	int n = 0;

	for (int i = 0; i < b->n && n < (int)ARRAY_SIZE(logs); i++)
		if (!b->runs[i]->diverged && b->runs[i]->tokens_per_s > 0)
			logs[n++] = log(b->runs[i]->tokens_per_s);
	double smallest = exp(smallest_difference(logs, n));
	if (isfinite(smallest))
		grid_interval(g, NAN, 1 / smallest, smallest, "%d show %.3gx", n, smallest);
	else
		grid_interval(g, NAN, NAN, NAN, "needs 2 seeds");
}

static CELL(cell_flops_per_s)
{
	put_value(g, ARM_MEAN(r->v, flops).mean / ARM_MEAN(r->v, seconds).mean / 1e9, c->digits);
}

static void put_bytes(struct grid *g, double value, int digits)
{
	char buffer[32];

	(void)digits;
	grid_number(g, value, "%s", isfinite(value) ? str_bytes(value, buffer) : "-");
}

static CELL(cell_device)
{
	const char *device = r->v->runs[0]->device;

	grid_text(g, "%s", device ? device : "-");
}

static CELL(cell_beside)
{
	double most = r->v->runs[0]->jobs;

	for (int i = 1; i < r->v->n; i++)
		most = fmax(most, r->v->runs[i]->jobs);
	put_value(g, most - 1, 0);
}

static const struct column columns[] = {
	COLUMNS_OF_MODEL,
	{"flops_per_token", "FLOPs/token", COLUMN_NUMBER, .cell = cell_of_run, OF(flops_per_token),
		.put = put_flops},
	{"head_share", "head", COLUMN_NUMBER, .cell = cell_head},
	{"tokens", "tokens", COLUMN_NUMBER, .cell = cell_average, OF(tokens), .put = put_count},
	{"flops", "FLOPs", COLUMN_NUMBER, .cell = cell_average, OF(flops), .put = put_flops},
	{"seconds", "train seconds", COLUMN_NUMBER, .cell = cell_seconds},
	{"tokens_per_s", "tokens/s", COLUMN_INTERVAL, .cell = cell_speed, .null = null_speed},
	{"gflops_per_s", "GFLOP/s", COLUMN_NUMBER, .cell = cell_flops_per_s, .digits = 1},
	{"memory_bytes", "memory", COLUMN_NUMBER, .cell = cell_of_run, OF(memory_bytes),
		.put = put_bytes},
	{"device", "device", COLUMN_TEXT, .cell = cell_device},
	{"threads", "threads", COLUMN_NUMBER, .cell = cell_of_run, OF(threads), .put = put_value},
	{"jobs", "beside", COLUMN_NUMBER, .cell = cell_beside},
};

static int fill(struct study *s, struct grid *g)
{
	rows_of_arms(g, s, NULL);
	note_flops(g, s, "; seconds are of training alone; memory as planned for weights, optimiser and"
		" activations");
	return 0;
}

const struct table table_cost = {
	.name = "cost",
	.place = 10,
	.help = "FLOPs, train seconds, tokens per second and memory",
	.title = "cost of training",
	.columns = columns,
	.n_columns = ARRAY_SIZE(columns),
	.fill = fill,
	.notes = {"beside: other runs at the same time, on the machine's processors or on the same GPU; ~ marks their "
		"seconds"},
};
