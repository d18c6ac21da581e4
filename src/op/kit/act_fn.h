/*
 * The activation functions as inline code, for `act` and for operators that apply one inside
 * (experts). ACT_CHOICES is the list as a spec writes it; the order is that of the enum.
 * NaN in, NaN out, so that a diverged run cannot hide behind relu.
 */
#ifndef OP_KIT_ACT_FN_H
#define OP_KIT_ACT_FN_H

#include <math.h>

#include "op/kit/vec.h"

enum act_fn { ACT_RELU, ACT_SILU, ACT_GELU };
#define ACT_CHOICES "relu|silu|gelu"

/* The function named, for a name that the spec has checked. */
enum act_fn act_fn_find(const char *name);

static inline double act_f64(enum act_fn fn, double x)
{
	switch (fn) {
	case ACT_RELU:
		return x < 0 ? 0 : x;
	case ACT_SILU:
		return x / (1 + exp(-x));
	case ACT_GELU:
		return 0.5 * x * (1 + erf(x * M_SQRT1_2));
	}
	return NAN;
}

/* df/dx. silu: s + x s (1 - s); gelu: Phi(x) + x phi(x), phi the normal density. relu: 0 at 0. */
static inline double act_slope_f64(enum act_fn fn, double x)
{
	double s = 1 / (1 + exp(-x));

	switch (fn) {
	case ACT_RELU:
		return x > 0;
	case ACT_SILU:
		return s + x * s * (1 - s);
	case ACT_GELU:
		return 0.5 * (1 + erf(x * M_SQRT1_2)) + x * exp(-0.5 * x * x) * 0.3989422804014327;
	}
	return NAN;
}

/* Phi(x) from its tail: Phi(-a) = exp(-a^2 / 2) t q(t), t = 1 / (1 + c a), a >= 0; absolute error
   1e-7 (Abramowitz and Stegun 1964, 7.1.26, which gives erfc(a / sqrt 2) = 2 Phi(-a)). */
static inline float act_normal_f32(float x)
{
	float t = 1 / (1 + 0.23164189f * fabsf(x)), q = 0.5307027145f;

	q = fmaf(q, t, -0.7265760135f);
	q = fmaf(q, t, 0.7107068705f);
	q = fmaf(q, t, -0.142248368f);
	q = fmaf(q, t, 0.127414796f);
	q *= t * vec_exp(-0.5f * x * x);
	return x < 0 ? q : 1 - q;
}

/* y = f(x), n elements; y may be x. */
static inline void act_row_f32(enum act_fn fn, float *y, const float *x, long n)
{
	switch (fn) {
	case ACT_RELU:
		#pragma omp simd
		for (long i = 0; i < n; i++)
			y[i] = x[i] < 0 ? 0 : x[i];
		break;
	case ACT_SILU:
		#pragma omp simd
		for (long i = 0; i < n; i++)
			y[i] = x[i] * vec_sigmoid(x[i]);
		break;
	case ACT_GELU:
		#pragma omp simd
		for (long i = 0; i < n; i++)
			y[i] = x[i] * act_normal_f32(x[i]);
		break;
	}
}

/* dx = f'(x) dy; dx may be dy. For relu x may be f(x) as well: same sign. */
static inline void act_gradient_row_f32(enum act_fn fn, float *dx, const float *x, const float *dy,
	long n)
{
	switch (fn) {
	case ACT_RELU:
		#pragma omp simd
		for (long i = 0; i < n; i++)
			dx[i] = x[i] > 0 ? dy[i] : 0;
		break;
	case ACT_SILU:
		#pragma omp simd
		for (long i = 0; i < n; i++) {
			float s = vec_sigmoid(x[i]);
			dx[i] = s * (1 + x[i] * (1 - s)) * dy[i];
		}
		break;
	case ACT_GELU:
		#pragma omp simd
		for (long i = 0; i < n; i++) {
			float density = 0.3989422804f * vec_exp(-0.5f * x[i] * x[i]);
			dx[i] = (act_normal_f32(x[i]) + x[i] * density) * dy[i];
		}
		break;
	}
}

#endif
