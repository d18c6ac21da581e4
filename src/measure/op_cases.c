#include "measure/op_cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "plan/match.h"

struct recorded {
	struct config config[2];
	struct setup timed, checked;
};

static int record_at(struct bench *b, struct op_cases *l, const char *path, long batch, long context,
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

struct op_trial_case op_case_trial(const struct op_case *c, const struct op_shapes *s)
{
	struct op_trial_case t = {.op = c->op, .attr = s->attr,
		.prepare = c->op->n_examples ? c->op->examples[0].prepare : NULL};

	memcpy(t.in, s->in, sizeof t.in);
	return t;
}

static bool too_large(const struct bench *b, const struct op_case *c)
{
	struct op_trial_case timed = op_case_trial(c, c->timed), checked = op_case_trial(c, c->checked);
	double bytes = op_trial_bytes(&timed, b->device), ref;

	if (!device_is_host(b->device))
		return bytes > OP_MEMORY_SHARE * device_memory_bytes(b->device);
	ref = op_trial_bytes(&checked, &device_list[REF]) + op_trial_bytes(&checked, b->device);
	return fmax(bytes, ref) > OP_MEMORY_SHARE * cpu_memory_bytes();
}

/* Equal shapes and, as attributes differ, equal FLOPs: attention in a window is not that without. */
static bool same_work(const struct op_case *a, const struct op_case *b)
{
	if (a->cost.forward_flops != b->cost.forward_flops)
		return false;
	for (int i = 0; i < a->op->n_in; i++) {
		const struct tensor *x = a->timed->in[i], *y = b->timed->in[i];
		if (!x != !y || (x && !tensor_same_shape(x, y)))
			return false;
	}
	return true;
}

/* Where the case belongs: the place of an equal one, or with !all of a cheaper one of its operator. */
static struct op_case *place_of(struct op_cases *l, const struct op_case *c, bool all, bool *better)
{
	*better = true;
	for (int i = 0; i < l->n_cases; i++) {
		struct op_case *x = &l->cases[i];
		if (x->op != c->op || (all && !same_work(x, c)))
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

static void add_node(struct bench *b, struct op_cases *l, const struct graph_node_info *timed,
	const struct graph_node_info *checked)
{
	struct op_case c = {.op = timed->op, .timed = timed->shapes, .checked = checked->shapes,
		.cost = timed->cost};
	bool better;

	CHECK(timed->op == checked->op);
	if ((b->only && strcmp(b->only, c.op->name)) || !op_kernel_for(c.op->forward, b->device->id))
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

static void add_graph(struct bench *b, struct op_cases *l, const struct graph *timed,
	const struct graph *checked)
{
	CHECK(graph_n_nodes(timed) == graph_n_nodes(checked));
	for (int i = 0; i < graph_n_nodes(timed); i++) {
		struct graph_node_info t = graph_node_info(timed, i), c = graph_node_info(checked, i);
		add_node(b, l, &t, &c);
	}
}

static int add_spec(struct bench *b, struct op_cases *l, const char *path)
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
	if (record_at(b, l, path, 1, OP_CHECK_TOKENS, &r->config[1], &r->checked)) {
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
static int add_specs(struct bench *b, struct op_cases *l, const char *what)
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

static int slower_first(const void *a, const void *b)
{
	const struct op_case *x = a, *y = b;
	double p = x->forward_floor_s + x->backward_floor_s, q = y->forward_floor_s + y->backward_floor_s;

	return (p < q) - (p > q);
}

int op_cases_open(struct op_cases *l, struct bench *b, const char *what)
{
	*l = (struct op_cases){0};
	if (b->only && !op_find(b->only))
		return error("no operator \"%s\"", b->only);
	bench_ceilings(b);
	if (add_specs(b, l, what))
		return -1;
	if (b->only && !l->n_cases && !l->n_too_large)
		return error("%s: no model there uses the operator %s on %s", what, b->only, b->device->name);
	if (l->n_cases)
		qsort(l->cases, (size_t)l->n_cases, sizeof *l->cases, slower_first);
	return 0;
}

void op_cases_close(struct op_cases *l)
{
	for (int i = 0; i < l->n_specs; i++) {
		setup_close(&l->specs[i]->timed);
		setup_close(&l->specs[i]->checked);
	}
	free(l->cases);
	arena_release(&l->arena);
}

const char *op_case_shape(const struct op_case *c, bool all, struct arena *a)
{
	const struct tensor *large = NULL;
	char text[64];
	struct str s;

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
	return str_keep(&s, a);
}
