/*
 * moelab bench op: every operator by itself, on the shapes that the architectures of a scale record. A
 * spec is recorded twice, alike but for its tokens: the larger one is timed, the smaller one compared
 * with the float64 reference.
 */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/path.h"
#include "cmd/bench.h"
#include "measure/rate.h"
#include "op/lanes.h"
#include "op/scan.h"
#include "op/trial.h"
#include "op/vec.h"
#include "plan/match.h"

enum {
	CHECK_TOKENS = 32,	/* compared with the reference, which is slow */
	MIN_RUNS = 3, MAX_RUNS = 51,
};
#define MIN_SECONDS 0.1		/* of each timed kernel */
#define MEMORY_SHARE 0.4	/* of the machine's, for one operator */

struct recorded {
	struct config config[2];
	struct setup timed, checked;
};

/* An operator on one shape. */
struct op_case {
	const struct op *op;
	const struct op_shapes *timed, *checked;
	struct op_cost cost;
	double forward_floor_s, backward_floor_s;	/* by declared cost and measured rates */
	double forward_s, backward_s;			/* measured; backward NaN: has none */
	double forward_error, backward_error;
};

struct op_list {
	struct arena arena;
	struct recorded *specs[16];
	struct op_case *cases;
	int n_specs, n_cases, capacity;
	int n_too_large;
	long context, batch;
};

/* ---- shapes --------------------------------------------------------------------------------- */

static int record_at(struct bench *b, struct op_list *l, const char *path, long batch, long context,
	struct config *config, struct setup *s)
{
	const char *more[] = {arena_printf(&l->arena, "train.batch=%ld", batch), "train.micro_batch=0",
		arena_printf(&l->arena, "train.context=%ld", context), "model.moe.group_tokens=0"};
	const char *keys[BENCH_MAX_OVERRIDES + ARRAY_SIZE(more)];
	bool routed = bench_applies(b, path, "model.moe.group_tokens");
	int n = bench_keys(b, keys, more, (int)ARRAY_SIZE(more) - !routed);

	return match_load(&l->arena, path, keys, n, b->device, config) ||
		setup_open(s, config, b->device, 0) ? -1 : 0;
}

static double floor_s(const struct bench *b, double flops, double bytes)
{
	return fmax(flops / b->gemm, bytes / b->copy);
}

static struct op_trial_case trial_case(const struct op_case *c, const struct op_shapes *s)
{
	struct op_trial_case t = {.op = c->op, .attr = s->attr,
		.prepare = c->op->n_examples ? c->op->examples[0].prepare : NULL};

	memcpy(t.in, s->in, sizeof t.in);
	return t;
}

static bool too_large(const struct bench *b, const struct op_case *c)
{
	struct op_trial_case timed = trial_case(c, c->timed), checked = trial_case(c, c->checked);
	double bytes = op_trial_bytes(&timed, b->device), ref = op_trial_bytes(&checked,
		&device_list[REF]) + op_trial_bytes(&checked, b->device);

	return fmax(bytes, ref) > MEMORY_SHARE * cpu_memory_bytes();
}

static bool same_shapes(const struct op_case *a, const struct op_case *b)
{
	for (int i = 0; i < a->op->n_in; i++) {
		const struct tensor *x = a->timed->in[i], *y = b->timed->in[i];
		if (!x != !y || (x && !tensor_same_shape(x, y)))
			return false;
	}
	return true;
}

/* Where the case belongs: the place of an equal one, or with !all of a cheaper one of its operator. */
static struct op_case *place_of(struct op_list *l, const struct op_case *c, bool all, bool *better)
{
	*better = true;
	for (int i = 0; i < l->n_cases; i++) {
		struct op_case *x = &l->cases[i];
		if (x->op != c->op || (all && !same_shapes(x, c)))
			continue;
		*better = !all && c->forward_floor_s + c->backward_floor_s >
			x->forward_floor_s + x->backward_floor_s;
		return x;
	}
	if (l->n_cases == l->capacity) {
		l->capacity = l->capacity ? 2 * l->capacity : 64;
		l->cases = xrealloc(l->cases, sizeof *l->cases * (size_t)l->capacity);
	}
	return &l->cases[l->n_cases++];
}

