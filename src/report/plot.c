#include "report/plot.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define X(name) extern const struct plot plot_##name;
#include "plot.inc"
#undef X

const struct plot *const plots[] = {
#define X(name) &plot_##name,
#include "plot.inc"
#undef X
	NULL,
};

enum { MOST_POINTS = 600 }; /* of a curve in a figure */

const struct plot *plot_find(const char *name)
{
	struct str names;

	str_init(&names);
	for (int i = 0; plots[i]; i++) {
		if (!strcmp(plots[i]->name, name)) {
			str_release(&names);
			return plots[i];
		}
		str_printf(&names, "%s%s", i ? ", " : "", plots[i]->name);
	}
	error("unknown plot \"%s\": plots are %s", name, names.text);
	str_release(&names);
	return NULL;
}

int plot_make(const struct plot *p, struct study *s, const struct plot_options *o, struct chart *c)
{
	chart_init(c, p->name);
	if (p->applies && !p->applies(s))
		return error("plot %s: sweep %s has no %s", p->name, s->sweep.name, p->needs);
	c->ordered = s->options.order;
	return p->fill(s, o, c);
}

void plot_title(struct chart *c, const struct study *s, const char *format, ...)
{
	bool forced = notes_count(&s->notes, NOTE_STAMP) > 0;
	double epochs = study_epochs(s);
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	c->title = chart_text(c, "%s%s: %s", forced ? "FORCED " : "", s->sweep.name, text);
	if (epochs > 4)
		c->title = chart_text(c, "%s, multi-epoch (%.1f)", c->title, epochs);
}

void plot_subtitle(struct chart *c, const struct study *s, const char *what)
{
	const struct run_data *r = &s->runs[0];
	int least = s->n_runs, most = 0;
	char seeds[32];

	for (int i = 0; i < s->n_setups; i++) {
		least = s->setups[i].n < least ? s->setups[i].n : least;
		most = s->setups[i].n > most ? s->setups[i].n : most;
	}
	if (least == most)
		snprintf(seeds, sizeof seeds, "%d seed%s", most, most == 1 ? "" : "s");
	else
		snprintf(seeds, sizeof seeds, "%d to %d seeds", least, most);
	c->subtitle = chart_text(c, "%s; %s%s; %s tokens, data %.8s", what, seeds,
		most > 1 ? ", mean and range" : "", r->tokenizer ? r->tokenizer : "?",
		r->data_hash ? r->data_hash : "unknown");
}

const char *plot_label(struct chart *c, const struct setup *v)
{
	return chart_text(c, "%s%s", v->label, setup_foreign(v) ? " (foreign)" : "");
}

int plot_style(const struct study *s, const struct setup *v)
{
	int baseline = s->baseline ? s->baseline->place : -1;

	if (v->place == baseline)
		return 0;
	return 1 + (v->place - (baseline >= 0 && v->place > baseline)) % (N_STYLES - 1);
}

/* Point i of a curve: mean and range over the runs that have it. */
static void add_point(struct series *series, const struct setup *v, enum axis axis, int i)
{
	double x = 0, y = 0, low = INFINITY, high = -INFINITY;
	int n = 0;

	for (int k = 0; k < v->n; k++) {
		const struct curve *c = &v->runs[k]->curve;
		if (i >= c->n || !isfinite(c->loss[i]))
			continue;
		x += c->x[axis][i];
		y += c->loss[i];
		low = fmin(low, c->loss[i]);
		high = fmax(high, c->loss[i]);
		n++;
	}
	if (n == 0 || x <= 0)
		return;
	int at = series->n++;
	series->x[at] = x / n;
	series->y[at] = y / n;
	series->low[at] = n > 1 ? low : NAN;
	series->high[at] = n > 1 ? high : NAN;
}

struct series *plot_curve(struct chart *c, struct panel *p, const struct study *s,
	const struct setup *v, enum axis axis)
{
	struct series *series;
	int n = 0;

	for (int k = 0; k < v->n; k++)
		n = v->runs[k]->curve.n > n ? v->runs[k]->curve.n : n;
	series = chart_series(c, p, plot_label(c, v), plot_style(s, v), n);
	series->n = 0;
	int stride = (n + MOST_POINTS - 1) / MOST_POINTS;
	for (int i = 0; i < n; i++)
		if (i % stride == 0 || i == n - 1)
			add_point(series, v, axis, i);
	return series;
}

static void range_of(const struct setup *v, size_t member, struct series *s, int at)
{
	double low = INFINITY, high = -INFINITY;

	for (int i = 0; i < v->n; i++) {
		double value = v->runs[i]->diverged ? NAN : run_member(v->runs[i], member);
		low = fmin(low, value);
		high = fmax(high, value);
	}
	s->y[at] = setup_mean(v, member).mean;
	if (v->n > 1 && low <= high) {
		s->low[at] = low;
		s->high[at] = high;
	}
}

static void add_flat(struct chart *c, struct panel *p, struct study *s, const struct setup *v,
	const double *x, size_t member)
{
	struct series *series = chart_series(c, p, v->label, plot_style(s, v), 2);

	series->flat = true;
	for (int i = 0; i < 2; i++) {
		series->x[i] = x[i];
		range_of(v, member, series, i);
	}
}

static bool same_line(const struct setup *a, const struct setup *b, const char *key)
{
	return !strcmp(a->variant, b->variant) && isfinite(setup_number(a, key)) &&
	       isfinite(setup_number(b, key));
}

static bool first_of_line(const struct study *s, const struct setup *v, const char *key)
{
	for (const struct setup *u = s->setups; u < v; u++)
		if (same_line(u, v, key))
			return false;
	return true;
}

/* The style of the line's first configuration in the sweep, whatever order is asked for. */
static int line_style(const struct study *s, const struct setup *v, const char *key)
{
	const struct setup *first = v;

	for (int i = 0; i < s->n_setups; i++)
		if (same_line(&s->setups[i], v, key) && s->setups[i].place < first->place)
			first = &s->setups[i];
	return plot_style(s, first);
}

static void add_line(struct chart *c, struct panel *p, struct study *s, const struct setup *v,
	const char *key, size_t member)
{
	const struct setup **sorted = setups_by(s, key);
	struct series *series = chart_series(c, p, v->variant, line_style(s, v, key), s->n_setups);

	series->points = true;
	series->n = 0;
	for (int i = 0; i < s->n_setups; i++)
		if (same_line(sorted[i], v, key)) {
			series->x[series->n] = setup_number(sorted[i], key);
			range_of(sorted[i], member, series, series->n++);
		}
}

void plot_by_key(struct chart *c, struct panel *p, struct study *s, const char *key, size_t member)
{
	double x[2] = {INFINITY, -INFINITY};

	for (int i = 0; i < s->n_setups; i++) {
		x[0] = fmin(x[0], setup_number(&s->setups[i], key));
		x[1] = fmax(x[1], setup_number(&s->setups[i], key));
	}
	for (int i = 0; i < s->n_setups; i++) {
		const struct setup *v = &s->setups[i];
		if (isfinite(setup_number(v, key)) && first_of_line(s, v, key))
			add_line(c, p, s, v, key, member);
		else if (isnan(setup_number(v, key)) && isfinite(setup_mean(v, member).mean))
			add_flat(c, p, s, v, x, member);
	}
}
