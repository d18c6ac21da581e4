/* moelab bench step: a training step as a whole and by operator, or against the same with a key changed. */
#include <jansson.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "cmd/bench.h"
#include "measure/rate.h"
#include "plan/match.h"
#include "train/cost.h"

enum { BENCH_MAX_ROUNDS = 101 };

struct step {
	struct setup setup;
	struct cost cost;
	double tokens_per_s, peak_bytes;
};

/* All nodes of one operator. */
struct row {
	const struct op *op;
	int n;
	double forward_s, backward_s;	/* of all, per step */
	double forward_flops, backward_flops, forward_bytes, backward_bytes;
};

static struct row *row_find(struct row *rows, int *n, const struct op *op)
{
	for (int i = 0; i < *n; i++)
		if (rows[i].op == op)
			return &rows[i];
	rows[*n] = (struct row){.op = op};
	return &rows[(*n)++];
}

static int slower_first(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	double p = x->forward_s + x->backward_s, q = y->forward_s + y->backward_s;

	return (p < q) - (p > q);
}

/* Times by node of one graph, added to rows. */
static void add_rows(struct row *rows, int *n, const struct graph *g, const struct graph_profile *p,
	double steps, double micro_batches)
{
	for (int i = 0; i < graph_n_nodes(g); i++) {
		struct graph_node_info node = graph_node_info(g, i);
		struct row *r = row_find(rows, n, node.op);
		r->n++;
		r->forward_s += p->forward_s[i] / steps;
		r->backward_s += p->backward_s[i] / steps;
		r->forward_flops += node.cost.forward_flops * micro_batches;
		r->backward_flops += node.has_backward ? node.cost.backward_flops * micro_batches : 0;
		r->forward_bytes += node.cost.forward_bytes * micro_batches;
		r->backward_bytes += node.has_backward ? node.cost.backward_bytes * micro_batches : 0;
	}
}

/* "-": there is none of it. */
static const char *per_s(double amount, double seconds, char text[16])
{
	snprintf(text, 16, amount > 0 && seconds > 0 ? "%.1f" : "-", amount / seconds / 1e9);
	return text;
}

