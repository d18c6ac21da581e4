/* Loss of the trials, or of runs at several rates, against the value tried, a series each configuration. */
#include "report/plot.h"

#include <math.h>

/* Mean of the seeds, with bars from the lowest to the highest. */
static void add_point(struct series *series, const struct arm *v, const char *key)
{
	int at = series->n++;

	series->x[at] = arm_number(v, key);
	series->y[at] = trial_loss(v);
	for (int i = 0; i < v->n && v->n > 1; i++) {
		series->low[at] = fmin(series->low[at], v->runs[i]->final_loss);
		series->high[at] = fmax(series->high[at], v->runs[i]->final_loss);
	}
}

/* By its place among the others in the sweep, whatever order is asked for. */
static int style_of(struct study *s, const struct arm *first, const char *key)
{
	int style = 0, n;

	for (int i = 0; i < s->n_arms; i++) {
		const struct arm *v = &s->arms[i];
		style += v->place < first->place && arms_like(s, v, key, &n)[0] == v;
	}
	return style % N_STYLES;
}

/* Of all variants that come to this configuration, whose lines would lie on each other. */
static const char *label_of(struct study *s, const struct arm *v, const char *key)
{
	const char *label = label_without(s, v, key);

	for (const struct arm *u = v + 1; u < s->arms + s->n_arms; u++)
		if (arm_same_before(s, u) == v)
			label = arena_printf(&s->arena, "%s, %s", label, label_without(s, u, key));
	return label;
}

/* Diverged values have no point. */
static void add_series(struct chart *c, struct panel *p, struct study *s,
	const struct arm **trials, int n, const char *key)
{
	struct series *series = chart_series(c, p, label_of(s, trials[0], key),
		style_of(s, trials[0], key), n);

	series->points = true;
	series->n = 0;
	for (int i = 0; i < n; i++)
		if (isfinite(trial_loss(trials[i])))
			add_point(series, trials[i], key);
	if (!series->n)
		p->n_series--;
}

static bool tries_values(const struct study *s)
{
	return study_is_trials(s) || study_has_axis(s, "train.lr");
}

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	const char *key = study_is_trials(s) ? study_tuned_key(s, s->name) : "train.lr";
	struct panel *p = plot_loss_panel(c, s, "final loss");

	(void)o;
	if (!key)
		return error("sweep %s: its trials do not differ in any key", s->name);
	plot_title(c, s, "final loss by %s", key);
	plot_subtitle(c, s, s->rule->help);
	plot_marks(c, s, "points are means over the seeds",
		"bars reach from the lowest to the highest seed");
	c->x_title = key;
	c->x_log = true;
	c->x_few = true;
	for (int i = 0; i < s->n_arms; i++) {
		int n;
		const struct arm **trials = arms_like(s, &s->arms[i], key, &n);
		if (n && trials[0] == &s->arms[i] && !arm_same_before(s, trials[0]))
			add_series(c, p, s, trials, n, key);
	}
	return 0;
}

const struct plot plot_tune = {
	.name = "tune",
	.place = 8,
	.help = "loss by learning rate: of trials, or of a sweep that has several",
	.applies = tries_values,
	.needs = "trials, nor several learning rates: show the sweep NAME.tune",
	.fill = fill,
};
