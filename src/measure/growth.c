#include "measure/growth.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "measure/rate.h"
#include "op/experts.h"
#include "train/cost.h"

const struct growth_axis growth_axes[] = {
	{"context", NULL, {{"256", {"train.context=256", "train.batch=64"}},
		{"1024", {"train.context=1024", "train.batch=16"}},
		{"4096", {"train.context=4096", "train.batch=4"}},
		{"16384", {"train.context=16384", "train.batch=1"}}}, false, false},
	{"d_model", NULL, {{"64", {"model.d_model=64"}}, {"128", {"model.d_model=128"}},
		{"256", {"model.d_model=256"}}, {"512", {"model.d_model=512"}}}, false, false},
	{"experts", "model.moe.n_experts", {{"1", {"model.moe.n_experts=1"}},
		{"4", {"model.moe.n_experts=4"}}, {"16", {"model.moe.n_experts=16"}},
		{"64", {"model.moe.n_experts=64"}}}, false, true},
	{"threads", NULL, {{"1", {NULL}}, {"2", {NULL}}, {"4", {NULL}}, {"8", {NULL}}}, true, false},
	{0},
};

/* Products of the experts alone, at their mean number of rows; a GPU makes them all at once. */
static double expert_rate(const struct bench *b, const struct op_shapes *s)
{
	long rows = tensor_rows(s->in[EXPERTS_XE_SD]), experts = s->in[EXPERTS_W2_EOF]->dims[0];

	if (!device_is_host(b->device))
		return b->gemm;
	return rate_gemm_rows((rows + experts - 1) / experts, tensor_width(s->in[EXPERTS_XE_SD]),
		s->in[EXPERTS_W2_EOF]->dims[2]);
}

static void add_work(const struct bench *b, struct growth *m, const struct graph *g, double times, double kept)
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
			m->expert_rate = expert_rate(b, n.shapes);
	}
}

static void measure_setup(struct bench *b, struct setup *s, struct growth *m)
{
	double dropped;
	struct cost cost;

	cost_of(s, &cost);
	m->tokens_per_s = rate_train(s, (int)b->steps);
	m->step_s = (double)(s->spec.batch * s->spec.context) / m->tokens_per_s;
	m->flops_per_s = m->tokens_per_s * cost.flops_per_token;
	m->planned_bytes = cost.total_bytes;
	dropped = setup_drop_share(s);
	add_work(b, m, s->graphs[GRAPH_TRAIN], (double)s->micro_batches, isnan(dropped) ? 1 : 1 - dropped);
	add_work(b, m, s->graphs[GRAPH_UPDATE], 1, 1);
}

static int measure_point(struct bench *b, const char *spec, const struct growth_point *p, struct growth *m)
{
	const char *keys[BENCH_MAX_OVERRIDES + 2];
	int n = bench_keys(b, keys, p->keys, !!p->keys[0] + !!p->keys[1]), ret = EXIT_USAGE;
	struct arena arena = {0};
	struct config config;
	struct setup setup;

	*m = (struct growth){.value = p->value, .explained_s = NAN};
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

static int measure_points(struct bench *b, const char *spec, const struct growth_axis *axis, struct growth *m,
	int *n)
{
	int threads = omp_get_max_threads(), ret = 0;

	for (*n = 0; *n < GROWTH_MAX_POINTS && axis->points[*n].value && !ret; ++*n) {
		const struct growth_point *p = &axis->points[*n];
		if (axis->threads && atoi(p->value) > cpu_cores())
			break;
		if (axis->threads)
			cpu_threads(atoi(p->value));
		ret = measure_point(b, spec, p, &m[*n]);
	}
	cpu_threads(threads);
	return ret;
}

static void explain(const struct bench *b, struct growth *m, int n)
{
	for (int i = 0; i < n; i++) {
		double products = m[i].expert_flops / m[i].expert_rate -
			m[0].expert_flops / m[0].expert_rate;
		m[i].explained_s = m[0].step_s + (m[i].bytes - m[0].bytes) / b->copy +
			(m[i].other_flops - m[0].other_flops) / b->gemm + products;
	}
}

static void report(struct bench *b, const char *spec, const struct growth_axis *axis, const struct growth *m)
{
	const char *name = bench_name(b, spec);
	char shape[64];

	snprintf(shape, sizeof shape, "%s %s", axis->name, m->value);
	bench_report_add(&b->report, "scale", name, shape, "tokens_per_s", m->tokens_per_s);
	bench_report_add(&b->report, "scale", name, shape, "planned_bytes", m->planned_bytes);
}

int growth_measure(struct bench *b, const char *spec, const struct growth_axis *axis,
	struct growth list[GROWTH_MAX_POINTS], int *n)
{
	int ret;

	bench_ceilings(b);
	ret = measure_points(b, spec, axis, list, n);
	if (!ret && axis->explained)
		explain(b, list, *n);
	for (int i = 0; i < *n && !ret; i++)
		report(b, spec, axis, &list[i]);
	return ret;
}

bool growth_wanted(const struct bench *b, const char *spec, const struct growth_axis *axis)
{
	if (b->only && strcmp(b->only, axis->name))
		return false;
	if (axis->threads && !device_is_host(b->device))
		return false;
	return !axis->needs || bench_applies(b, spec, axis->needs);
}
