/*
 * The activation functions as inline code, for `act` and for operators that apply one inside
 * (experts). act_choices is the list as a spec writes it; the order is that of the enum.
 */
#ifndef OP_ACT_FN_H
#define OP_ACT_FN_H

#include <math.h>

enum act_fn { ACT_RELU, ACT_SILU, ACT_GELU };
#define ACT_CHOICES "relu|silu|gelu"

/* The function named, for a name that the spec has checked. */
enum act_fn act_fn_find(const char *name);

static inline double act_f64(enum act_fn fn, double x)
{
	switch (fn) {
	case ACT_RELU:
		return x > 0 ? x : 0;
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

#endif
