/* moelab bench scale: the cost of training as one thing grows at a time, and what of it is explained. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "cmd/bench.h"
#include "measure/rate.h"
#include "op/experts.h"
#include "train/cost.h"

struct point {
	const char *value;		/* as printed */
	const char *keys[2];		/* key=value; NULL: none */
};

enum { MAX_POINTS = 8 };

/* Contexts keep 16,384 tokens a step; numbers of experts keep the width of each, so active parameters
   grow by the router alone. */
static const struct axis {
	const char *name, *needs;	/* needs: a key of the architecture, or NULL */
	struct point points[MAX_POINTS];
	bool threads;			/* points are numbers of threads, not keys */
} axes[] = {
	{"context", NULL, {{"256", {"train.context=256", "train.batch=64"}},
		{"1024", {"train.context=1024", "train.batch=16"}},
		{"4096", {"train.context=4096", "train.batch=4"}},
		{"16384", {"train.context=16384", "train.batch=1"}}}, false},
	{"d_model", NULL, {{"64", {"model.d_model=64"}}, {"128", {"model.d_model=128"}},
		{"256", {"model.d_model=256"}}, {"512", {"model.d_model=512"}}}, false},
	{"experts", "model.moe.n_experts", {{"1", {"model.moe.n_experts=1"}},
		{"4", {"model.moe.n_experts=4"}}, {"16", {"model.moe.n_experts=16"}},
		{"64", {"model.moe.n_experts=64"}}}, false},
	{"threads", NULL, {{"1", {NULL}}, {"2", {NULL}}, {"4", {NULL}}, {"8", {NULL}}}, true},
};

struct measured {
	const char *value;
	double tokens_per_s, step_s, flops_per_s, planned_bytes;
	/* A step's work by declared cost, as far as it grows with the number of experts. */
	double bytes;			/* of all operators and of the update */
	double expert_flops, other_flops;	/* experts: without dropped tokens */
	double expert_rate;		/* FLOP/s of products as few rows as an expert has */
	double explained_s;		/* NaN: nothing is claimed */
};

/* ---- measuring ------------------------------------------------------------------------------ */

/* Products of the experts alone, at their mean number of rows. */
static double expert_rate(const struct op_shapes *s)
{
	long rows = tensor_rows(s->in[EXPERTS_XE_SD]), experts = s->in[EXPERTS_W1_EFD]->dims[0];

	return rate_gemm_rows((rows + experts - 1) / experts, s->in[EXPERTS_W1_EFD]->dims[2],
		s->in[EXPERTS_W1_EFD]->dims[1]);
}

static void add_work(struct measured *m, const struct graph *g, double times, double kept)
{
	for (int i = 0; i < graph_n_nodes(g); i++) {
		struct graph_node_info n = graph_node_info(g, i);
		double flops = n.cost.forward_flops + (n.has_backward ? n.cost.backward_flops : 0);
		m->bytes += times * (n.cost.forward_bytes + (n.has_backward ? n.cost.backward_bytes : 0));
		if (n.op != &op_experts) {
			m->other_flops += times * flops;
			continue;
		}
		m->expert_flops += times * flops * kept;
		if (!m->expert_rate)
			m->expert_rate = expert_rate(n.shapes);
	}
}

static void measure_setup(struct bench *b, struct setup *s, struct measured *m)
{
	double dropped;
	struct cost cost;

	cost_of(s, &cost);
	m->tokens_per_s = rate_train(s, (int)b->steps);
	m->step_s = (double)(s->spec.batch * s->spec.context) / m->tokens_per_s;
	m->flops_per_s = m->tokens_per_s * cost.flops_per_token;
	m->planned_bytes = cost.total_bytes;
	dropped = setup_drop_share(s, s->graphs[GRAPH_TRAIN]);
	add_work(m, s->graphs[GRAPH_TRAIN], (double)s->micro_batches, isnan(dropped) ? 1 : 1 - dropped);
	add_work(m, s->graphs[GRAPH_UPDATE], 1, 1);
}

