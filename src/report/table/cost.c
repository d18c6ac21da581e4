/* What each variant costs: FLOPs, time, memory. */
#include "report/table.h"

#include "base/str.h"

#include <math.h>

enum { SPEED = 10 }; /* column that the null row finds by number */

static void columns(struct grid *g)
{
	columns_of_model(g);
	grid_column(g, "flops_per_token", "FLOPs/token", COLUMN_NUMBER);
	grid_column(g, "head_share", "head", COLUMN_NUMBER);
	grid_column(g, "tokens", "tokens", COLUMN_NUMBER);
	grid_column(g, "flops", "FLOPs", COLUMN_NUMBER);
	grid_column(g, "seconds", "train seconds", COLUMN_NUMBER);
	grid_column(g, "tokens_per_s", "tokens/s", COLUMN_INTERVAL);
	grid_column(g, "gflops_per_s", "GFLOP/s", COLUMN_NUMBER);
	grid_column(g, "memory_bytes", "memory", COLUMN_NUMBER);
	grid_column(g, "device", "device", COLUMN_TEXT);
	grid_column(g, "threads", "threads", COLUMN_NUMBER);
	grid_column(g, "jobs", "beside", COLUMN_NUMBER);
}

static void cell_flops(struct grid *g, double n)
{
	char buffer[32];

	grid_number(g, n, "%s", text_flops(n, buffer));
}

static void row(struct study *s, struct grid *g, const struct arm *v)
{
	const struct run_data *r = v->runs[0];
	struct interval speeds = ARM_MEAN(v, tokens_per_s);
	const char *mark = arm_alone(v) ? "" : "~";
	double time = ARM_MEAN(v, seconds).mean;
	char buffer[32];

	grid_row(g);
	cells_of_model(g, s, v);
	cell_flops(g, r->flops_per_token);
	cell_share(g,
		(struct interval){.mean = s->options.no_head_flops
						  ? 0
						  : r->head_flops_per_token / r->flops_per_token});
	cell_count(g, ARM_MEAN(v, tokens).mean);
	cell_flops(g, ARM_MEAN(v, flops).mean);
	grid_number(g, time, isfinite(time) ? "%s%.1f" : "-", mark, time);
	grid_interval(g, speeds.mean, speeds.low, speeds.high,
		isfinite(speeds.mean) ? "%s%.0f" : "-", mark, speeds.mean);
	cell_value(g, ARM_MEAN(v, flops).mean / time / 1e9, 1);
	grid_number(g, r->memory_bytes, "%s",
		isfinite(r->memory_bytes) ? str_bytes(r->memory_bytes, buffer) : "-");
	grid_text(g, "%s", r->device ? r->device : "-");
	cell_value(g, r->threads, 0);
	cell_value(g, r->jobs - 1, 0);
}

static void row_of_null_speed(struct study *s, struct grid *g)
{
	const struct arm *b = s->baseline;
	double logs[256];
	int n = 0;

	row_of_null(g, s, 0);
	grid_skip_to(g, SPEED);
	for (int i = 0; i < b->n && n < (int)ARRAY_SIZE(logs); i++)
		if (!b->runs[i]->diverged && b->runs[i]->tokens_per_s > 0)
			logs[n++] = log(b->runs[i]->tokens_per_s);
	double smallest = exp(smallest_difference(logs, n));
	if (isfinite(smallest))
		grid_interval(g, NAN, 1 / smallest, smallest, "%d show %.3gx", n, smallest);
	else
		grid_interval(g, NAN, NAN, NAN, "needs 2 seeds");
}

static int fill(struct study *s, struct grid *g)
{
	table_title(g, s, "cost of training");
	columns(g);
	for (int i = 0; i < s->n_arms; i++)
		row(s, g, &s->arms[i]);
	if (s->baseline)
		row_of_null_speed(s, g);
	notes_add(&g->notes, NOTE_PLAIN,
		"FLOPs are model FLOPs, forward and backward, %s the output head;"
		" seconds are of training alone; memory as planned for weights, optimiser and"
		" activations",
		s->options.no_head_flops ? "without" : "with");
	notes_add(&g->notes, NOTE_PLAIN,
		"beside: other runs on the machine at the same time; ~ marks their seconds");
	return 0;
}

const struct table table_cost = {
	.name = "cost",
	.place = 9,
	.help = "FLOPs, train seconds, tokens per second and memory",
	.fill = fill,
};
