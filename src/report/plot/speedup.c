/*
 * Speed-up over the run (arXiv 2401.04081, appendix D): for each loss that the baseline passes, its
 * tokens to it / the variant's tokens to it. Every seed by itself; the line is the geometric mean.
 */
#include "report/plot.h"

#include <math.h>
#include <stdlib.h>

static bool applies(const struct study *s)
{
	return s->baseline && s->n_arms > 1;
}

/* The lowest loss among the first i + 1 points. */
static double level_at(const struct curve *c, int i)
{
	double level = INFINITY;

	for (int k = 0; k <= i; k++)
		level = fmin(level, c->loss[k]);
	return level;
}

/*
 * A loss reached by the first evaluation after the start was reached some time before: what lies
 * between that and the start is not known, and has no ratio.
 */
static bool known(const struct curve *c, struct crossing at)
{
	return at.reached && at.at > 0 && c->x[AXIS_STEPS][at.at - 1] > 0;
}

static double ratio_at(const struct study *s, const struct curve *baseline,
	const struct curve *variant, enum axis axis, int i)
{
	double level = i < baseline->n ? level_at(baseline, i) : NAN;

	if (!known(baseline, curve_cross(baseline, level)) ||
		!known(variant, curve_cross(variant, level)))
		return NAN;
	return rule_ratio(s->rule, baseline, variant, level, axis);
}

/* Point i of the baseline's curve: the ratio at the loss it has reached there. */
static void add_point(const struct study *s, const struct pairs *p, enum axis axis, int i,
	struct series *out)
{
	double *ratio = xcalloc((size_t)p->n + 1, sizeof *ratio), x = 0, low = INFINITY, high = 0;
	bool whole = true;

	for (int k = 0; k < p->n && whole; k++) {
		const struct curve *b = p->baseline[k];
		ratio[k] = ratio_at(s, b, p->variant[k], axis, i);
		whole = isfinite(ratio[k]) && ratio[k] > 0;
		if (!whole)
			break;
		x += b->x[axis][i] / p->n;
		low = fmin(low, ratio[k]);
		high = fmax(high, ratio[k]);
	}
	if (whole) {
		int at = out->n++;
		out->x[at] = x;
		out->y[at] = interval_of_ratio(ratio, p->n).mean;
		out->low[at] = p->n > 1 ? low : NAN;
		out->high[at] = p->n > 1 ? high : NAN;
	}
	free(ratio);
}

static void add_variant(struct chart *c, struct panel *panel, struct study *s,
	const struct arm *v, enum axis axis)
{
	struct pairs p = study_pairs(s, v, NAN);
	int n = p.n ? p.baseline[0]->n : 0, stride = n / 400 + 1;
	struct series *series = chart_series(c, panel, plot_label(c, v), plot_style(s, v), n);

	series->n = 0;
	for (int i = 0; i < n; i++)
		if (i % stride == 0 || i == n - 1)
			add_point(s, &p, axis, i, series);
	if (series->n == 0)
		panel->n_series--;
}

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	struct panel *p = chart_panel(c,
		arena_printf(&c->arena, "%s of %s / %s to the same loss", axis_name[o->x], s->baseline->label,
			axis_name[o->x]));

	plot_title(c, s, "speed-up over %s during the run", s->baseline->label);
	plot_subtitle(c, s, s->rule->help);
	plot_marks(c, s,
		"lines are geometric means over pairs of one seed, where every pair has a ratio",
		"bands reach from the lowest to the highest pair");
	c->x_title = arena_printf(&c->arena, "%s of %s", axis_title[o->x], s->baseline->label);
	c->x_log = true;
	p->y_level = 1;
	for (int i = 0; i < s->n_arms; i++)
		if (&s->arms[i] != s->baseline)
			add_variant(c, p, s, &s->arms[i], o->x);
	return 0;
}

const struct plot plot_speedup = {
	.name = "speedup",
	.place = 2,
	.help = "speed-up over the baseline at every loss it passes",
	.applies = applies,
	.needs = "finished run of its baseline and of another variant",
	.fill = fill,
};