static int measure_point(struct bench *b, const char *spec, const struct point *p, struct measured *m)
{
	const char *keys[BENCH_MAX_OVERRIDES + 2];
	int n = bench_keys(b, keys, p->keys, !!p->keys[0] + !!p->keys[1]), ret = EXIT_USAGE;
	struct arena arena = {0};
	struct config config;
	struct setup setup;

	*m = (struct measured){.value = p->value, .explained_s = NAN};
	if (!spec_load(&arena, spec, keys, n, spec_schema(), &config) &&
			!setup_open(&setup, &config, b->device, 0)) {
		ret = setup_allocate(&setup) ? EXIT_ENVIRONMENT : EXIT_DONE;
		if (!ret)
			measure_setup(b, &setup, m);
		setup_close(&setup);
	}
	arena_release(&arena);
	return ret;
}

static int measure_axis(struct bench *b, const char *spec, const struct axis *axis, struct measured *m,
	int *n)
{
	int threads = omp_get_max_threads(), ret = 0;

	for (*n = 0; *n < MAX_POINTS && axis->points[*n].value && !ret; ++*n) {
		const struct point *p = &axis->points[*n];
		if (axis->threads && atoi(p->value) > cpu_cores())
			break;
		if (axis->threads)
			cpu_threads(atoi(p->value));
		ret = measure_point(b, spec, p, &m[*n]);
	}
	cpu_threads(threads);
	return ret;
}

/* ---- what explains it --------------------------------------------------------------------------- */

/*
 * What n experts should cost by what one costs: besides it the traffic of more weights, gradients and
 * moments at the rate of copies, the larger router at that of products, and the experts' products at
 * the rate that products of so few rows reach.
 */
static void explain(const struct bench *b, struct measured *m, int n)
{
	for (int i = 0; i < n; i++) {
		double products = m[i].expert_flops / m[i].expert_rate -
			m[0].expert_flops / m[0].expert_rate;
		m[i].explained_s = m[0].step_s + (m[i].bytes - m[0].bytes) / b->copy +
			(m[i].other_flops - m[0].other_flops) / b->gemm + products;
	}
}

static void verdict(const struct bench *b, struct grid *g, const struct axis *axis,
	const struct measured *m, int n)
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

/* ---- telling -------------------------------------------------------------------------------- */

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

static void tell(struct bench *b, struct grid *g, const char *name, const struct axis *axis,
	const struct measured *m)
{
	char shape[64];

	grid_row(g);
	grid_text(g, "%s", axis->name);
	grid_text(g, "%s", m->value);
	number(g, m->tokens_per_s, 1, "%.0f");
	number(g, m->flops_per_s, 1e9, "%.1f");
	number(g, m->planned_bytes, 1048576, "%.1f");
	number(g, m->step_s, 1e-3, "%.1f");
	number(g, m->explained_s, 1e-3, "%.1f");
	number(g, m->step_s / m->explained_s, 1, "%.2f");
	snprintf(shape, sizeof shape, "%s %s", axis->name, m->value);
	bench_report_add(&b->report, "scale", name, shape, "tokens_per_s", m->tokens_per_s);
	bench_report_add(&b->report, "scale", name, shape, "planned_bytes", m->planned_bytes);
}

static bool wanted(const struct bench *b, const char *spec, const struct axis *axis)
{
	if (b->only && strcmp(b->only, axis->name))
		return false;
	return !axis->needs || bench_applies(b, spec, axis->needs);
}

int bench_scale(struct bench *b, const char *spec)
{
	const char *name = bench_name(b, spec);
	struct measured m[MAX_POINTS];
	struct grid g;
	int ret = 0, n;

	bench_ceilings(b);
	grid_init(&g, "bench_scale");
	grid_title(&g, "%s as one thing grows", name);
	columns(&g);
	for (size_t i = 0; i < ARRAY_SIZE(axes) && !ret; i++) {
		if (!wanted(b, spec, &axes[i]))
			continue;
		ret = measure_axis(b, spec, &axes[i], m, &n);
		if (ret)
			break;
		if (!strcmp(axes[i].name, "experts"))
			explain(b, m, n);
		for (int k = 0; k < n; k++)
			tell(b, &g, name, &axes[i], &m[k]);
		verdict(b, &g, &axes[i], m, n);
	}
	if (!ret && !g.n_rows)
		ret = (error("%s has no axis \"%s\" to grow: context, d_model, experts, threads", spec,
			b->only), EXIT_USAGE);
	if (!ret)
		return lab_print(&b->lab, &g);
	grid_release(&g);
	return ret;
}
