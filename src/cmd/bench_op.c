/* moelab bench op: every operator by itself, on the shapes that the architectures of a scale record. */
#include <math.h>
#include <omp.h>
#include <stdio.h>

#include "cmd/bench.h"
#include "measure/op_times.h"
#include "op/scan.h"

static void columns(struct grid *g)
{
	grid_column(g, "operator", "operator", COLUMN_TEXT);
	grid_column(g, "inputs", NULL, COLUMN_TEXT);
	grid_column(g, NULL, "inputs", COLUMN_TEXT);
	grid_column(g, "forward_ms", "fwd ms", COLUMN_NUMBER);
	grid_column(g, "backward_ms", "bwd ms", COLUMN_NUMBER);
	grid_column(g, "gflops_per_s", "GFLOP/s", COLUMN_NUMBER);
	grid_column(g, "gb_per_s", "GB/s", COLUMN_NUMBER);
	grid_column(g, "forward_share", "% of ceiling", COLUMN_NUMBER);
	grid_column(g, "backward_share", "bwd", COLUMN_NUMBER);
	grid_column(g, "share", "both", COLUMN_NUMBER);
	grid_column(g, "forward_error", "error", COLUMN_NUMBER);
	grid_column(g, "backward_error", "bwd", COLUMN_NUMBER);
}

static void cell(struct grid *g, double value, const char *format)
{
	char text[32];

	snprintf(text, sizeof text, format, value);
	grid_number(g, value, "%s", isnan(value) ? "" : text);
}

/* F: products bound it, B: copies do. */
static void share_cell(const struct bench *b, struct grid *g, double floor, double seconds, double flops)
{
	double share = floor > 0 ? 100 * floor / seconds : NAN;

	grid_number(g, share, isnan(share) ? "" : "%.0f %c", share, flops / b->gemm >= floor ? 'F' : 'B');
}

static void row(const struct bench *b, struct grid *g, const struct op_case *c)
{
	const struct op_cost *k = &c->cost;
	bool back = c->op->backward[REF] != NULL;
	double seconds = c->forward_s + (back ? c->backward_s : 0);
	double flops = k->forward_flops + (back ? k->backward_flops : 0);
	double bytes = k->forward_bytes + (back ? k->backward_bytes : 0);

	grid_row(g);
	grid_text(g, "%s", c->op->name);
	grid_text(g, "%s", op_case_shape(c, true, &g->arena));
	grid_text(g, "%s", op_case_shape(c, false, &g->arena));
	cell(g, 1e3 * c->forward_s, "%.3f");
	cell(g, 1e3 * c->backward_s, "%.3f");
	cell(g, flops / seconds / 1e9, "%.1f");
	cell(g, bytes / seconds / 1e9, "%.1f");
	share_cell(b, g, c->forward_floor_s, c->forward_s, k->forward_flops);
	share_cell(b, g, c->backward_floor_s, c->backward_s, k->backward_flops);
	cell(g, 100 * (c->forward_floor_s + c->backward_floor_s) / seconds, "%.0f");
	cell(g, c->forward_error, "%.0e");
	cell(g, c->backward_error, "%.0e");
}

static void notes(const struct bench *b, struct grid *g, const struct op_cases *l)
{
	notes_add(&g->notes, NOTE_PLAIN, "%ld sequences of %ld tokens, device %s, %d threads; medians; each "
		"operator by itself, so its operands may lie in a cache", l->batch, l->context,
		b->device->name, omp_get_max_threads());
	notes_add(&g->notes, NOTE_PLAIN, "ceilings measured here: %.0f GFLOP/s in matrix products (F), "
		"%.1f GB/s in copies (B); the share is of the one that bounds the operator by its declared "
		"FLOPs and fewest bytes", b->gemm / 1e9, b->copy / 1e9);
	if (device_is_host(b->device))
		notes_add(&g->notes, NOTE_PLAIN, "error: largest difference from the float64 reference by "
			"the largest value of its tensor, on one sequence of %d tokens at the same widths",
			OP_CHECK_TOKENS);
	if (!b->all)
		notes_add(&g->notes, NOTE_PLAIN, "of each operator the costliest shape; --all lists every one");
	if (l->n_too_large)
		notes_add(&g->notes, NOTE_PLAIN, "%d nodes left out: they need more than %.0f %% of this "
			"machine's memory", l->n_too_large, 100 * OP_MEMORY_SHARE);
}

static void scan_note(struct grid *g, struct scan_pace p)
{
	notes_add(&g->notes, NOTE_PLAIN, "one core: scan %.2f ns forward and %.2f backward per (token, "
		"channel, state); 2^x of the scan %.3f ns, exp %.3f ns per value", p.forward_ns,
		p.backward_ns, p.exp2_ns, p.exp_ns);
}

static int measure(const struct bench_command *m, struct bench *b, struct op_cases *l, const char *what)
{
	struct grid g;

	grid_init(&g, "bench_op");
	grid_title(&g, "Operators at %s", what);
	columns(&g);
	for (int i = 0; i < l->n_cases; i++) {
		struct op_case *c = &l->cases[i];
		verbose("%s %s", c->op->name, op_case_shape(c, false, &l->arena));
		op_times_measure(b, c);
		row(b, &g, c);
		if (c->op == &op_scan && device_is_host(b->device))
			scan_note(&g, op_times_scan(b, c, what));
	}
	notes(b, &g, l);
	return lab_print(&m->lab, &g);
}

int bench_op(struct bench_command *m, const char *what)
{
	struct op_cases l;
	int ret = op_cases_open(&l, &m->bench, what) ? EXIT_USAGE : measure(m, &m->bench, &l, what);

	op_cases_close(&l);
	return ret;
}
