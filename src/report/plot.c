#include "report/plot.h"

#include "report/caption.h"

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

const struct plot *plot_find(const char *name)
{
	struct str names;

	for (int i = 0; plots[i]; i++)
		if (!strcmp(plots[i]->name, name))
			return plots[i];
	str_init(&names);
	for (int i = 0; plots[i]; i++)
		str_add_item(&names, "%s", plots[i]->name);
	error("unknown plot \"%s\": plots are %s", name, names.text);
	str_release(&names);
	return NULL;
}

bool plot_applies(const struct plot *p, const struct study *s)
{
	return (!p->axis || study_has_axis(s, p->axis)) && (!p->applies || p->applies(s));
}

int plot_make(const struct plot *p, struct study *s, const struct plot_options *o, struct chart *c)
{
	struct str caption;

	chart_init(c, p->name);
	if (!plot_applies(p, s))
		return error("plot %s: sweep %s has no %s%s", p->name, s->name,
			p->axis ? "axis " : "", p->axis ? p->axis : p->needs);
	c->ordered = s->options.order;
	c->forced = notes_count(&s->notes, NOTE_STAMP) > 0;
	if (p->fill(s, o, c))
		return -1;
	str_init(&caption);
	caption_of_figure(s, c, &caption);
	c->caption = str_keep(&caption, &c->arena);
	return o->look && c->n_panels ? chart_dress(c, o->look) : 0;
}

void plot_title(struct chart *c, const struct study *s, const char *format, ...)
{
	double epochs = study_epochs(s);
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	c->title = arena_printf(&c->arena, "%s%s: %s", c->forced ? "FORCED " : "", s->name, text);
	c->headline = arena_strdup(&c->arena, text);
	if (epochs > 4)
		c->title = arena_printf(&c->arena, "%s, multi-epoch (%.1f)", c->title, epochs);
}

void plot_subtitle(struct chart *c, const struct study *s, const char *what)
{
	const struct run_data *r = &s->runs[0];
	char buffer[32];
	int most;
	const char *seeds = caption_seeds(s, buffer, &most);

	c->subtitle = arena_printf(&c->arena, "%s; %s%s; %s tokens, data %.8s", what, seeds,
		most > 1 ? ", mean and range" : "", r->tokenizer ? r->tokenizer : "?",
		r->data_hash ? r->data_hash : "unknown");
}

void plot_marks(struct chart *c, const struct study *s, const char *line, const char *band)
{
	char buffer[32];
	int most;

	caption_seeds(s, buffer, &most);
	if (most > 1)
		c->marks = arena_printf(&c->arena, "%s; %s", line, band);
	else
		c->marks = "one seed each, so neither means nor bands";
}

void plot_axis(struct chart *c, const struct study *s, enum axis axis)
{
	c->x_title = axis_title[axis];
	c->x_log = true;
	for (int i = 0; axis == AXIS_SECONDS && i < s->n_arms; i++)
		if (!arm_alone(&s->arms[i]))
			c->x_title = "~ training seconds, beside other runs";
}

struct panel *plot_loss_panel(struct chart *c, const struct study *s, const char *what)
{
	return chart_panel(c, arena_printf(&c->arena, "%s, %s", what, study_loss_unit(s)));
}

const char *plot_label(struct chart *c, const struct arm *v)
{
	return arena_printf(&c->arena, "%s%s", v->label, arm_foreign(v) ? " (foreign)" : "");
}

int plot_style(const struct study *s, const struct arm *v)
{
	int baseline = s->baseline ? s->baseline->place : -1;

	if (v->place == baseline)
		return 0;
	return 1 + (v->place - (baseline >= 0 && v->place > baseline)) % (N_STYLES - 1);
}

/* Point i of a curve: mean and range over the runs that have it. */
static void add_point(struct series *series, const struct arm *v, enum axis axis, int i)
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
	if (!(x > 0))	/* no run has it, or a foreign one does not tell its seconds */
		return;
	int at = series->n++;
	series->x[at] = x / n;
	series->y[at] = y / n;
	series->low[at] = n > 1 ? low : NAN;
	series->high[at] = n > 1 ? high : NAN;
}

void plot_curve(struct chart *c, struct panel *p, const struct study *s,
	const struct arm *v, enum axis axis)
{
	struct series *series;
	int n = 0;

	plot_marks(c, s, "lines are means over the seeds, point by point",
		"bands reach from the lowest to the highest seed");
	for (int k = 0; k < v->n; k++)
		n = v->runs[k]->curve.n > n ? v->runs[k]->curve.n : n;
	series = chart_series(c, p, plot_label(c, v), plot_style(s, v), n);
	series->n = 0;
	for (int i = 0; i < n; i++)
		if (chart_draws(i, n))
			add_point(series, v, axis, i);
	if (series->n == 0)
		p->n_series--;
}

static void range_of(const struct arm *v, size_t member, struct series *s, int at)
{
	double low = INFINITY, high = -INFINITY;

	for (int i = 0; i < v->n; i++) {
		double value = v->runs[i]->diverged ? NAN : run_member(v->runs[i], member);
		low = fmin(low, value);
		high = fmax(high, value);
	}
	s->y[at] = arm_mean(v, member).mean;
	if (v->n > 1 && low <= high) {
		s->low[at] = low;
		s->high[at] = high;
	}
}

