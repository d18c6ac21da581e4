/* moelab bench step: a training step as a whole and by operator, or against the same with a key changed. */
#include <jansson.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "cmd/bench.h"
#include "measure/step_times.h"

/* "-": there is none of it. */
static const char *per_s(double amount, double seconds, char text[16])
{
	snprintf(text, 16, amount > 0 && seconds > 0 ? "%.1f" : "-", amount / seconds / 1e9);
	return text;
}

static void print_rows(const struct bench *b, const struct step_times *s)
{
	const struct step_row *rows = s->rows;
	double total = 0;

	for (int i = 0; i < s->n_rows; i++)
		total += rows[i].forward_s + rows[i].backward_s;
	printf("\n%-14s %4s %9s %9s %6s %9s %9s %8s %8s\n", "operator", "n", "fwd ms", "bwd ms",
		"share", "fwd GF/s", "bwd GF/s", "fwd GB/s", "bwd GB/s");
	for (int i = 0; i < s->n_rows; i++) {
		const struct step_row *r = &rows[i];
		char text[4][16];
		printf("%-14s %4d %9.3f %9.3f %5.1f%% %9s %9s %8s %8s\n", r->op->name, r->n,
			1e3 * r->forward_s, 1e3 * r->backward_s,
			100 * (r->forward_s + r->backward_s) / total,
			per_s(r->forward_flops, r->forward_s, text[0]),
			per_s(r->backward_flops, r->backward_s, text[1]),
			per_s(r->forward_bytes, r->forward_s, text[2]),
			per_s(r->backward_bytes, r->backward_s, text[3]));
	}
	printf("measured ceilings: %.0f GFLOP/s, %.1f GB/s on %d threads\n", b->gemm / 1e9,
		b->copy / 1e9, omp_get_max_threads());
}

static void print_step(const struct bench *b, const struct step_times *s)
{
	double flops = s->tokens_per_s * s->cost.flops_per_token;
	char planned[32], peak[32];

	printf("%s: %.0f tokens/s, %.1f ms per step of %ld tokens, %.1f GFLOP/s by model FLOPs: %.1f %% "
		"of the matrix rate\nmemory planned %s, peak %s\n", s->config.file, s->tokens_per_s,
		1e3 * (double)s->batch_tokens / s->tokens_per_s, s->batch_tokens, flops / 1e9, 100 * flops / b->gemm,
		str_bytes(s->cost.total_bytes, planned),
		str_bytes(s->peak_bytes, peak));
}

static void print_json(const struct bench *b, const struct step_times *s)
{
	const struct step_row *rows = s->rows;
	json_t *ops = json_array(), *root;

	for (int i = 0; i < s->n_rows; i++)
		json_array_append_new(ops, json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "op",
			rows[i].op->name, "n", rows[i].n, "forward_s", rows[i].forward_s, "backward_s",
			rows[i].backward_s, "forward_flops", rows[i].forward_flops, "backward_flops",
			rows[i].backward_flops, "forward_bytes", rows[i].forward_bytes, "backward_bytes",
			rows[i].backward_bytes));
	root = json_pack("{s:s, s:s, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:o}", "spec",
		s->config.file, "device", b->device->name, "threads", omp_get_max_threads(),
		"blas_core", blas_core(), "tokens_per_s", s->tokens_per_s, "flops_per_token",
		s->cost.flops_per_token, "gemm_flops_per_s", b->gemm, "copy_bytes_per_s", b->copy,
		"peak_rss_bytes", s->peak_bytes, "ops", ops);
	json_dumpf(root, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(root);
}

static int one(struct bench_command *m, const char *spec)
{
	struct step_times t;
	int ret = step_times_measure(&t, &m->bench, spec);

	if (!ret && m->lab.json) {
		print_json(&m->bench, &t);
	} else if (!ret) {
		print_step(&m->bench, &t);
		print_rows(&m->bench, &t);
	}
	arena_release(&t.arena);
	return ret;
}

/* ---- one key changed ---------------------------------------------------------------------------- */

static void side_row(struct grid *g, const char *name, const struct step_side *s,
	const struct step_side *base)
{
	double share = s->cost.activation_bytes / base->cost.activation_bytes;
	char text[32];

	grid_row(g);
	grid_text(g, "%s", name);
	grid_number(g, 1e3 * s->median_s, "%.1f", 1e3 * s->median_s);
	grid_number(g, s->ratio, "%.3f", s->ratio);
	grid_number(g, s->cost.activation_bytes, "%s", str_bytes(s->cost.activation_bytes, text));
	grid_number(g, share, "%.3f", share);
	grid_number(g, s->cost.total_bytes, "%s", str_bytes(s->cost.total_bytes, text));
}

static int print_pair(struct bench_command *m, const char *spec, const struct step_side *sides, int rounds)
{
	struct bench *b = &m->bench;
	const char *name = bench_name(b, spec);
	struct grid g;

	grid_init(&g, "bench_pair");
	grid_title(&g, "A step, with and without %s", m->against);
	grid_column(&g, "spec", "spec", COLUMN_TEXT);
	grid_column(&g, "ms", "ms per step", COLUMN_NUMBER);
	grid_column(&g, "time_ratio", "time", COLUMN_NUMBER);
	grid_column(&g, "activation_bytes", "activations", COLUMN_NUMBER);
	grid_column(&g, "activation_ratio", "of them", COLUMN_NUMBER);
	grid_column(&g, "planned_bytes", "all memory", COLUMN_NUMBER);
	side_row(&g, name, &sides[0], &sides[0]);
	side_row(&g, arena_printf(&b->report.arena, "%s %s", name, m->against), &sides[1], &sides[0]);
	notes_add(&g.notes, NOTE_PLAIN, "%d steps of each, in turn, after one to warm up: medians of "
		"times and of the ratios of neighbours; activations: the arena, with gradients and "
		"workspace", rounds);
	return lab_print(&m->lab, &g);
}

static int pair(struct bench_command *m, const char *spec)
{
	struct step_side *sides = xcalloc(2, sizeof *sides);
	int rounds, ret = step_times_pair(&m->bench, spec, m->against, sides, &rounds);

	if (!ret)
		ret = print_pair(m, spec, sides, rounds);
	free(sides);
	return ret;
}

int bench_step(struct bench_command *m, const char *spec)
{
	return m->against ? pair(m, spec) : one(m, spec);
}
