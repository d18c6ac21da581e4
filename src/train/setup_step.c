/* One step of a set-up: what it replays, what routers did, and the means over its micro-batches. */
#include "train/setup.h"

#include <math.h>

void setup_state(struct setup *s, long step, long micro)
{
	struct step_state state = {.step = step, .micro = micro, .seed = (uint64_t)s->spec.seed,
		.lr = run_lr(&s->spec, step),
		.correction1 = 1 - pow(s->spec.beta1, (double)step + 1),
		.correction2 = 1 - pow(s->spec.beta2, (double)step + 1)};

	device_from_host(s->device, s->memory.state, &state, sizeof state);
}

void setup_replay(struct graph *g, const int *tokens_BT, const int *targets_BT)
{
	graph_set_input(g, "tokens", tokens_BT);
	graph_set_input(g, "targets", targets_BT);
	graph_forward(g);
	graph_fetch_metrics(g);
}

/* Choices that a router's experts computed, each times the width of its expert over the mean of all. */
static double computed_by_width(const struct router_names *r, const struct graph *g, int i)
{
	double sum = 0;

	for (long e = 0; e < tensor_size(graph_metric_shape(g, r->computed[i])); e++)
		sum += graph_read(g, r->computed[i], e) * units_share(r->units[i], e);
	return sum;
}

void setup_add_routed(const struct setup *s, enum setup_graph which, int i, struct routed *sum)
{
	const struct router_names *r = &s->routers;
	const struct graph *g = s->graphs[which];
	double computed = graph_read(g, r->choices[which][i], 1) - graph_read(g, r->choices[which][i], 0);

	sum->dropped += graph_read(g, r->dropped[i], 0);
	sum->all += graph_read(g, r->dropped[i], 1);
	sum->computed += computed;
	sum->wide += r->computed[i] ? computed_by_width(r, g, i) : computed;
	sum->served += r->served[which][i] ? graph_read(g, r->served[which][i], 0) : computed;
}

double routed_drop_share(const struct routed *r)
{
	return r->all > 0 ? r->dropped / r->all : 0;
}

double setup_drop_share(const struct setup *s)
{
	struct routed sum = {0};

	for (int i = 0; i < s->routers.n; i++)
		setup_add_routed(s, GRAPH_TRAIN, i, &sum);
	return s->routers.n ? routed_drop_share(&sum) : NAN;
}

/* Over the micro-batches of a step. */
struct step_sums {
	struct routed routed;
	double balance, z;
	long n, n_choosing;	/* routers, and those of them that chose */
};

static void add_router(const struct setup *s, int i, struct step_sums *sum)
{
	const struct graph *g = s->graphs[GRAPH_TRAIN];

	setup_add_routed(s, GRAPH_TRAIN, i, &sum->routed);
	sum->z += graph_read(g, s->routers.z[i], 0);
	sum->n++;
	if (graph_read(g, s->routers.choices[GRAPH_TRAIN][i], 1) == 0)
		return;
	sum->balance += graph_read(g, s->routers.balance[i], 0);
	sum->n_choosing++;
}

static void add_micro(struct setup *s, struct step_sums *sum, struct step_result *r)
{
	struct graph *g = s->graphs[GRAPH_TRAIN];
	double share = 1.0 / (double)s->micro_batches;

	graph_fetch_metrics(g);
	r->ce += share * graph_read(g, "ce", 0);
	r->aux += share * (graph_loss_total(g) - graph_read(g, "loss", 0));
	for (int i = 0; i < s->routers.n; i++)
		add_router(s, i, sum);
}

static void set_routed(const struct setup *s, const struct step_sums *sum, struct step_result *r)
{
	double planned = s->routers.planned * (double)s->micro_batches;

	r->balance = sum->n_choosing ? sum->balance / (double)sum->n_choosing : NAN;
	r->z = sum->n ? sum->z / (double)sum->n : NAN;
	r->drop = sum->n ? routed_drop_share(&sum->routed) : NAN;
	r->idle = planned > 0 ? (planned - sum->routed.wide) / planned : NAN;
}

int setup_step(struct setup *s, long step, const struct step_input *in, struct step_result *result)
{
	struct graph *train = s->graphs[GRAPH_TRAIN], *update = s->graphs[GRAPH_UPDATE];
	struct step_sums sum = {0};

	*result = (struct step_result){0};
	if (in->begins && in->begins(in->from, step))
		setup_begin_streams(s, STREAMS_TRAIN);
	for (long micro = 0; micro < s->micro_batches; micro++) {
		int ret = in->read(in->from, step, micro, in->tokens_BT, in->targets_BT);
		if (ret)
			return ret;
		setup_state(s, step, micro);
		graph_set_input(train, "tokens", in->tokens_BT);
		graph_set_input(train, "targets", in->targets_BT);
		graph_forward(train);
		graph_backward(train, micro == 0);
		add_micro(s, &sum, result);
		control_add(&s->control, s, micro == 0);
		if (in->seen)
			in->seen(in->from, micro);
	}
	set_routed(s, &sum, result);
	graph_forward(update);
	graph_fetch_metrics(update);
	result->grad_norm = graph_read(update, "norm", 0);
	if (isfinite(result->grad_norm))
		control_update(&s->control, s);
	return 0;
}
