/*
 * Few numbers, honestly summarised: Student's t over seeds. Pure functions over arrays.
 * "95 %" is everywhere the two-sided interval.
 */
#ifndef STUDY_STAT_H
#define STUDY_STAT_H

/*
 * The x below which Student's t with df degrees of freedom lies with probability p (0 < p < 1).
 * Abramowitz & Stegun 26.7.3-4: for whole df the distribution is a finite sum in the angle
 * atan(x / sqrt(df)); found by bisection.
 */
double t_quantile(double p, int df);

/* A mean and its 95 % interval; low and high are NaN for n < 2, all is NaN for n < 1. */
struct interval {
	double mean, low, high;
	int n;
};

struct interval interval_of_mean(const double *x, int n);
/* Geometric mean; the interval is that of the logarithms. All ratios > 0. */
struct interval interval_of_ratio(const double *ratio, int n);

/* Standard deviation with n - 1; NaN for n < 2. */
double deviation(const double *x, int n);

/*
 * The null: x are n repeats of ONE thing (the baseline's seeds). The smallest difference of two
 * means of n such repeats that a t test could tell from nothing: t(0.975, n - 1) sd sqrt(2 / n).
 * Seeds that share their batches are paired and do better; this is the cautious figure.
 * NaN for n < 2.
 */
double smallest_difference(const double *x, int n);

#endif
