#include "train/control.h"

#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "train/setup.h"

/* "layers.1.moe.router.bias" is moved by "layers.1.moe.wanted". */
static const char *metric_of(struct setup *s, const struct param *p)
{
	const char *state = p->rule.even_rate > 0 ? "router.bias" : "router.cutoff",
		*metric = p->rule.even_rate > 0 ? "wanted" : "cutoff";

	CHECK(str_ends(p->name, state));
	return arena_printf(&s->arena, "%.*s%s", (int)(strlen(p->name) - strlen(state)), p->name, metric);
}

void control_open(struct control *c, struct setup *s)
{
	*c = (struct control){.list = ARENA_ARRAY(&s->arena, struct controller, s->params.n)};
	for (int i = 0; i < s->params.n; i++) {
		const struct param *p = &s->params.list[i];
		long n = param_elements(p);
		if (p->rule.even_rate > 0 || p->rule.mean_rate > 0)
			c->list[c->n++] = (struct controller){i, metric_of(s, p),
				ARENA_ARRAY(&s->arena, double, n), n};
	}
}

void control_add(const struct control *c, const struct setup *s, bool first)
{
	for (int i = 0; i < c->n; i++)
		for (long e = 0; e < c->list[i].n; e++) {
			double *sum = &c->list[i].sum[e];
			*sum = (first ? 0 : *sum) +
				graph_read(s->graphs[GRAPH_TRAIN], c->list[i].metric, e);
		}
}

static int sign(double x)
{
	return (x > 0) - (x < 0);
}

/* A state becomes keep * itself + by, in the type of masters. */
static void change(const struct device *d, void *at, double keep, double by)
{
	double wide;
	float narrow;

	if (d->bytes[MASTER] == sizeof wide) {
		device_to_host(d, &wide, at, sizeof wide);
		wide = keep * wide + by;
		device_from_host(d, at, &wide, sizeof wide);
	} else {
		device_to_host(d, &narrow, at, sizeof narrow);
		narrow = (float)keep * narrow + (float)by;
		device_from_host(d, at, &narrow, sizeof narrow);
	}
}

/* The e-th element of a state. */
static void *state_at(const struct controller *c, const struct setup *s, long e)
{
	size_t at = (size_t)(s->params.list[c->param].offset + e);

	return (char *)s->memory.blob[BLOB_WEIGHTS] + at * s->device->bytes[MASTER];
}

static void even_loads(const struct controller *c, const struct setup *s, double rate)
{
	double mean = 0, drift = 0;

	for (long e = 0; e < c->n; e++)
		mean += c->sum[e];
	mean /= (double)c->n;
	for (long e = 0; e < c->n; e++)
		drift += sign(mean - c->sum[e]);
	drift /= (double)c->n;
	for (long e = 0; e < c->n; e++)
		change(s->device, state_at(c, s, e), 1, rate * (sign(mean - c->sum[e]) - drift));
}

static void follow(const struct controller *c, const struct setup *s, double rate)
{
	for (long e = 0; e < c->n; e++)
		change(s->device, state_at(c, s, e), 1 - rate,
			rate * c->sum[e] / (double)s->micro_batches);
}

void control_update(const struct control *c, struct setup *s)
{
	for (int i = 0; i < c->n; i++) {
		const struct param_rule *rule = &s->params.list[c->list[i].param].rule;
		if (rule->even_rate > 0)
			even_loads(&c->list[i], s, rule->even_rate);
		else
			follow(&c->list[i], s, rule->mean_rate);
	}
}
