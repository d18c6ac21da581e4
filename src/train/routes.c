#include "train/routes.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/experts.h"
#include "train/checkpoint.h"
#include "train/setup_graphs.h"

/* One replay: `batch` segments. */
struct pass {
	struct setup setup;
	const struct segments *segments;
	long batch;
	int *tokens_BT, *targets_BT;	/* targets < 0: the token is not there */
};

static int open_pass(struct pass *p, struct arena *a, const struct trained *t, const struct device *d)
{
	struct run_spec spec;
	long n = p->segments->n;

	if (run_spec_open(&spec, &t->config))
		return -1;
	p->batch = min_long(spec.micro_batch, n);
	p->tokens_BT = ARENA_ARRAY(a, int, p->batch * p->segments->length);
	p->targets_BT = ARENA_ARRAY(a, int, p->batch * p->segments->length);
	return setup_open_routes(&p->setup, &t->config, d, t->n_vocab, p->batch, p->segments->length) ||
		setup_allocate(&p->setup) || checkpoint_weights(&p->setup, t->checkpoint, false) ? -1 : 0;
}

static int read_segment(struct pass *p, long b, long segment)
{
	const struct segments *s = p->segments;
	int *tokens = p->tokens_BT + b * s->length, *targets = p->targets_BT + b * s->length;

	if (segment < s->n && dataset_read(s->data, s->split, segment_first(s, segment), s->length, tokens))
		return -1;
	for (long t = 0; t < s->length; t++)
		targets[t] = segment < s->n ? tokens[t] : -1;
	return 0;
}

static long *widths(struct arena *a, const struct graph *g, const char *metric, long n_experts)
{
	const struct op_shapes *experts = setup_experts(g, metric);
	long *width = ARENA_ARRAY(a, long, n_experts);

	for (long e = 0; experts && e < n_experts; e++) {
		struct experts_part p = experts_part(experts->attr, experts->in, e);
		width[e] = p.H ? p.F : 0;
	}
	return width;
}

/* Routers have a metric "X.route" [B, T] or [B, T, K], and "X.load" by expert. */
static void open_routers(struct routes *r, const struct setup *s)
{
	struct graph *g = s->graphs[GRAPH_EVAL];
	const char *const *names = graph_metrics_named(g, "route", &r->n);

	r->routers = ARENA_ARRAY(&r->arena, struct router_routes, r->n);
	for (int i = 0; i < r->n; i++) {
		const struct tensor *route = graph_metric_shape(g, names[i]);
		const char *scope = arena_printf(&r->arena, "%.*s", (int)(strlen(names[i]) - strlen(".route")),
			names[i]);
		long k = route->n_dims == 3 ? route->dims[2] : 1,
			E = tensor_size(graph_metric_shape(g, arena_printf(&r->arena, "%s.load", scope)));
		r->routers[i] = (struct router_routes){scope, E, k, ARENA_ARRAY(&r->arena, int, r->n_tokens * k),
			widths(&r->arena, g, names[i], E),
			params_find(&s->params, arena_printf(&r->arena, "%s.router.cutoff", scope)) >= 0};
	}
}

/* The routes of a replay whose first segment is this one. */
static void take_routes(struct routes *r, const struct pass *p, long segment)
{
	const struct graph *g = p->setup.graphs[GRAPH_EVAL];
	long n = min_long(p->segments->n - segment, p->batch) * p->segments->length,
		at = segment * p->segments->length;

	memcpy(r->token + at, p->tokens_BT, (size_t)n * sizeof *r->token);
	for (int i = 0; i < r->n; i++) {
		struct router_routes *x = &r->routers[i];
		const char *name = arena_printf(&r->arena, "%s.route", x->name);
		for (long j = 0; j < n * x->k; j++)
			x->expert[at * x->k + j] = (int)graph_read(g, name, j);
	}
}

static int replay_all(struct routes *r, struct pass *p)
{
	struct graph *g = p->setup.graphs[GRAPH_EVAL];

	for (long segment = 0; segment < p->segments->n; segment += p->batch) {
		for (long b = 0; b < p->batch; b++)
			if (read_segment(p, b, segment + b))
				return -1;
		setup_replay(g, p->tokens_BT, p->targets_BT);
		take_routes(r, p, segment);
	}
	return 0;
}

int routes_open(struct routes *r, const struct trained *t, const struct device *d, const struct segments *s)
{
	struct pass p = {.segments = s};
	int ret;

	*r = (struct routes){.n_tokens = s->n * s->length};
	r->token = ARENA_ARRAY(&r->arena, int, r->n_tokens);
	ret = open_pass(&p, &r->arena, t, d);
	if (!ret)
		open_routers(r, &p.setup);
	if (!ret && !r->n)
		ret = error("%s: the model has no router whose choices could be shown", t->checkpoint);
	ret = ret ? ret : replay_all(r, &p);
	setup_close(&p.setup);
	if (ret)
		routes_close(r);
	return ret;
}

void routes_close(struct routes *r)
{
	arena_release(&r->arena);
	*r = (struct routes){0};
}

void routes_count(const struct routes *r, int router, int expert, long n_vocab, long *count)
{
	const struct router_routes *x = &r->routers[router];

	memset(count, 0, (size_t)n_vocab * sizeof *count);
	for (long i = 0; i < r->n_tokens * x->k; i++)
		if (x->expert[i] == expert)
			count[r->token[i / x->k]]++;
}

double routes_kept(const struct routes *from, const struct routes *to, int router)
{
	const struct router_routes *a = &from->routers[router], *b = &to->routers[router];
	long n = 0, kept = 0;

	CHECK(from->n_tokens == to->n_tokens && a->k == b->k);
	for (long t = 0; t < from->n_tokens; t++)
		for (long i = 0; i < a->k; i++) {
			int e = a->expert[t * a->k + i];
			n += e >= 0;
			for (long j = 0; e >= 0 && j < b->k; j++)
				kept += b->expert[t * b->k + j] == e;
		}
	return n ? (double)kept / (double)n : NAN;
}

double routes_unserved(const struct routes *r, int router)
{
	const struct router_routes *x = &r->routers[router];
	long n = 0;

	for (long t = 0; t < r->n_tokens; t++) {
		bool any = false;
		for (long i = 0; i < x->k; i++)
			any |= x->expert[t * x->k + i] >= 0;
		n += !any;
	}
	return (double)n / (double)r->n_tokens;
}