static void print_rows(const struct row *rows, int n, const struct bench *b)
{
	double total = 0;

	for (int i = 0; i < n; i++)
		total += rows[i].forward_s + rows[i].backward_s;
	printf("\n%-14s %4s %9s %9s %6s %9s %9s %8s %8s\n", "operator", "n", "fwd ms", "bwd ms",
		"share", "fwd GF/s", "bwd GF/s", "fwd GB/s", "bwd GB/s");
	for (int i = 0; i < n; i++) {
		const struct row *r = &rows[i];
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

static void print_step(const struct bench *b, const struct step *s)
{
	double flops = s->tokens_per_s * s->cost.flops_per_token;
	long tokens = s->setup.spec.batch * s->setup.spec.context;
	char planned[32], peak[32];

	printf("%s: %.0f tokens/s, %.1f ms per step of %ld tokens, %.1f GFLOP/s by model FLOPs: %.1f %% "
		"of the matrix rate\nmemory planned %s, peak %s\n", s->setup.config->file, s->tokens_per_s,
		1e3 * (double)tokens / s->tokens_per_s, tokens, flops / 1e9, 100 * flops / b->gemm,
		str_bytes(s->cost.total_bytes, planned),
		str_bytes(s->peak_bytes, peak));
}

static void print_json(const struct bench *b, const struct step *s, const struct row *rows, int n)
{
	json_t *ops = json_array(), *root;

	for (int i = 0; i < n; i++)
		json_array_append_new(ops, json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "op",
			rows[i].op->name, "n", rows[i].n, "forward_s", rows[i].forward_s, "backward_s",
			rows[i].backward_s, "forward_flops", rows[i].forward_flops, "backward_flops",
			rows[i].backward_flops, "forward_bytes", rows[i].forward_bytes, "backward_bytes",
			rows[i].backward_bytes));
	root = json_pack("{s:s, s:s, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:o}", "spec",
		s->setup.config->file, "device", s->setup.device->name, "threads", omp_get_max_threads(),
		"blas_core", blas_core(), "tokens_per_s", s->tokens_per_s, "flops_per_token",
		s->cost.flops_per_token, "gemm_flops_per_s", b->gemm, "copy_bytes_per_s", b->copy,
		"peak_rss_bytes", s->peak_bytes, "ops", ops);
	json_dumpf(root, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(root);
}

static struct graph_profile profile_new(const struct graph *g)
{
	size_t n = (size_t)graph_n_nodes(g);

	return (struct graph_profile){xcalloc(n, sizeof(double)), xcalloc(n, sizeof(double))};
}

static void profile_free(struct graph_profile *p)
{
	free(p->forward_s);
	free(p->backward_s);
}

static void report(struct bench *b, const struct step *s, const struct row *rows, int n)
{
	const char *name = bench_name(b, s->setup.config->file);

	bench_report_add(&b->report, "step", name, "", "tokens_per_s", s->tokens_per_s);
	bench_report_add(&b->report, "step", name, "", "model_flops_per_s",
		s->tokens_per_s * s->cost.flops_per_token);
	bench_report_add(&b->report, "step", name, "", "planned_bytes", s->cost.total_bytes);
	bench_report_add(&b->report, "step", name, "", "peak_bytes", s->peak_bytes);
	for (int i = 0; i < n; i++)
		bench_report_add(&b->report, "step", name, rows[i].op->name, "ms",
			1e3 * (rows[i].forward_s + rows[i].backward_s));
}

/* First the step as users run it, then once more with a clock around each call. */
static void measure(struct bench *b, struct step *step)
{
	struct setup *s = &step->setup;
	struct graph *t = s->graphs[GRAPH_TRAIN], *u = s->graphs[GRAPH_UPDATE];
	struct graph_profile train = profile_new(t), update = profile_new(u);
	struct row *rows = xcalloc((size_t)(graph_n_nodes(t) + graph_n_nodes(u)), sizeof *rows);
	double steps = (double)(b->steps + rate_warm_up(b->device));
	int n = 0;

	step->tokens_per_s = rate_train(s, (int)b->steps);
	step->peak_bytes = device_is_host(b->device) ? cpu_peak_rss_bytes()
		: device_memory_bytes(b->device) - device_free_bytes(b->device);	/* before the ceilings take memory of their own */
	bench_ceilings(b);
	graph_profile(t, &train);
	graph_profile(u, &update);
	rate_train(s, (int)b->steps);
	add_rows(rows, &n, t, &train, steps, (double)s->micro_batches);
	add_rows(rows, &n, u, &update, steps, 1);
	qsort(rows, (size_t)n, sizeof *rows, slower_first);
	if (b->lab.json) {
		print_json(b, step, rows, n);
	} else {
		print_step(b, step);
		print_rows(rows, n, b);
	}
	report(b, step, rows, n);
	free(rows);
	profile_free(&train);
	profile_free(&update);
}

/* Loads, plans and allocates; setup_close() ends it. An exit code. */
static int open_step(struct bench *b, const char *spec, const char *change, struct arena *a,
	struct config *config, struct step *s)
{
	const char *keys[BENCH_MAX_OVERRIDES + 1];
	int n = bench_keys(b, keys, &change, change != NULL), ret;

	if (match_load(a, spec, keys, n, b->device, config) || setup_open(&s->setup, config, b->device, 0))
		return EXIT_USAGE;
	cost_of(&s->setup, &s->cost);
	ret = setup_allocate(&s->setup) ? EXIT_ENVIRONMENT : EXIT_DONE;
	if (ret)
		setup_close(&s->setup);
	return ret;
}

static int one(struct bench *b, const char *spec)
{
	struct arena arena = {0};
	struct config config;
	struct step s = {0};
	int ret = open_step(b, spec, NULL, &arena, &config, &s);

	if (!ret) {
		measure(b, &s);
		setup_close(&s.setup);
	}
	arena_release(&arena);
	return ret;
}

/* ---- one key changed ---------------------------------------------------------------------------- */

struct side {
	struct cost cost;
	double seconds[BENCH_MAX_ROUNDS];	/* per step */
};

static int round_of(struct bench *b, const char *spec, const char *change, int round, struct side *side)
{
	struct arena arena = {0};
	struct config config;
	struct step s = {0};
	int ret = open_step(b, spec, change, &arena, &config, &s);

	if (!ret) {
		double tokens = (double)(s.setup.spec.batch * s.setup.spec.context);
		side->cost = s.cost;
		side->seconds[round] = tokens / rate_train(&s.setup, 1);
		setup_close(&s.setup);
	}
	arena_release(&arena);
	return ret;
}

static void side_row(struct bench *b, struct grid *g, const char *name, const struct side *s, int rounds,
	const struct side *base)
{
	double seconds[BENCH_MAX_ROUNDS], ratio[BENCH_MAX_ROUNDS], median;
	char text[32];

	for (int i = 0; i < rounds; i++) {
		seconds[i] = s->seconds[i];
		ratio[i] = s->seconds[i] / base->seconds[i];
	}
	grid_row(g);
	grid_text(g, "%s", name);
	median = bench_median(seconds, rounds);
	grid_number(g, 1e3 * median, "%.1f", 1e3 * median);
	bench_report_add(&b->report, "step", name, "in turn", "ms", 1e3 * median);
	median = bench_median(ratio, rounds);
	grid_number(g, median, "%.3f", median);
	grid_number(g, s->cost.activation_bytes, "%s", str_bytes(s->cost.activation_bytes, text));
	median = s->cost.activation_bytes / base->cost.activation_bytes;
	grid_number(g, median, "%.3f", median);
	grid_number(g, s->cost.total_bytes, "%s", str_bytes(s->cost.total_bytes, text));
	bench_report_add(&b->report, "step", name, "", "activation_bytes", s->cost.activation_bytes);
}

/* Rounds of both in turn, so that a machine that grows slower or faster favours neither; one in memory
   at a time. */
static int pair(struct bench *b, const char *spec)
{
	struct side *sides = xcalloc(2, sizeof *sides);
	int rounds = b->steps < BENCH_MAX_ROUNDS ? (int)b->steps : BENCH_MAX_ROUNDS, ret = 0;
	const char *name = bench_name(b, spec);
	struct grid g;

	for (int i = 0; i < 2 * rounds && !ret; i++)
		ret = round_of(b, spec, i % 2 ? b->against : NULL, i / 2, &sides[i % 2]);
	if (!ret) {
		grid_init(&g, "bench_pair");
		grid_title(&g, "A step, with and without %s", b->against);
		grid_column(&g, "spec", "spec", COLUMN_TEXT);
		grid_column(&g, "ms", "ms per step", COLUMN_NUMBER);
		grid_column(&g, "time_ratio", "time", COLUMN_NUMBER);
		grid_column(&g, "activation_bytes", "activations", COLUMN_NUMBER);
		grid_column(&g, "activation_ratio", "of them", COLUMN_NUMBER);
		grid_column(&g, "planned_bytes", "all memory", COLUMN_NUMBER);
		side_row(b, &g, name, &sides[0], rounds, &sides[0]);
		side_row(b, &g, arena_printf(&b->report.arena, "%s %s", name, b->against), &sides[1],
			rounds, &sides[0]);
		notes_add(&g.notes, NOTE_PLAIN, "%d steps of each, in turn, after one to warm up: medians of "
			"times and of the ratios of neighbours; activations: the arena, with gradients and "
			"workspace", rounds);
		ret = lab_print(&b->lab, &g);
	}
	free(sides);
	return ret;
}

int bench_step(struct bench *b, const char *spec)
{
	return b->against ? pair(b, spec) : one(b, spec);
}
