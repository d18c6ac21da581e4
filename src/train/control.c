#include "train/control.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "train/setup.h"

/* ---- rules ---------------------------------------------------------------------------------- */

/* What a rule sees: its numbers, the statistic of a step, and the state. */
struct seen {
	const struct param_control *to;
	const double *count;
	long n_counts;
	double tokens, micro_batches;	/* of the step */
	const double *state;
	long n;				/* elements of the state */
};

static int sign(double x)
{
	return (x > 0) - (x < 0);
}

static void even(const struct seen *s, double *by)
{
	double mean = 0, drift = 0;

	for (long e = 0; e < s->n; e++)
		mean += s->count[e];
	mean /= (double)s->n;
	for (long e = 0; e < s->n; e++)
		drift += sign(mean - s->count[e]);
	drift /= (double)s->n;
	for (long e = 0; e < s->n; e++)
		by[e] = s->to->rate * (sign(mean - s->count[e]) - drift);
}

static void share(const struct seen *s, double *by)
{
	for (long e = 0; e < s->n; e++)
		by[e] = s->to->rate * (s->count[e] / s->tokens - s->to->target);
}

static void follow(const struct seen *s, double *by)
{
	for (long e = 0; e < s->n; e++)
		by[e] = s->to->rate * (s->count[e] / s->micro_batches - s->state[e]);
}

/* The state times e to the exponent, within its bounds. */
static void multiply(const struct seen *s, double exponent, double *by)
{
	by[0] = fmin(fmax(s->state[0] * exp(exponent), s->to->least), s->to->most) - s->state[0];
}

static void spread(const struct seen *s, double *by)
{
	double sum = 0, most = 0;

	for (long e = 0; e < s->n_counts; e++) {
		sum += s->count[e];
		most = fmax(most, s->count[e]);
	}
	multiply(s, s->to->rate * (most * (double)s->n_counts / sum - 1 - s->to->target), by);
}

static void drops(const struct seen *s, double *by)
{
	multiply(s, s->to->rate * (s->count[0] / s->count[1] - s->to->target), by);
}

static void anneal(const struct seen *s, double *by)
{
	multiply(s, -s->to->rate, by);
}

/* state: how the names of its parameters end; statistic: the metric in the same place, or "ce" of the model;
   NULL: none. */
static const struct control_rule {
	const char *name, *state, *statistic;
	void (*move)(const struct seen *s, double *by);
} rules[] = {
	{"even", "router.bias", "wanted", even},
	{"share", "router.threshold", "wanted", share},
	{"follow", "router.cutoff", "cutoff", follow},
	{"reward", "router.baseline", "ce", follow},
	{"spread", "router.balance", "wanted", spread},
	{"drops", "router.capacity", "dropped", drops},
	{"anneal", "router.temperature", NULL, anneal},
	{"fall", "router.capacity", NULL, anneal},
};

static const struct control_rule *rule_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (!strcmp(rules[i].name, name))
			return &rules[i];
	BUG("no rule \"%s\"", name);
}

/* ---- states of a run ------------------------------------------------------------------------ */

/* "layers.1.moe.router.bias" is moved by "layers.1.moe.wanted". */
static const char *metric_of(struct setup *s, const struct param *p, const struct control_rule *rule)
{
	CHECK(str_ends(p->name, rule->state));
	if (rule->statistic && !strcmp(rule->statistic, "ce"))
		return rule->statistic;
	return !rule->statistic ? NULL : arena_printf(&s->arena, "%.*s%s",
		(int)(strlen(p->name) - strlen(rule->state)), p->name, rule->statistic);
}

static void open_controller(struct controller *c, struct setup *s, int param)
{
	const struct param *p = &s->params.list[param];

	*c = (struct controller){.rule = rule_find(p->rule.control.rule), .param = param};
	c->metric = metric_of(s, p, c->rule);
	c->n_counts = c->metric ? tensor_size(graph_metric_shape(s->graphs[GRAPH_TRAIN], c->metric)) : 0;
	c->count = ARENA_ARRAY(&s->arena, double, c->n_counts);
	c->state = ARENA_ARRAY(&s->arena, double, param_elements(p));
	c->by = ARENA_ARRAY(&s->arena, double, param_elements(p));
	c->masters = ARENA_ARRAY(&s->arena, double, param_elements(p));
}

void control_open(struct control *c, struct setup *s)
{
	*c = (struct control){.list = ARENA_ARRAY(&s->arena, struct controller, s->params.n)};
	for (int i = 0; i < s->params.n; i++)
		if (s->params.list[i].rule.control.rule)
			open_controller(&c->list[c->n++], s, i);
}

void control_add(const struct control *c, const struct setup *s, bool first)
{
	for (int i = 0; i < c->n; i++)
		for (long e = 0; e < c->list[i].n_counts; e++) {
			double *count = &c->list[i].count[e];
			*count = (first ? 0 : *count) +
				graph_read(s->graphs[GRAPH_TRAIN], c->list[i].metric, e);
		}
}

/* The state adds `by` as the type of masters does it, in `masters`, and is read again. */
static void add(const struct device *d, const struct controller *c, long n, bool moved)
{
	double *wide = c->masters;
	float *narrow = c->masters;

	for (long e = 0; e < n; e++)
		if (d->bytes[MASTER] == sizeof *wide)
			c->state[e] = wide[e] += moved ? c->by[e] : 0;
		else
			c->state[e] = narrow[e] += moved ? (float)c->by[e] : 0;
}

/* Into `masters` and `state`; where it lies on the device. */
static void *read_state(const struct controller *c, const struct setup *s)
{
	const struct param *p = &s->params.list[c->param];
	size_t element = s->device->bytes[MASTER];
	char *at = (char *)s->memory.blob[BLOB_WEIGHTS] + (size_t)p->offset * element;

	device_to_host(s->device, c->masters, at, (size_t)param_elements(p) * element);
	add(s->device, c, param_elements(p), false);
	return at;
}

static void move(const struct controller *c, const struct setup *s)
{
	const struct param *p = &s->params.list[c->param];
	struct seen seen = {&p->rule.control, c->count, c->n_counts, run_step_tokens(&s->spec),
		(double)s->micro_batches, c->state, param_elements(p)};
	void *at = read_state(c, s);

	c->rule->move(&seen, c->by);
	add(s->device, c, seen.n, true);
	device_from_host(s->device, at, c->masters, (size_t)seen.n * s->device->bytes[MASTER]);
}

void control_update(const struct control *c, struct setup *s)
{
	for (int i = 0; i < c->n; i++)
		move(&c->list[i], s);
}

double control_capacity(const struct control *c, const struct setup *s)
{
	double sum = 0;
	int n = 0;

	for (int i = 0; i < c->n; i++)
		if (!strcmp(c->list[i].rule->state, "router.capacity")) {
			read_state(&c->list[i], s);
			sum += c->list[i].state[0];
			n++;
		}
	return n ? sum / n : 1;
}
