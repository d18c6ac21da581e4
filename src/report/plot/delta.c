/*
 * By how much each variant's training loss differs from the baseline's: pairs of one seed, which
 * saw the same batches, smoothed by a running mean.
 */
#include "report/paired.h"
#include "report/plot.h"

#include <math.h>

/* The baseline's run of the same seed; NULL if the two did not end after the same steps. */
static const struct run_data *partner(const struct study *s, const struct run_data *r)
{
	for (int i = 0; i < s->baseline->n; i++) {
		const struct run_data *b = s->baseline->runs[i];
		if (b->seed == r->seed && !b->diverged && !r->diverged && b->steps > 1 &&
			!(fabs(b->steps - r->steps) > 0) && !(fabs(b->tokens - r->tokens) > 0))
			return b;
	}
	return NULL;
}

static bool has_pairs(const struct study *s)
{
	for (int i = 0; s->baseline && i < s->n_arms; i++)
		for (int k = 0; k < s->arms[i].n && &s->arms[i] != s->baseline; k++)
			if (partner(s, s->arms[i].runs[k]))
				return true;
	return false;
}

/* All pairs of a variant that are as long as the first. */
static int read_pairs(struct study *s, const struct arm *v, struct paired *p, int *n)
{
	*n = 0;
	for (int i = 0; i < v->n; i++) {
		const struct run_data *b = partner(s, v->runs[i]);
		if (!b)
			continue;
		if (paired_read(s->db, b->id, v->runs[i]->id, "train", &s->arena, &p[*n]))
			return -1;
		*n += p[*n].n == p[0].n;
	}
	return 0;
}

/* Mean over the seeds with their range; of a single one the band is two standard errors. */
static void add_point(struct series *series, const struct paired *p, int n, int i, enum axis x)
{
	double sum = 0, low = INFINITY, high = -INFINITY;
	int at = series->n++, middle = i + p->window / 2;

	for (int k = 0; k < n; k++) {
		double half = n > 1 ? 0 : 2 * p[k].error[i];
		sum += p[k].mean[i];
		low = fmin(low, p[k].mean[i] - half);
		high = fmax(high, p[k].mean[i] + half);
	}
	series->x[at] = x == AXIS_STEPS ? p->step[middle] : p->tokens[middle];
	series->y[at] = sum / n;
	series->low[at] = low;
	series->high[at] = high;
}

static int add_variant(struct study *s, const struct arm *v, struct chart *c, enum axis x)
{
	struct paired *p = ARENA_ARRAY(&s->arena, struct paired, v->n);
	struct series *series;
	int n;

	if (read_pairs(s, v, p, &n))
		return -1;
	if (!n || !p->n_means)
		return 0;
	series = chart_series(c, &c->panels[0], plot_label(c, v), plot_style(s, v), p->n_means);
	series->n = 0;
	for (int i = 0; i < p->n_means; i++)
		if (chart_draws(i, p->n_means))
			add_point(series, p, n, i, x);
	return 0;
}

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	struct panel *panel = plot_loss_panel(c, s, "difference of losses");

	if (o->x != AXIS_TOKENS && o->x != AXIS_STEPS)
		return error("plot delta: pairs share their tokens and steps: --x tokens or steps");
	plot_title(c, s, "training loss against %s, pairs of one seed", s->baseline->label);
	plot_subtitle(c, s,
		"running mean of paired differences; band of one seed: 2 standard errors");
	c->ruleless = true;
	c->marks =
		"lines are running means of the paired differences over a fiftieth of the steps"
		" (at least 10, at most 200), means over the seeds; bands"
		" reach from the lowest to the highest seed, of a single seed two standard errors of"
		" the running mean to either side";
	c->x_title = axis_title[o->x];
	panel->y_level = 0;
	panel->level_title = plot_label(c, s->baseline);
	for (int i = 0; i < s->n_arms; i++)
		if (&s->arms[i] != s->baseline && add_variant(s, &s->arms[i], c, o->x))
			return -1;
	return 0;
}

const struct plot plot_delta = {
	.name = "delta",
	.place = 6,
	.help = "paired difference of training losses to the baseline, over tokens or steps",
	.applies = has_pairs,
	.needs = "baseline with a variant of the same seed",
	.fill = fill,
};
