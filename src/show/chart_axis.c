/* The axes of a chart: range, scale, and where the numbers stand. */
#include "show/chart_sheet.h"

#include <math.h>
#include <stdio.h>

struct tics {
	double at[64];
	int n;
};

struct span {
	double low, high;
	bool log;
};

static void widen(struct span *s, double value)
{
	if (!isfinite(value) || (s->log && value <= 0))
		return;
	s->low = fmin(s->low, value);
	s->high = fmax(s->high, value);
}

/* A logarithmic axis leaves out what is not above 0: the evaluation before the first step. */
static struct span x_span(const struct chart *c)
{
	struct span s = {INFINITY, -INFINITY, c->x_log};

	for (const struct panel *p = c->panels; p < c->panels + c->n_panels; p++) {
		for (int k = 0; k < p->n_x; k++)
			widen(&s, p->x[k]);
		for (int i = 0; i < p->n_series; i++)
			for (int k = 0; k < p->series[i].n; k++)
				widen(&s, p->series[i].x[k]);
	}
	s.low = isfinite(c->x_low) ? c->x_low : s.low;
	s.high = isfinite(c->x_high) ? c->x_high : s.high;
	return s;
}

/* Of what lies within the x axis. */
static struct span y_span(const struct chart *c, const struct panel *p)
{
	struct span s = {INFINITY, -INFINITY, p->y_log};

	for (int i = 0; i < p->n_series; i++)
		for (int k = 0; k < p->series[i].n; k++) {
			if (p->series[i].x[k] < c->x_low || p->series[i].x[k] > c->x_high)
				continue;
			widen(&s, p->series[i].y[k]);
			widen(&s, p->series[i].low[k]);
			widen(&s, p->series[i].high[k]);
		}
	s.low = isfinite(p->y_low) ? p->y_low : s.low;
	s.high = isfinite(p->y_high) ? p->y_high : s.high;
	return s;
}

static void add_tic(struct tics *t, double at)
{
	if (t->n < (int)ARRAY_SIZE(t->at))
		t->at[t->n++] = at;
}

/* Every x of the data. */
static void data_tics(const struct chart *c, struct tics *t)
{
	for (const struct panel *p = c->panels; p < c->panels + c->n_panels; p++)
		for (const struct series *s = p->series; s < p->series + p->n_series; s++)
			for (int k = 0; k < s->n && !s->flat; k++) {
				int i = 0;
				while (i < t->n && t->at[i] != s->x[k])
					i++;
				if (i == t->n)
					add_tic(t, s->x[k]);
			}
}

/* Multiples of the smallest of 1, 2, 5 x 10^k by which there are at most so many. */
static void even_tics(const struct span *s, int most, struct tics *t)
{
	static const double digits[] = {1, 2, 5, 10};
	double rough = (s->high - s->low) / most, power = pow(10, floor(log10(rough))), step = 0;

	for (int i = 0; i < 4 && step < rough; i++)
		step = digits[i] * power;
	for (double k = ceil(s->low / step - 1e-9); k * step <= s->high + 1e-9 * step; k++)
		add_tic(t, k * step);
}

/* The first n of 1, 2, 5, in each `stride`-th power of ten. */
static void power_tics(const struct span *s, int n, int stride, struct tics *t)
{
	static const double digits[] = {1, 2, 5};

	t->n = 0;
	for (int k = (int)floor(log10(s->low)); k <= log10(s->high); k += stride)
		for (int i = 0; i < n; i++)
			if (digits[i] * pow(10, k) >= s->low && digits[i] * pow(10, k) <= s->high)
				add_tic(t, digits[i] * pow(10, k));
}

/* 1, 2 and 5 of each power of ten, if they fit; only 1 if not; less than a decade in even steps. */
static struct tics tics_of(const struct span *s, int most)
{
	struct tics t = {.n = 0};

	most = most < 2 ? 2 : most;
	if (!(s->low < s->high)) {
		add_tic(&t, s->low);
	} else if (!s->log) {
		even_tics(s, most, &t);
	} else {
		power_tics(s, 3, 1, &t);
		for (int stride = 1; t.n > most && stride < 20; stride++)
			power_tics(s, 1, stride, &t);
		if (t.n < 3 && s->high / s->low < 20) {
			t.n = 0;
			even_tics(s, most, &t);
		}
	}
	return t;
}

/* "5k", "2.5M": where numbers reach ten thousand. */
static void print_number(double x, bool large, struct str *out)
{
	static const char units[] = " kMGTP";
	int u = 0;

	for (; large && fabs(x) > 999.5 && u < 5; u++)
		x /= 1000;
	str_printf(out, "%.6g%.*s", x, u > 0, units + u);
}

static void print_tics(const char *axis, const struct tics *t, bool numbers, struct str *out)
{
	bool large = false;

	for (int i = 0; i < t->n; i++)
		large |= fabs(t->at[i]) >= 1e4;
	str_printf(out, "set %stics (", axis);
	for (int i = 0; i < t->n; i++) {
		str_add(out, i ? ", '" : "'");
		if (numbers)
			print_number(t->at[i], large, out);
		str_printf(out, "' %.9g", t->at[i]);
	}
	str_add(out, ")\n");
}

/* The data with a margin, or what is asked for. */
void chart_x_axis(const struct chart *c, const struct sheet *sheet, bool numbers, struct str *out)
{
	struct span s = x_span(c);
	double share = c->x_few ? 0.06 : 0.01;

	if (!(s.low <= s.high))
		return;
	struct tics t = {.n = 0};
	if (c->x_few)
		data_tics(c, &t);
	else
		t = tics_of(&s, (int)(sheet_across(sheet) / (s.log ? 3.4 : 5)));
	double margin = s.log ? pow(s.high / s.low, share) : share * (s.high - s.low);
	if (!(s.low < s.high)) /* a single x */
		margin = s.log ? 2 : 1;
	if (isnan(c->x_low))
		s.low = s.log ? s.low / margin : s.low - margin;
	if (isnan(c->x_high))
		s.high = s.log ? s.high * margin : s.high + margin;
	str_printf(out, "%sset xrange [%.9g:%.9g] noextend\n", s.log ? "set logscale x\n" : "",
		s.low, s.high);
	print_tics("x", &t, numbers, out);
}

/* Where there is room gnuplot chooses the numbers; it does not know the size of the font. */
void chart_y_axis(const struct chart *c, const struct panel *p, const struct sheet *sheet,
	struct str *out)
{
	struct span s = y_span(c, p);
	double room = sheet_room(sheet);
	char low[32] = "*", high[32] = "*";

	if (isfinite(p->y_low))
		snprintf(low, sizeof low, "%.6g", p->y_low);
	if (isfinite(p->y_high))
		snprintf(high, sizeof high, "%.6g", p->y_high);
	str_printf(out, "set yrange [%s:%s]\n%s logscale y\nset ytics autofreq\n", low, high,
		p->y_log ? "set" : "unset");
	if (!(s.low < s.high))
		return;
	struct tics t = tics_of(&s, (int)(room / 2.2));
	if (p->y_log) {
		str_printf(out, "set yrange [%.6g:%.6g] noextend\n",
			isfinite(p->y_low) ? s.low : 0.98 * s.low,
			isfinite(p->y_high) ? s.high : s.high / 0.98);
		print_tics("y", &t, true, out);
	} else if (room < 14 && t.n > 1) {
		str_printf(out, "set ytics %.9g\n", t.at[1] - t.at[0]);
	}
}