static void add_node(struct bench *b, struct op_list *l, const struct graph_node_info *timed,
	const struct graph_node_info *checked)
{
	struct op_case c = {.op = timed->op, .timed = timed->shapes, .checked = checked->shapes,
		.cost = timed->cost};
	bool better;

	CHECK(timed->op == checked->op);
	if (b->only && strcmp(b->only, c.op->name))
		return;
	c.forward_floor_s = floor_s(b, c.cost.forward_flops, c.cost.forward_bytes);
	if (c.op->backward[REF])
		c.backward_floor_s = floor_s(b, c.cost.backward_flops, c.cost.backward_bytes);
	if (too_large(b, &c)) {
		l->n_too_large++;
		return;
	}
	struct op_case *at = place_of(l, &c, b->all, &better);
	if (better)
		*at = c;
}

static void add_graph(struct bench *b, struct op_list *l, const struct graph *timed,
	const struct graph *checked)
{
	CHECK(graph_n_nodes(timed) == graph_n_nodes(checked));
	for (int i = 0; i < graph_n_nodes(timed); i++) {
		struct graph_node_info t = graph_node_info(timed, i), c = graph_node_info(checked, i);
		add_node(b, l, &t, &c);
	}
}

static int add_spec(struct bench *b, struct op_list *l, const char *path)
{
	const char *keys[BENCH_MAX_OVERRIDES];
	int n = bench_keys(b, keys, NULL, 0);
	struct recorded *r = ARENA_NEW(&l->arena, struct recorded);
	struct config config;

	if (spec_load(&l->arena, path, keys, n, spec_schema(), &config))
		return -1;
	l->context = config_find(&config, "train.context")->integer;
	l->batch = b->tokens > l->context ? b->tokens / l->context : 1;
	if (record_at(b, l, path, l->batch, l->context, &r->config[0], &r->timed))
		return -1;
	if (record_at(b, l, path, 1, CHECK_TOKENS, &r->config[1], &r->checked)) {
		setup_close(&r->timed);
		return -1;
	}
	CHECK(l->n_specs < (int)ARRAY_SIZE(l->specs));
	l->specs[l->n_specs++] = r;
	add_graph(b, l, r->timed.graphs[GRAPH_TRAIN], r->checked.graphs[GRAPH_TRAIN]);
	add_graph(b, l, r->timed.graphs[GRAPH_UPDATE], r->checked.graphs[GRAPH_UPDATE]);
	add_graph(b, l, r->timed.graphs[GRAPH_INIT], r->checked.graphs[GRAPH_INIT]);
	return 0;
}

/* what: a spec, or the name of a folder of experiments, where architectures have files of their name. */
static int add_specs(struct bench *b, struct op_list *l, const char *what)
{
	if (str_ends(what, ".yaml"))
		return add_spec(b, l, what);
	for (const struct arch *const *a = arch_list; *a; a++) {
		const char *path = arena_printf(&l->arena, "experiments/%s/%s.yaml", what, (*a)->name);
		if (path_exists(path) && add_spec(b, l, path))
			return -1;
	}
	return l->n_specs ? 0 : error("no specs in experiments/%s: name a folder that holds some (micro, "
		"25m, 100m), or a spec", what);
}

static void list_release(struct op_list *l)
{
	for (int i = 0; i < l->n_specs; i++) {
		setup_close(&l->specs[i]->timed);
		setup_close(&l->specs[i]->checked);
	}
	free(l->cases);
	arena_release(&l->arena);
}

/* ---- measuring ------------------------------------------------------------------------------ */

/* Median time of a call, after one that warms caches and brings the pages. */
static double time_calls(void (*call)(struct op_trial *t), struct op_trial *t)
{
	double seconds[MAX_RUNS], total = 0;
	int n = 0;

	call(t);
	while (n < MAX_RUNS && (n < MIN_RUNS || total < MIN_SECONDS)) {
		double start = clock_s();
		call(t);
		seconds[n] = clock_s() - start;
		total += seconds[n++];
	}
	return bench_median(seconds, n);
}

static void time_case(const struct bench *b, const struct op_case *c, double *forward_s,
	double *backward_s)
{
	struct op_trial_case what = trial_case(c, c->timed);
	struct op_trial t;

	op_trial_open(&t, &what, b->device);
	*forward_s = time_calls(op_trial_forward, &t);
	*backward_s = NAN;
	if (c->op->backward[REF]) {
		op_trial_fill_d_out(&t);
		*backward_s = time_calls(op_trial_backward, &t);
	}
	op_trial_close(&t);
}

