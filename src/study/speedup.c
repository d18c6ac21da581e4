#include "study/speedup.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>

static double pair_target(const struct pairs *p, int i)
{
	return isnan(p->target) ? curve_final(p->baseline[i]) : p->target;
}

/* The ratio and the variant's place along one axis, over all pairs. */
static void speedup_axis(const struct pairs *p, enum axis axis, struct speedup *s)
{
	double *ratio = xcalloc((size_t)p->n + 1, sizeof *ratio);
	double *at = xcalloc((size_t)p->n + 1, sizeof *at);
	bool all_ratios = p->n > 0, all_at = p->n > 0;

	for (int i = 0; i < p->n; i++) {
		double target = pair_target(p, i);
		at[i] = curve_x(p->variant[i], curve_cross(p->variant[i], target), axis);
		ratio[i] = rule_ratio(p->rule, p->baseline[i], p->variant[i], target, axis);
		all_at = all_at && at[i] > 0;
		all_ratios = all_ratios && isfinite(ratio[i]) && ratio[i] > 0;
	}
	s->at[axis] = all_at ? interval_of_ratio(at, p->n).mean : NAN;
	s->ratio[axis] = all_ratios ? interval_of_ratio(ratio, p->n) : interval_of_ratio(NULL, 0);
	free(ratio);
	free(at);
}

struct speedup speedup_of(const struct pairs *p)
{
	struct speedup s = {.n = p->n, .best = NAN};

	for (int i = 0; i < p->n; i++) {
		s.reached += curve_cross(p->variant[i], pair_target(p, i)).reached;
		s.best = fmin(s.best, curve_best(p->variant[i]));
	}
	for (int axis = 0; axis < N_AXES; axis++)
		speedup_axis(p, axis, &s);
	s.defined = isfinite(s.ratio[AXIS_TOKENS].mean);
	return s;
}

static double null_target(const struct pairs *p)
{
	double worst = -INFINITY;

	for (int i = 0; i < p->n; i++)
		worst = fmax(worst, curve_final(p->baseline[i]));
	return isnan(p->target) ? worst : p->target;
}

struct null_speedup null_speedup_of(const struct pairs *p)
{
	struct null_speedup null = {.n = p->n, .widest = NAN, .smallest = NAN};
	double *logs = xcalloc((size_t)p->n + 1, sizeof *logs), low = INFINITY, high = -INFINITY;
	double target = null_target(p);

	for (int i = 0; i < p->n; i++) {
		double x =
			curve_x(p->baseline[i], curve_cross(p->baseline[i], target), AXIS_TOKENS);
		if (!(x > 0))
			continue;
		low = fmin(low, log(x));
		high = fmax(high, log(x));
		logs[null.reached++] = log(x);
	}
	if (p->n >= 2 && null.reached == p->n) {
		null.widest = exp(high - low);
		null.smallest = exp(smallest_difference(logs, p->n));
	}
	free(logs);
	return null;
}

bool speedup_unseen(const struct null_speedup *null, double ratio)
{
	return fabs(log(ratio)) < log(null->smallest);
}
