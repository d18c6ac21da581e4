/*
 * Right answers of a task: by the first number that the sweep varies, a panel for each test set;
 * or, where it varies none, by the length of the sets or what their examples hold.
 */
#include "report/plot.h"
#include "report/recall.h"

#include <math.h>

enum { MAX_SEEDS = 256 };

static struct panel *new_panel(struct chart *c, enum recall_share which)
{
	struct panel *p = chart_panel(c, which == RECALL_TOKENS ? "tokens right" : "answers whole");

	p->y_low = 0;
	p->y_high = 1;
	return p;
}

/* --- by an axis of the sweep --------------------------------------------------------------- */

/* A key that has at least two values; NULL: no axis is one of numbers. */
static const char *number_axis(struct study *s)
{
	for (int k = 0; k < s->n_axes; k++) {
		const double *x = arms_numbers(s, s->axes[k]);
		double low = INFINITY, high = -INFINITY;
		for (int i = 0; i < s->n_arms; i++) {
			low = fmin(low, x[i]);
			high = fmax(high, x[i]);
		}
		if (low < high)
			return s->axes[k];
	}
	return NULL;
}

static bool is_test(const struct recall_set *set)
{
	return set->length >= 0;
}

/* The test sets; val where there are none: it is a mixture of what they ask for. */
static void by_axis(struct study *s, struct chart *c, const struct recall *of, const char *key)
{
	const double *x = arms_numbers(s, key);

	c->x_title = key;
	c->x_log = true;
	for (int i = 0; i < s->n_arms; i++)
		c->x_log = c->x_log && !(x[i] <= 0);
	for (int k = 0; k < of->n; k++) {
		if (!is_test(&of->sets[k]) && of->n > 1)
			continue;
		enum recall_share which = of->sets[k].several ? RECALL_ANSWERS : RECALL_TOKENS;
		struct panel *p = new_panel(c, which);
		p->title = of->sets[k].name;
		for (int i = 0; i < s->n_runs; i++)
			s->runs[i].other = recall_of(of, s, &s->runs[i], k, which);
		plot_by(c, p, s, x, offsetof(struct run_data, other));
	}
}

/* --- by the sets --------------------------------------------------------------------------- */

/* Have several test sets the same length, so that they differ in what they hold? */
static bool differ_in_items(const struct recall *of)
{
	for (int k = 1; k < of->n; k++)
		if (is_test(&of->sets[k]) && of->sets[k].length == of->sets[k - 1].length)
			return true;
	return false;
}

struct line {
	const struct study *s;
	const struct recall *of;
	const struct arm *v;
	enum recall_share which;
};

static void add_point(struct series *line, const struct line *l, int set, double x)
{
	double share[MAX_SEEDS], low = INFINITY, high = -INFINITY;
	int n = 0, at = line->n;

	for (int k = 0; k < l->v->n && n < MAX_SEEDS; k++) {
		share[n] = recall_of(l->of, l->s, l->v->runs[k], set, l->which);
		low = fmin(low, share[n]);
		high = fmax(high, share[n]);
		n += isfinite(share[n]);
	}
	if (!n)
		return;
	line->x[at] = x;
	line->y[at] = interval_of_mean(share, n).mean;
	line->low[at] = n > 1 ? low : NAN;
	line->high[at] = n > 1 ? high : NAN;
	line->n++;
}

/* A panel of the test sets of one length over their items, or (length < 0) of all over their lengths. */
static void add_panel(struct study *s, struct chart *c, const struct recall *of, long long length,
	enum recall_share which)
{
	struct panel *p = new_panel(c, which);

	if (length >= 0)
		p->title = arena_printf(&c->arena, "length %lld", length);
	for (int i = 0; i < s->n_arms; i++) {
		const struct line l = {s, of, &s->arms[i], which};
		struct series *line = chart_series(c, p, plot_label(c, l.v), plot_style(s, l.v), of->n);
		line->points = true;
		line->n = 0;
		for (int k = 0; k < of->n; k++) {
			const struct recall_set *set = &of->sets[k];
			if (is_test(set) && (length < 0 || set->length == length))
				add_point(line, &l, k, (double)(length < 0 ? set->length : set->items));
		}
	}
}

static void by_sets(struct study *s, struct chart *c, const struct recall *of)
{
	bool items = differ_in_items(of), several = false;

	c->x_title = items ? "items of the examples" : "length of the examples";
	c->x_log = true;
	for (int k = 0; k < of->n; k++)
		several |= of->sets[k].several;
	for (enum recall_share which = RECALL_TOKENS; which <= (several ? RECALL_ANSWERS : RECALL_TOKENS); which++) {
		if (!items)
			add_panel(s, c, of, -1, which);
		for (int k = 0; items && k < of->n; k++)
			if (is_test(&of->sets[k]) && (!k || of->sets[k].length != of->sets[k - 1].length))
				add_panel(s, c, of, of->sets[k].length, which);
	}
}

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	struct recall of;
	const char *key = number_axis(s);

	(void)o;
	if (recall_read(&of, s, false))
		return -1;
	plot_title(c, s, "right answers");
	plot_subtitle(c, s, "last score of each set");
	c->ruleless = true;
	c->x_few = true;
	plot_marks(c, s, "points are means over the seeds", "bars reach from the lowest to the highest seed");
	if (key)
		by_axis(s, c, &of, key);
	else
		by_sets(s, c, &of);
	return 0;
}

const struct plot plot_recall = {
	.name = "recall",
	.place = 12,
	.help = "right answers of a task, by what the sweep varies or by set of examples",
	.applies = recall_applies,
	.needs = recall_needs,
	.fill = fill,
};