/* Largest difference by the largest value, the worse of this and most; NaN where either holds one. */
static double worse(double most, const struct op_trial *t, const struct tensor *a,
	const struct op_trial *ref, const struct tensor *b)
{
	double difference = 0, size = 0, e;
	bool broken = false;

	#pragma omp parallel for schedule(static) reduction(max: difference, size) reduction(||: broken)
	for (long i = 0; i < (a ? tensor_size(a) : 0); i++) {
		double x = op_trial_get(t, a, i), y = op_trial_get(ref, b, i);
		broken = broken || isnan(x - y);
		difference = fmax(difference, fabs(x - y));
		size = fmax(size, fabs(y));
	}
	e = broken ? NAN : difference == 0 ? 0 : difference / size;
	return e <= most ? most : e;
}

static void check_case(const struct bench *b, struct op_case *c)
{
	struct op_trial_case what = trial_case(c, c->checked);
	struct op_trial t, ref;

	op_trial_open(&t, &what, b->device);
	op_trial_open(&ref, &what, &device_list[REF]);
	op_trial_forward(&t);
	op_trial_forward(&ref);
	for (int i = 0; i < c->op->n_out; i++)
		c->forward_error = worse(c->forward_error, &t, t.out[i], &ref, ref.out[i]);
	for (int i = 0; i < c->op->n_in; i++)
		if (c->op->in[i].flags & IN_UPDATED)
			c->forward_error = worse(c->forward_error, &t, t.in[i], &ref, ref.in[i]);
	c->backward_error = c->op->backward[REF] ? 0 : NAN;
	if (c->op->backward[REF]) {
		op_trial_fill_d_out(&t);
		op_trial_fill_d_out(&ref);
		op_trial_backward(&t);
		op_trial_backward(&ref);
		for (int i = 0; i < c->op->n_in; i++)
			c->backward_error = worse(c->backward_error, &t, t.d_in[i], &ref, ref.d_in[i]);
	}
	op_trial_close(&t);
	op_trial_close(&ref);
}

/* ---- single numbers that the scan stands on, on one core ---------------------------------------- */

typedef void values_fn(float *y, const float *x, int n);

static void exp_values(float *y, const float *x, int n)
{
	#pragma omp simd
	for (int i = 0; i < n; i++)
		y[i] = vec_exp(x[i]);
}

static void exp2_values(float *y, const float *x, int n)
{
	for (int i = 0; i < n; i += LANES)
		lanes_store(y + i, lanes_exp2(lanes_load(x + i)));
}

/* The best time of a value, arguments from `from` to `to`. */
static double value_ns(values_fn *values, float from, float to)
{
	enum { N = 2048, ROUNDS = 20000 };
	float x[N], y[N];
	double best = INFINITY;

	for (int i = 0; i < N; i++)
		x[i] = from + (to - from) * (float)i / N;
	for (int k = 0; k < MIN_RUNS; k++) {
		double start = clock_s();
		for (int r = 0; r < ROUNDS; r++) {
			values(y, x, N);
			__asm__ volatile("" : : "r"(x), "r"(y) : "memory");	/* every round counts */
		}
		best = fmin(best, clock_s() - start);
	}
	return 1e9 * best / ((double)N * ROUNDS);
}

static void scan_ns(struct bench *b, struct grid *g, const struct op_case *c, const char *what)
{
	const struct tensor *u = c->timed->in[SCAN_U_BTI], *a = c->timed->in[SCAN_ALOG_IN];
	double n = (double)tensor_size(u) * (double)tensor_size(a) / (double)tensor_width(u);
	double forward_s, backward_s, of_scan, general;
	int threads = omp_get_max_threads();

	cpu_threads(1);
	time_case(b, c, &forward_s, &backward_s);
	of_scan = value_ns(exp2_values, -80, 0);
	general = value_ns(exp_values, -80, 80);
	cpu_threads(threads);
	notes_add(&g->notes, NOTE_PLAIN, "one core: scan %.2f ns forward and %.2f backward per (token, "
		"channel, state); 2^x of the scan %.3f ns, exp %.3f ns per value", 1e9 * forward_s / n,
		1e9 * backward_s / n, of_scan, general);
	bench_report_add(&b->report, "op", "scan, one core", what, "forward_ns", 1e9 * forward_s / n);
	bench_report_add(&b->report, "op", "scan, one core", what, "backward_ns", 1e9 * backward_s / n);
	bench_report_add(&b->report, "op", "2^x of the scan, one core", what, "ns", of_scan);
	bench_report_add(&b->report, "op", "exp, one core", what, "ns", general);
}

