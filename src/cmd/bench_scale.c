/* moelab bench scale: the cost of training as one thing grows at a time, and what of it is explained. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cmd/bench.h"
#include "measure/growth.h"

static void columns(struct grid *g)
{
	grid_column(g, "axis", "axis", COLUMN_TEXT);
	grid_column(g, "value", "value", COLUMN_TEXT);
	grid_column(g, "tokens_per_s", "tokens/s", COLUMN_NUMBER);
	grid_column(g, "flops_per_s", "GFLOP/s", COLUMN_NUMBER);
	grid_column(g, "planned_bytes", "planned MiB", COLUMN_NUMBER);
	grid_column(g, "step_s", "ms per step", COLUMN_NUMBER);
	grid_column(g, "explained_s", "explained ms", COLUMN_NUMBER);
	grid_column(g, "measured_by_explained", "ratio", COLUMN_NUMBER);
}

static void number(struct grid *g, double value, double unit, const char *format)
{
	char text[32];

	snprintf(text, sizeof text, format, value / unit);
	grid_number(g, value, "%s", isnan(value) ? "" : text);
}

static void row(struct grid *g, const struct growth_axis *axis, const struct growth *m)
{
	grid_row(g);
	grid_text(g, "%s", axis->name);
	grid_text(g, "%s", m->value);
	number(g, m->tokens_per_s, 1, "%.0f");
	number(g, m->flops_per_s, 1e9, "%.1f");
	number(g, m->planned_bytes, 1048576, "%.1f");
	number(g, m->step_s, 1e-3, "%.1f");
	number(g, m->explained_s, 1e-3, "%.1f");
	number(g, m->step_s / m->explained_s, 1, "%.2f");
}

static void verdict(const struct bench *b, struct grid *g, const struct growth_axis *axis,
	const struct growth *m, int n)
{
	double least = INFINITY, most = 0, beyond = 0;

	for (int i = 0; i < n; i++) {
		least = fmin(least, m[i].tokens_per_s);
		most = fmax(most, m[i].tokens_per_s);
		beyond = fmax(beyond, m[i].step_s / m[i].explained_s - 1);
	}
	if (!strcmp(axis->name, "context"))
		notes_add(&g->notes, NOTE_PLAIN, "context: tokens/s within %.0f %% from %s to %s, at the same "
			"tokens per step (0: cost linear in the length)", 100 * (1 - least / most),
			m[0].value, m[n - 1].value);
	if (!strcmp(axis->name, "experts"))
		notes_add(&g->notes, NOTE_PLAIN, "experts: at most %.0f %% above the explained cost: that of one "
			"expert, with the traffic of the further weights, gradients and moments at %.1f GB/s, "
			"the router, and products of fewer rows at the rate measured for them",
			100 * beyond, b->copy / 1e9);
}

static int axis_rows(struct bench *b, const char *spec, const struct growth_axis *axis, struct grid *g)
{
	struct growth list[GROWTH_MAX_POINTS];
	int n, ret = growth_measure(b, spec, axis, list, &n);

	if (ret)
		return ret;
	for (int i = 0; i < n; i++)
		row(g, axis, &list[i]);
	verdict(b, g, axis, list, n);
	return EXIT_DONE;
}

int bench_scale(struct bench_command *m, const char *spec)
{
	struct bench *b = &m->bench;
	struct grid g;
	int ret = 0;

	grid_init(&g, "bench_scale");
	grid_title(&g, "%s as one thing grows", bench_name(b, spec));
	columns(&g);
	for (const struct growth_axis *axis = growth_axes; axis->name && !ret; axis++)
		if (growth_wanted(b, spec, axis))
			ret = axis_rows(b, spec, axis, &g);
	if (!ret && !g.n_rows)
		ret = (error("%s has no axis \"%s\" to grow: context, d_model, experts, threads", spec,
			b->only), EXIT_USAGE);
	if (!ret)
		return lab_print(&m->lab, &g);
	grid_release(&g);
	return ret;
}
