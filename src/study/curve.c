#include "study/curve.h"

#include "base/error.h"
#include "base/str.h"

#include <math.h>
#include <string.h>

const char *const axis_name[N_AXES] = {"steps", "tokens", "flops", "seconds"};
const char *const axis_title[N_AXES] = {
	"training steps", "training tokens", "model FLOPs", "training seconds"};

int axis_find(const char *name)
{
	return str_index(name, axis_name, N_AXES);
}

struct curve curve_new(struct arena *a, int n)
{
	struct curve c = {.n = n, .loss = ARENA_ARRAY(a, double, n)};

	for (int i = 0; i < N_AXES; i++)
		c.x[i] = ARENA_ARRAY(a, double, n);
	return c;
}

struct crossing curve_cross(const struct curve *c, double target)
{
	struct crossing none = {.reached = false};

	for (int i = 0; i < c->n && isfinite(c->loss[i]) && !c->diverged; i++) {
		if (c->loss[i] > target)
			continue;
		if (i == 0)
			return (struct crossing){.reached = true, .at = 0, .share = 1};
		return (struct crossing){.reached = true,
			.at = i,
			.share = (c->loss[i - 1] - target) / (c->loss[i - 1] - c->loss[i])};
	}
	return none;
}

/* The last finite point. */
static struct crossing curve_end(const struct curve *c)
{
	int n = 0;

	while (n < c->n && isfinite(c->loss[n]))
		n++;
	return (struct crossing){.reached = n > 0, .at = n - 1, .share = 1};
}

double curve_x(const struct curve *c, struct crossing at, enum axis axis)
{
	const double *x = c->x[axis];

	if (!at.reached)
		return NAN;
	return at.at == 0 ? x[0] : x[at.at - 1] + at.share * (x[at.at] - x[at.at - 1]);
}

double curve_final(const struct curve *c)
{
	struct crossing end = curve_end(c);

	return end.reached ? c->loss[end.at] : NAN;
}

double curve_best(const struct curve *c)
{
	double best = NAN;

	for (int i = 0; i < c->n; i++)
		best = fmin(best, c->loss[i]); /* fmin passes over NaN */
	return best;
}

static const struct rule rules[] = {
	{.name = "default", .help = "validation loss, raw"},
	{.name = "paper",
		.training = true,
		.baseline_at_end = true,
		.min_steps = 10000,
		.alpha = 0.001,
		.from_first = true,
		.help = "training loss, EMA 0.001 from the first loss; baseline at its end"},
	{.name = "paper-scaled",
		.training = true,
		.alpha = 0.001,
		.alpha_steps = 150000,
		.help = "training loss, bias-corrected EMA with alpha = 0.001 x 150,000 / steps"},
	{.name = NULL},
};

const struct rule *rule_find(const char *name)
{
	struct str names;

	for (const struct rule *r = rules; r->name; r++)
		if (!strcmp(r->name, name))
			return r;
	str_init(&names);
	for (const struct rule *r = rules; r->name; r++)
		str_add_item(&names, "%s", r->name);
	error("unknown rule \"%s\": rules are %s", name, names.text);
	str_release(&names);
	return NULL;
}

double rule_alpha(const struct rule *r, double steps)
{
	return r->alpha_steps > 0 ? fmin(1, r->alpha * r->alpha_steps / steps) : r->alpha;
}

/* Steps that were not logged count with the loss of the next one that was. */
static double weight_of_gap(double alpha, double steps)
{
	return alpha >= 1 ? 1 : -expm1(steps * log1p(-alpha));
}

struct curve rule_smooth(const struct rule *r, const struct curve *raw, struct arena *a)
{
	struct curve c = *raw;
	const double *step = raw->x[AXIS_STEPS];
	double ema = 0, seen = 0; /* seen: weight of all losses so far, 1 without correction */

	if (r->alpha <= 0 || raw->n == 0)
		return c;
	c.loss = ARENA_ARRAY(a, double, raw->n);
	double alpha = rule_alpha(r, step[raw->n - 1]);
	for (int i = 0; i < raw->n; i++) {
		double w = i == 0 && r->from_first
				   ? 1
				   : weight_of_gap(alpha, step[i] - (i ? step[i - 1] : 0));
		ema += w * (raw->loss[i] - ema);
		seen += w * (1 - seen);
		c.loss[i] = ema / seen;
	}
	return c;
}

/* Where the baseline reaches the target; its end, if the rule says so and it is its final loss. */
static struct crossing rule_baseline(const struct rule *r, const struct curve *baseline, double target)
{
	bool own = r->baseline_at_end && target == curve_final(baseline);

	return own ? curve_end(baseline) : curve_cross(baseline, target);
}

double rule_ratio(const struct rule *r, const struct curve *baseline, const struct curve *variant,
	double target, enum axis axis)
{
	return curve_x(baseline, rule_baseline(r, baseline, target), axis) /
	       curve_x(variant, curve_cross(variant, target), axis);
}
