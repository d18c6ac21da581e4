/*
 * moelab bench step|op|scale SPEC: how fast a training step is, as a whole and by operator, against the
 * rates of this machine measured in the same process.
 */
#include <jansson.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/str.h"
#include "cmd/bench_scale.h"
#include "cmd/options.h"
#include "run/cost.h"
#include "run/match.h"
#include "run/rate.h"

extern const struct cmd cmd_bench;

struct bench {
	struct setup setup;
	struct cost cost;
	struct graph_profile profile;
	long steps;
	double gemm, copy, tokens_per_s, peak_bytes;
};

/* Nodes that are alike: the same operator on the same shapes (bench op), or the same operator. */
struct row {
	const struct op *op;
	struct op_shapes shapes;
	int n;
	double forward_s, backward_s;	/* of all, per step */
	double forward_flops, backward_flops, forward_bytes, backward_bytes;
};

static bool alike(const struct row *r, const struct graph_node_info *n, bool by_shape)
{
	if (r->op != n->op)
		return false;
	for (int i = 0; by_shape && i < n->op->n_in; i++) {
		const struct tensor *a = r->shapes.in[i], *b = n->shapes->in[i];
		if (!a != !b || (a && !tensor_same_shape(a, b)))
			return false;
	}
	return true;
}

static struct row *row_find(struct row *rows, int *n, const struct graph_node_info *node,
	bool by_shape)
{
	for (int i = 0; i < *n; i++)
		if (alike(&rows[i], node, by_shape))
			return &rows[i];
	rows[*n] = (struct row){.op = node->op, .shapes = *node->shapes};
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
	double steps, double micro_batches, bool by_shape)
{
	for (int i = 0; i < graph_n_nodes(g); i++) {
		struct graph_node_info node = graph_node_info(g, i);
		struct row *r = row_find(rows, n, &node, by_shape);
		r->n++;
		r->forward_s += p->forward_s[i] / steps;
		r->backward_s += p->backward_s[i] / steps;
		r->forward_flops += node.cost.forward_flops * micro_batches;
		r->backward_flops += node.has_backward ? node.cost.backward_flops * micro_batches : 0;
		r->forward_bytes += node.cost.forward_bytes * micro_batches;
		r->backward_bytes += node.has_backward ? node.cost.backward_bytes * micro_batches : 0;
	}
}

static double per_s(double amount, double seconds)
{
	return seconds > 0 ? amount / seconds / 1e9 : 0;
}

static void print_rows(const struct row *rows, int n, const struct bench *b, bool by_shape)
{
	double total = 0;

	for (int i = 0; i < n; i++)
		total += rows[i].forward_s + rows[i].backward_s;
	printf("\n%-14s %4s %9s %9s %6s %9s %9s %8s %8s%s\n", "operator", "n", "fwd ms", "bwd ms",
		"share", "fwd GF/s", "bwd GF/s", "fwd GB/s", "bwd GB/s", by_shape ? "  inputs" : "");
	for (int i = 0; i < n; i++) {
		const struct row *r = &rows[i];
		printf("%-14s %4d %9.3f %9.3f %5.1f%% %9.1f %9.1f %8.1f %8.1f", r->op->name, r->n,
			1e3 * r->forward_s, 1e3 * r->backward_s,
			100 * (r->forward_s + r->backward_s) / total, per_s(r->forward_flops, r->forward_s),
			per_s(r->backward_flops, r->backward_s), per_s(r->forward_bytes, r->forward_s),
			per_s(r->backward_bytes, r->backward_s));
		for (int k = 0; by_shape && k < r->op->n_in; k++) {
			char shape[64];
			if (r->shapes.in[k])
				printf(" %s", tensor_shape_text(r->shapes.in[k], shape));
		}
		printf("\n");
	}
	printf("measured ceilings: %.0f GFLOP/s, %.1f GB/s on %d threads\n", b->gemm / 1e9,
		b->copy / 1e9, omp_get_max_threads());
}

static void print_step(const struct bench *b)
{
	double flops = b->tokens_per_s * b->cost.flops_per_token;
	long tokens = b->setup.spec.batch * b->setup.spec.context;
	char planned[32], peak[32];

	printf("%s: %.0f tokens/s, %.1f ms per step of %ld tokens, %.1f GFLOP/s by model FLOPs: %.1f %% "
		"of the matrix rate\nmemory planned %s, peak %s\n", b->setup.config->file, b->tokens_per_s,
		1e3 * (double)tokens / b->tokens_per_s, tokens, flops / 1e9, 100 * flops / b->gemm,
		str_bytes(b->cost.total_bytes, planned),
		str_bytes(b->peak_bytes, peak));
}