/* ---- telling -------------------------------------------------------------------------------- */

/* All inputs, for programs; or the first and the largest other one. */
static const char *shape_text(const struct op_case *c, bool all, struct arena *a)
{
	const struct tensor *large = NULL;
	char text[64];
	struct str s;
	char *copy;

	str_init(&s);
	for (int i = 1; i < c->op->n_in; i++) {
		const struct tensor *x = c->timed->in[i];
		if (x && x->kind != INDEX && (!large || tensor_size(x) > tensor_size(large)))
			large = x;
	}
	for (int i = 0; i < c->op->n_in; i++) {
		const struct tensor *x = c->timed->in[i];
		if (x && (all || i == 0 || x == large))
			str_printf(&s, "%s%s", s.length ? " " : "", tensor_shape_text(x, text));
	}
	copy = arena_strdup(a, s.text);
	str_release(&s);
	return copy;
}

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
	grid_text(g, "%s", shape_text(c, true, &g->arena));
	grid_text(g, "%s", shape_text(c, false, &g->arena));
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

static void report(struct bench *b, const struct op_case *c, struct arena *a)
{
	const char *shape = shape_text(c, true, a);
	const struct {
		const char *metric;
		double value;
	} list[] = {{"forward_ms", 1e3 * c->forward_s}, {"backward_ms", 1e3 * c->backward_s},
		{"forward_error", c->forward_error}, {"backward_error", c->backward_error}};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (!isnan(list[i].value))
			bench_report_add(&b->report, "op", c->op->name, shape, list[i].metric, list[i].value);
}

static void notes(const struct bench *b, struct grid *g, const struct op_list *l)
{
	notes_add(&g->notes, NOTE_PLAIN, "%ld sequences of %ld tokens, device %s, %d threads; medians; each "
		"operator by itself, so its operands may lie in a cache", l->batch, l->context,
		b->device->name, omp_get_max_threads());
	notes_add(&g->notes, NOTE_PLAIN, "ceilings measured here: %.0f GFLOP/s in matrix products (F), "
		"%.1f GB/s in copies (B); the share is of the one that bounds the operator by its declared "
		"FLOPs and fewest bytes", b->gemm / 1e9, b->copy / 1e9);
	notes_add(&g->notes, NOTE_PLAIN, "error: largest difference from the float64 reference by the "
		"largest value of its tensor, on one sequence of %d tokens at the same widths", CHECK_TOKENS);
	if (!b->all)
		notes_add(&g->notes, NOTE_PLAIN, "of each operator the costliest shape; --all lists every one");
	if (l->n_too_large)
		notes_add(&g->notes, NOTE_PLAIN, "%d nodes left out: they need more than %.0f %% of this "
			"machine's memory", l->n_too_large, 100 * MEMORY_SHARE);
}

static int slower_first(const void *a, const void *b)
{
	const struct op_case *x = a, *y = b;
	double p = x->forward_floor_s + x->backward_floor_s, q = y->forward_floor_s + y->backward_floor_s;

	return (p < q) - (p > q);
}

static int measure(struct bench *b, struct op_list *l, const char *what)
{
	struct grid g;

	qsort(l->cases, (size_t)l->n_cases, sizeof *l->cases, slower_first);
	grid_init(&g, "bench_op");
	grid_title(&g, "Operators at %s", what);
	columns(&g);
	for (int i = 0; i < l->n_cases; i++) {
		struct op_case *c = &l->cases[i];
		verbose("%s %s", c->op->name, shape_text(c, false, &l->arena));
		time_case(b, c, &c->forward_s, &c->backward_s);
		check_case(b, c);
		row(b, &g, c);
		report(b, c, &l->arena);
		if (c->op == &op_scan)
			scan_ns(b, &g, c, what);
	}
	notes(b, &g, l);
	return lab_print(&b->lab, &g);
}

int bench_op(struct bench *b, const char *what)
{
	struct op_list l = {0};
	int ret = EXIT_USAGE;

	if (b->only && !op_find(b->only))
		return error("no operator \"%s\"", b->only), EXIT_USAGE;
	bench_ceilings(b);
	if (!add_specs(b, &l, what))
		ret = measure(b, &l, what);
	list_release(&l);
	return ret;
}
