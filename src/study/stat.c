#include "study/stat.h"

#include "base/error.h"

#include <math.h>
#include <stdlib.h>

/* P(|t| < x) with x = sqrt(df) tan(angle). */
static double t_central(double angle, int df)
{
	double s = sin(angle), c = cos(angle), term = df % 2 ? c : 1, sum = 0;

	for (int k = df % 2 ? 1 : 0; k <= df - 2; k += 2) {
		sum += term;
		term *= c * c * (k + 1) / (k + 2);
	}
	return df % 2 ? 2 / M_PI * (angle + s * sum) : s * sum;
}

double t_quantile(double p, int df)
{
	CHECK(p > 0 && p < 1 && df >= 1);
	double central = fabs(2 * p - 1), low = 0, high = M_PI / 2;

	for (int i = 0; i < 100; i++) {
		double middle = (low + high) / 2;
		if (t_central(middle, df) < central)
			low = middle;
		else
			high = middle;
	}
	return copysign(sqrt(df) * tan(low), p - 0.5);
}

static double mean(const double *x, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += x[i];
	return sum / n;
}

double deviation(const double *x, int n)
{
	double m = mean(x, n), sum = 0;

	for (int i = 0; i < n; i++)
		sum += (x[i] - m) * (x[i] - m);
	return n < 2 ? NAN : sqrt(sum / (n - 1));
}

struct interval interval_of_mean(const double *x, int n)
{
	struct interval r = {.mean = n < 1 ? NAN : mean(x, n), .low = NAN, .high = NAN, .n = n};

	if (n >= 2) {
		double half = t_quantile(0.975, n - 1) * deviation(x, n) / sqrt(n);
		r.low = r.mean - half;
		r.high = r.mean + half;
	}
	return r;
}

struct interval interval_of_ratio(const double *ratio, int n)
{
	double *logs = xcalloc((size_t)n + 1, sizeof *logs);
	struct interval r;

	for (int i = 0; i < n; i++) {
		CHECK(ratio[i] > 0);
		logs[i] = log(ratio[i]);
	}
	r = interval_of_mean(logs, n);
	free(logs);
	return (struct interval){
		.mean = exp(r.mean), .low = exp(r.low), .high = exp(r.high), .n = n};
}

double smallest_difference(const double *x, int n)
{
	return n < 2 ? NAN : t_quantile(0.975, n - 1) * deviation(x, n) * sqrt(2.0 / n);
}
