#include "plan/match.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "train/cost.h"

/* Farther from the other spec than this share of its cost, the two are not called equal. */
static const double tolerance = 0.02;

struct match {
	struct arena *arena;
	struct config *config;
	const struct device *device;
	long n_vocab;
	bool by_flops;
	const char *to, *key;
	const struct field *field;	/* of the key */
};

/* A value of the key, and what the model then costs. */
struct trial {
	long value;
	double cost;
};

static int measure(const struct match *m, const struct config *c, double *amount)
{
	struct setup setup;
	struct cost cost;

	if (setup_open(&setup, c, m->device, m->n_vocab))
		return -1;
	cost_of(&setup, &cost);
	*amount = m->by_flops ? cost.flops_per_token : cost.params.active;
	setup_close(&setup);
	return 0;
}

/* The other spec, with those keys of the run that are not the model's but change FLOPs per token. */
static int measure_other(const struct match *m, double *amount)
{
	static const char *const shared[] = {"data.path", "data.vocab", "train.batch", "train.context",
		"train.micro_batch", "train.tokens"};
	const char *overrides[ARRAY_SIZE(shared)];
	struct config other;

	for (size_t i = 0; i < ARRAY_SIZE(shared); i++)
		overrides[i] = arena_printf(m->arena, "%s=%s", shared[i],
			config_find(m->config, shared[i])->text);
	if (spec_load(m->arena, m->to, overrides, ARRAY_SIZE(shared), spec_schema(), &other))
		return -1;
	if (*config_find(&other, "match.to")->word)
		return error("%s: match.to: %s is itself matched to %s: name that one", m->config->file,
			m->to, config_find(&other, "match.to")->word);
	return measure(m, &other, amount);
}

static int try_value(struct match *m, long value, struct trial *t)
{
	char text[24];

	snprintf(text, sizeof text, "%ld", value);
	config_set(m->config, m->arena, m->key, text, "match");
	t->value = value;
	return measure(m, m->config, &t->cost);
}

/*
 * Doubles from 1 (0 is "by the other sizes" where a key allows it) until the target is reached, then
 * halves the interval: between neighbours, the nearer one.
 */
static int solve(struct match *m, double target, struct trial *best)
{
	struct trial low, high, middle;

	if (try_value(m, (long)fmax(m->field->min, 1), &low))
		return -1;
	high = low;
	while (high.cost < target && (double)high.value < m->field->max) {
		low = high;
		if (try_value(m, (long)fmin(2.0 * (double)low.value, m->field->max), &high))
			return -1;
	}
	while (high.value - low.value > 1) {
		if (try_value(m, low.value + (high.value - low.value) / 2, &middle))
			return -1;
		*(middle.cost < target ? &low : &high) = middle;
	}
	*best = fabs(low.cost - target) <= fabs(high.cost - target) ? low : high;
	return 0;
}

static int check_key(const struct match *m)
{
	const struct config_value *v = config_find(m->config, m->key);

	if (!v || v->field->type != FIELD_INT || strncmp(m->key, "model.", strlen("model.")))
		return error("%s: match.solve: \"%s\" is no whole-number key of a %s model, such as "
			"model.d_model", m->config->file, m->key, m->config->choice);
	if (!strcmp(v->origin, "command line"))
		return error("command line: %s is solved by match (%s): leave it out, or give match.to= "
			"to match nothing", m->key, config_find(m->config, "match.to")->origin);
	return 0;
}

static int check_distance(const struct match *m, double target, const struct trial *t)
{
	const char *what = m->by_flops ? "FLOPs per token" : "active parameters";

	if (fabs(t->cost - target) <= tolerance * target)
		return 0;
	return error("%s: match: no %s comes within %g %% of the %.10g %s of %s: the nearest is %ld with "
		"%.10g", m->config->file, m->key, 100 * tolerance, target, what, m->to, t->value, t->cost);
}

int match_solve(struct arena *a, struct config *c, const struct device *d, long n_vocab)
{
	struct match m = {.arena = a, .config = c, .device = d, .n_vocab = n_vocab,
		.to = config_find(c, "match.to")->word, .key = config_find(c, "match.solve")->word,
		.by_flops = !strcmp(config_find(c, "match.by")->word, "flops")};
	struct trial best;
	double target;

	if (!*m.to)
		return 0;
	if (check_key(&m))
		return -1;
	m.field = config_find(c, m.key)->field;
	if (measure_other(&m, &target) || solve(&m, target, &best) || check_distance(&m, target, &best))
		return -1;
	config_set(c, a, m.key, arena_printf(a, "%ld", best.value), arena_printf(a,
		"match: %.10g %s, %.10g in %s", best.cost, m.by_flops ? "FLOPs per token" : "active",
		target, m.to));
	config_set(c, a, "match.to", "", "solved");
	config_set(c, a, "match.solve", "", "solved");
	return 0;
}

int match_load(struct arena *a, const char *path, const char *const *overrides, int n_overrides,
	const struct device *d, struct config *c)
{
	return spec_load(a, path, overrides, n_overrides, spec_schema(), c) ||
		match_solve(a, c, d, 0) ? -1 : 0;
}
