/* The x axis of a chart. */
#include "report/chart.h"

#include <math.h>

/* A logarithmic axis leaves out what is not above 0: the evaluation before the first step. */
static void x_range(const struct chart *c, double *low, double *high)
{
	*low = INFINITY;
	*high = -INFINITY;
	for (const struct panel *p = c->panels; p < c->panels + c->n_panels; p++)
		for (int i = 0; i < p->n_series; i++)
			for (int k = 0; k < p->series[i].n; k++) {
				double x = p->series[i].x[k];
				if (c->x_log && x <= 0)
					continue;
				*low = fmin(*low, x);
				*high = fmax(*high, x);
			}
}

static bool is_x(const struct chart *c, double x)
{
	for (const struct panel *p = c->panels; p < c->panels + c->n_panels; p++)
		for (int i = 0; i < p->n_series; i++)
			for (int k = 0; k < p->series[i].n && !p->series[i].flat; k++)
				if (p->series[i].x[k] == x)
					return true;
	return false;
}

/* The smallest x of the data above `than`; NaN: none. */
static double next_x(const struct chart *c, double than)
{
	double next = INFINITY;

	for (const struct panel *p = c->panels; p < c->panels + c->n_panels; p++)
		for (int i = 0; i < p->n_series; i++)
			for (int k = 0; k < p->series[i].n; k++)
				if (p->series[i].x[k] > than && is_x(c, p->series[i].x[k]))
					next = fmin(next, p->series[i].x[k]);
	return isfinite(next) ? next : NAN;
}

/* 1, 2 and 5 of each power of ten between low and high; only 1 over more than three powers. */
static void log_tics(double low, double high, struct str *out)
{
	static const double digits[] = {1, 2, 5};
	int n = high / low > 1000 ? 1 : 3;
	const char *between = "";

	for (int k = (int)floor(log10(low)); k <= log10(high); k++)
		for (int i = 0; i < n; i++) {
			double x = digits[i] * pow(10, k);
			if (x < low || x > high)
				continue;
			str_printf(out, "%s%g", between, x);
			between = ", ";
		}
}

void chart_x_axis(const struct chart *c, struct str *out)
{
	double low, high, margin;
	const char *between = "";

	x_range(c, &low, &high);
	if (!(low <= high))
		return;
	margin = c->x_few ? 0.06 : 0.01;
	if (c->x_log)
		str_printf(out, "set logscale x\nset xrange [%.9g:%.9g] noextend\nset xtics (",
			low / pow(high / low, margin), high * pow(high / low, margin));
	else
		str_printf(out, "set xrange [%.9g:%.9g] noextend\nset xtics (",
			low - margin * (high - low), high + margin * (high - low));
	if (c->x_log && !c->x_few)
		log_tics(low, high, out);
	for (double x = next_x(c, -INFINITY); c->x_few && isfinite(x); x = next_x(c, x)) {
		str_printf(out, "%s%g", between, x);
		between = ", ";
	}
	str_add(out, ")\n");
}

const char *chart_x_format(const struct chart *c)
{
	double low, high;

	x_range(c, &low, &high);
	return c->x_log && high >= 1e4 ? "%.0s%c" : "%g";
}
