#include "measure/step_times.h"

#include <stdlib.h>

#include "base/cpu.h"
#include "base/error.h"
#include "measure/median.h"
#include "measure/rate.h"
#include "plan/match.h"

/* ---- by operator ---------------------------------------------------------------------------- */

static struct step_row *row_find(struct step_row *rows, int *n, const struct op *op)
{
	for (int i = 0; i < *n; i++)
		if (rows[i].op == op)
			return &rows[i];
	rows[*n] = (struct step_row){.op = op};
	return &rows[(*n)++];
}

static int slower_first(const void *a, const void *b)
{
	const struct step_row *x = a, *y = b;
	double p = x->forward_s + x->backward_s, q = y->forward_s + y->backward_s;

	return (p < q) - (p > q);
}

/* Times by node of one graph, added to rows. */
static void add_rows(struct step_row *rows, int *n, const struct graph *g, const struct graph_profile *p,
	double steps, double micro_batches)
{
	for (int i = 0; i < graph_n_nodes(g); i++) {
		struct graph_node_info node = graph_node_info(g, i);
		struct step_row *r = row_find(rows, n, node.op);
		r->n++;
		r->forward_s += p->forward_s[i] / steps;
		r->backward_s += p->backward_s[i] / steps;
		r->forward_flops += node.cost.forward_flops * micro_batches;
		r->backward_flops += node.has_backward ? node.cost.backward_flops * micro_batches : 0;
		r->forward_bytes += node.cost.forward_bytes * micro_batches;
		r->backward_bytes += node.has_backward ? node.cost.backward_bytes * micro_batches : 0;
	}
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

static void report(struct bench *b, const struct step_times *t)
{
	const char *name = bench_name(b, t->config.file);

	bench_report_add(&b->report, "step", name, "", "tokens_per_s", t->tokens_per_s);
	bench_report_add(&b->report, "step", name, "", "model_flops_per_s",
		t->tokens_per_s * t->cost.flops_per_token);
	bench_report_add(&b->report, "step", name, "", "planned_bytes", t->cost.total_bytes);
	bench_report_add(&b->report, "step", name, "", "peak_bytes", t->peak_bytes);
	for (int i = 0; i < t->n_rows; i++)
		bench_report_add(&b->report, "step", name, t->rows[i].op->name, "ms",
			1e3 * (t->rows[i].forward_s + t->rows[i].backward_s));
}

static void measure(struct step_times *t, struct bench *b, struct setup *s)
{
	struct graph *train = s->graphs[GRAPH_TRAIN], *update = s->graphs[GRAPH_UPDATE];
	struct graph_profile of_train = profile_new(train), of_update = profile_new(update);
	double steps = (double)(b->steps + rate_warm_up(b->device));

	t->rows = ARENA_ARRAY(&t->arena, struct step_row, graph_n_nodes(train) + graph_n_nodes(update));
	t->tokens_per_s = rate_train(s, (int)b->steps);
	/* Before the ceilings take memory of their own. */
	t->peak_bytes = device_is_host(b->device) ? cpu_peak_rss_bytes()
		: device_memory_bytes(b->device) - device_free_bytes(b->device);
	bench_ceilings(b);
	graph_profile(train, &of_train);
	graph_profile(update, &of_update);
	rate_train(s, (int)b->steps);
	add_rows(t->rows, &t->n_rows, train, &of_train, steps, (double)s->micro_batches);
	add_rows(t->rows, &t->n_rows, update, &of_update, steps, 1);
	qsort(t->rows, (size_t)t->n_rows, sizeof *t->rows, slower_first);
	profile_free(&of_train);
	profile_free(&of_update);
}

/* Loads, plans and allocates; setup_close() ends it. An exit code. */
static int open_step(struct step_times *t, struct bench *b, const char *spec, const char *change,
	struct setup *s)
{
	const char *keys[BENCH_MAX_OVERRIDES + 1];
	int n = bench_keys(b, keys, &change, change != NULL);

	*t = (struct step_times){0};
	if (match_load(&t->arena, spec, keys, n, b->device, &t->config) ||
			setup_open(s, &t->config, b->device, 0))
		return EXIT_USAGE;
	cost_of(s, &t->cost);
	t->batch_tokens = s->spec.batch * s->spec.context;
	if (!setup_allocate(s))
		return EXIT_DONE;
	setup_close(s);
	return EXIT_ENVIRONMENT;
}

int step_times_measure(struct step_times *t, struct bench *b, const char *spec)
{
	struct setup s;
	int ret = open_step(t, b, spec, NULL, &s);

	if (ret)
		return ret;
	measure(t, b, &s);
	setup_close(&s);
	report(b, t);
	return EXIT_DONE;
}

/* ---- one key changed ------------------------------------------------------------------------ */

static int one_round(struct bench *b, const char *spec, const char *change, struct step_side *side,
	int round)
{
	struct step_times t;
	struct setup s;
	int ret = open_step(&t, b, spec, change, &s);

	if (!ret) {
		side->cost = t.cost;
		side->seconds[round] = (double)t.batch_tokens / rate_train(&s, 1);
		setup_close(&s);
	}
	arena_release(&t.arena);
	return ret;
}

static void compare(struct bench *b, const char *name, struct step_side *s, int rounds,
	const struct step_side *base)
{
	double seconds[STEP_MAX_ROUNDS], ratio[STEP_MAX_ROUNDS];

	for (int i = 0; i < rounds; i++) {
		seconds[i] = s->seconds[i];
		ratio[i] = s->seconds[i] / base->seconds[i];
	}
	s->median_s = median_of(seconds, rounds);
	s->ratio = median_of(ratio, rounds);
	bench_report_add(&b->report, "step", name, "in turn", "ms", 1e3 * s->median_s);
	bench_report_add(&b->report, "step", name, "", "activation_bytes", s->cost.activation_bytes);
}

int step_times_pair(struct bench *b, const char *spec, const char *change, struct step_side sides[2],
	int *rounds)
{
	const char *name = bench_name(b, spec);
	int ret = 0;

	*rounds = b->steps < STEP_MAX_ROUNDS ? (int)b->steps : STEP_MAX_ROUNDS;
	for (int i = 0; i < 2 * *rounds && !ret; i++)
		ret = one_round(b, spec, i % 2 ? change : NULL, &sides[i % 2], i / 2);
	if (ret)
		return ret;
	compare(b, name, &sides[0], *rounds, &sides[0]);
	compare(b, arena_printf(&b->report.arena, "%s %s", name, change), &sides[1], *rounds, &sides[0]);
	return EXIT_DONE;
}