static void print_json(const struct bench *b, const struct row *rows, int n)
{
	json_t *ops = json_array(), *root;

	for (int i = 0; i < n; i++)
		json_array_append_new(ops, json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f}", "op",
			rows[i].op->name, "n", rows[i].n, "forward_s", rows[i].forward_s, "backward_s",
			rows[i].backward_s, "forward_flops", rows[i].forward_flops, "backward_flops",
			rows[i].backward_flops, "forward_bytes", rows[i].forward_bytes, "backward_bytes",
			rows[i].backward_bytes));
	root = json_pack("{s:s, s:s, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:o}", "spec",
		b->setup.config->file, "device", b->setup.device->name, "threads", omp_get_max_threads(),
		"blas_core", blas_core(), "tokens_per_s", b->tokens_per_s, "flops_per_token",
		b->cost.flops_per_token, "gemm_flops_per_s", b->gemm, "copy_bytes_per_s", b->copy,
		"peak_rss_bytes", b->peak_bytes, "ops", ops);
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

/* First the step as users run it, then once more with a clock around each call. */
static void measure(struct bench *b, bool by_shape, bool json)
{
	struct setup *s = &b->setup;
	struct graph_profile train = profile_new(s->train), update = profile_new(s->update);
	struct row *rows = xcalloc((size_t)(graph_n_nodes(s->train) + graph_n_nodes(s->update)),
		sizeof *rows);
	int n = 0;

	b->tokens_per_s = rate_train(s, (int)b->steps);
	b->peak_bytes = cpu_peak_rss_bytes();	/* before the ceilings take memory of their own */
	b->gemm = rate_gemm();
	b->copy = rate_copy();
	graph_profile(s->train, &train);
	graph_profile(s->update, &update);
	rate_train(s, (int)b->steps);
	add_rows(rows, &n, s->train, &train, (double)b->steps + 1, (double)s->micro_batches, by_shape);
	add_rows(rows, &n, s->update, &update, (double)b->steps + 1, 1, by_shape);
	qsort(rows, (size_t)n, sizeof *rows, slower_first);
	if (json) {
		print_json(b, rows, n);
	} else {
		print_step(b);
		print_rows(rows, n, b, by_shape);
	}
	free(rows);
	profile_free(&train);
	profile_free(&update);
}

static int bench_spec(const char *path, const struct arguments *a, const struct device *device,
	long steps, bool by_shape, bool json)
{
	struct arena arena = {0};
	struct config config;
	struct bench b = {.steps = steps};
	int ret = EXIT_USAGE;

	if (!match_load(&arena, path, a->overrides, a->n_overrides, device, &config) &&
		!setup_open(&b.setup, &config, device, 0)) {
		cost_of(&b.setup, &b.cost);
		ret = setup_allocate(&b.setup) ? EXIT_ENVIRONMENT : EXIT_DONE;
		if (!ret)
			measure(&b, by_shape, json);
		setup_close(&b.setup);
	}
	arena_release(&arena);
	return ret;
}

static int bench_one(const char *what, const char *spec, const struct arguments *a,
	const struct device *device, long steps, bool json)
{
	if (!strcmp(what, "scale"))
		return bench_scale(spec, a->overrides, a->n_overrides, device, steps, json);
	if (strcmp(what, "step") && strcmp(what, "op"))
		return error("bench takes step, op or scale, not \"%s\"", what), EXIT_USAGE;
	return bench_spec(spec, a, device, steps, !strcmp(what, "op"), json);
}

/* Measured when no spec is named. */
static const char *const usual[] = {"experiments/micro/mamba.yaml", "experiments/micro/moe_mamba.yaml",
	"experiments/micro/transformer.yaml"};

static int run(int argc, char **argv)
{
	bool json = false;
	const char *name = "cpu";
	long steps = 5, threads = 0;
	const struct option_row rows[] = {
		{"steps", 'n', "N", "timed steps (default 5); the median counts", .number = &steps},
		{"threads", 'T', "T", "threads; 0: all cores", .number = &threads},
		{"device", 0, "NAME", "ref, cpu, cuda_scan or cuda", .text = &name},
		{"json", 0, NULL, "as JSON", .flag = &json},
		{0},
	};
	struct arguments a;
	const struct device *device;
	int ret = options_parse(&cmd_bench, rows, argc, argv, &a);

	if (ret)
		return ret < 0 ? EXIT_USAGE : EXIT_DONE;
	device = device_find(name);
	if (!device)
		return EXIT_USAGE;
	if (a.n_words < 1 || steps < 1)
		return error("bench takes step, op or scale, and specs"), EXIT_USAGE;
	cpu_threads((int)threads);
	for (int i = 1; i < a.n_words && !ret; i++)
		ret = bench_one(a.words[0], a.words[i], &a, device, steps, json);
	for (size_t i = 0; a.n_words == 1 && i < ARRAY_SIZE(usual) && !ret; i++)
		ret = bench_one(a.words[0], usual[i], &a, device, steps, json);
	return ret;
}

const struct cmd cmd_bench = {
	.name = "bench",
	.arguments = "step|op|scale [SPEC...] [key=value...]",
	.help = "speed of a training step, as a whole and by operator (op: also by shape),\nor as context, width, experts and threads grow (scale);\nwithout a spec: micro mamba, moe_mamba and transformer",
	.run = run,
};
