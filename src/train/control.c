#include "train/control.h"

#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "train/setup.h"

/* "layers.1.moe.router.bias" is moved by "layers.1.moe.wanted". */
static const char *metric_of(struct setup *s, const struct param *p)
{
	static const char state[] = "router.bias";

	CHECK(str_ends(p->name, state));
	return arena_printf(&s->arena, "%.*swanted", (int)(strlen(p->name) - strlen(state)), p->name);
}

void control_open(struct control *c, struct setup *s)
{
	*c = (struct control){.list = ARENA_ARRAY(&s->arena, struct controller, s->params.n)};
	for (int i = 0; i < s->params.n; i++) {
		const struct param *p = &s->params.list[i];
		long n = param_elements(p);
		if (p->rule.even_rate > 0)
			c->list[c->n++] = (struct controller){i, metric_of(s, p),
				ARENA_ARRAY(&s->arena, double, n), n};
	}
}

void control_add(const struct control *c, const struct setup *s, bool first)
{
	for (int i = 0; i < c->n; i++)
		for (long e = 0; e < c->list[i].n; e++) {
			double *count = &c->list[i].count[e];
			*count = (first ? 0 : *count) +
				graph_read(s->graphs[GRAPH_TRAIN], c->list[i].metric, e);
		}
}

static int sign(double x)
{
	return (x > 0) - (x < 0);
}

/* A bias more, in the type of masters. */
static void add_to(const struct device *d, void *at, double by)
{
	double wide;
	float narrow;

	if (d->bytes[MASTER] == sizeof wide) {
		device_to_host(d, &wide, at, sizeof wide);
		wide += by;
		device_from_host(d, at, &wide, sizeof wide);
	} else {
		device_to_host(d, &narrow, at, sizeof narrow);
		narrow += (float)by;
		device_from_host(d, at, &narrow, sizeof narrow);
	}
}

static void even_loads(const struct controller *c, const struct setup *s)
{
	const struct param *p = &s->params.list[c->param];
	size_t bytes = s->device->bytes[MASTER];
	char *at = (char *)s->memory.blob[BLOB_WEIGHTS] + (size_t)p->offset * bytes;
	double mean = 0, drift = 0;

	for (long e = 0; e < c->n; e++)
		mean += c->count[e];
	mean /= (double)c->n;
	for (long e = 0; e < c->n; e++)
		drift += sign(mean - c->count[e]);
	drift /= (double)c->n;
	for (long e = 0; e < c->n; e++)
		add_to(s->device, at + (size_t)e * bytes,
			p->rule.even_rate * (sign(mean - c->count[e]) - drift));
}

void control_update(const struct control *c, struct setup *s)
{
	for (int i = 0; i < c->n; i++)
		even_loads(&c->list[i], s);
}