static void add_flat(struct chart *c, struct panel *p, struct study *s, const struct arm *v,
	const double *x, size_t member)
{
	struct series *series = chart_series(c, p, plot_label(c, v), plot_style(s, v), 2);

	series->flat = true;
	for (int i = 0; i < 2; i++) {
		series->x[i] = x[i];
		range_of(v, member, series, i);
	}
}

/*
 * Lines of plot_by(): the configurations of a variant that have a place on the x axis; where some have the same
 * place, as those of a second axis of the sweep, by the keys in which these differ.
 */
struct lines {
	const struct study *study;
	const double *x;		/* of each arm */
	bool *apart;			/* [arm, axis]: does a second value of the axis begin a line of its own? */
};

static bool has_place(const struct lines *l, const struct arm *v, const struct arm *like)
{
	return !strcmp(v->variant, like->variant) && isfinite(l->x[v - l->study->arms]);
}

static bool *apart_of(const struct lines *l, const struct arm *v)
{
	return l->apart + (v - l->study->arms) * l->study->n_axes;
}

/* Two of the variant at one place: all of it goes by the keys in which they differ. */
static void part(const struct lines *l, const struct arm *a, const struct arm *b)
{
	const struct study *s = l->study;

	if (!has_place(l, a, b) || !(l->x[a - s->arms] == l->x[b - s->arms]))
		return;
	for (int k = 0; k < s->n_axes; k++)
		for (int i = 0; i < s->n_arms && !arms_agree(a, b, s->axes[k]); i++)
			if (!strcmp(s->arms[i].variant, a->variant))
				apart_of(l, &s->arms[i])[k] = true;
}

static struct lines lines_of(struct study *s, const double *x)
{
	struct lines l = {s, x, ARENA_ARRAY(&s->arena, bool, s->n_arms * s->n_axes + 1)};

	for (int i = 0; i < s->n_arms; i++)
		for (int j = 0; j < i; j++)
			part(&l, &s->arms[i], &s->arms[j]);
	return l;
}

/* Is it on the line of `like`? */
static bool is_on(const struct lines *l, const struct arm *v, const struct arm *like)
{
	bool on = has_place(l, v, like);

	for (int k = 0; k < l->study->n_axes && on; k++)
		on = !apart_of(l, v)[k] || arms_agree(v, like, l->study->axes[k]);
	return on;
}

static bool is_first(const struct lines *l, const struct arm *v)
{
	for (const struct arm *u = l->study->arms; u < v; u++)
		if (is_on(l, u, v))
			return false;
	return is_on(l, v, v);
}

/* The colour of its first configuration in the sweep, whatever order is asked for. */
static int line_style(const struct lines *l, const struct arm *v)
{
	const struct study *s = l->study;
	const struct arm *first = v;
	int style;

	for (int i = 0; i < s->n_arms; i++)
		if (is_on(l, &s->arms[i], v) && s->arms[i].place < first->place)
			first = &s->arms[i];
	style = plot_style(s, first);
	return style ? 1 + (style - 1) % (N_COLOURS - 1) : 0;
}

static const char *line_label(struct chart *c, const struct lines *l, const struct arm *v)
{
	const char *label = v->variant;

	for (int k = 0; k < l->study->n_axes; k++)
		if (apart_of(l, v)[k])
			label = label_add(&c->arena, label, v, l->study->axes[k]);
	for (int i = 0; i < l->study->n_arms; i++)
		if (is_on(l, &l->study->arms[i], v) && arm_foreign(&l->study->arms[i]))
			return arena_printf(&c->arena, "%s (foreign)", label);
	return label;
}

/* This style, or the next that no line of the panel has, as long as there is one. */
static int free_style(const struct panel *p, int style)
{
	for (int tries = 1; tries < N_STYLES; tries++) {
		bool taken = false;
		for (int i = 0; i < p->n_series; i++)
			taken |= p->series[i].style == style && !p->series[i].flat;
		if (!taken)
			break;
		style = 1 + style % (N_STYLES - 1);
	}
	return style;
}

static void add_line(struct chart *c, struct panel *p, struct study *s, const struct lines *l,
	const struct arm *v, size_t member)
{
	const struct arm **sorted = arms_sorted(s, l->x);
	struct series *series =
		chart_series(c, p, line_label(c, l, v), free_style(p, line_style(l, v)), s->n_arms);

	series->points = true;
	series->n = 0;
	for (int i = 0; i < s->n_arms; i++)
		if (is_on(l, sorted[i], v)) {
			series->x[series->n] = l->x[sorted[i] - s->arms];
			range_of(sorted[i], member, series, series->n++);
		}
}

void plot_by(struct chart *c, struct panel *p, struct study *s, const double *x, size_t member)
{
	const struct lines l = lines_of(s, x);
	double ends[2] = {INFINITY, -INFINITY};

	plot_marks(c, s, "points and flat lines are means over the seeds",
		"bars and bands reach from the lowest to the highest seed");
	for (int i = 0; i < s->n_arms; i++) {
		ends[0] = fmin(ends[0], x[i]);
		ends[1] = fmax(ends[1], x[i]);
	}
	for (int i = 0; i < s->n_arms; i++) {
		const struct arm *v = &s->arms[i];
		if (is_first(&l, v))
			add_line(c, p, s, &l, v, member);
		else if (isnan(x[i]) && isfinite(arm_mean(v, member).mean))
			add_flat(c, p, s, v, ends, member);
	}
}
