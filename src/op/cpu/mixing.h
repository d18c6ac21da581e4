/* The products that merge and emit are made of, in float32: each the other's gradient. */
#ifndef OP_CPU_MIXING_H
#define OP_CPU_MIXING_H

#include "op/merge.h"

/* rows[e, g] = sum over t in g of s[t, e] x[t]; add: to them. */
void mixing_merge(const struct tensor *x_BTD, const struct tensor *s_BTE, const struct tensor *rows_EGD,
	long members, bool add);
/* y[t] = sum over e of s[t, e] rows[e, g]; add: to it. */
void mixing_emit(const struct tensor *rows_EGD, const struct tensor *s_BTE, const struct tensor *y_BTD,
	long members, bool add);
/* ds[t, e] = <x[t], rows[e, g]>; add: to it. */
void mixing_dots(const struct tensor *x_BTD, const struct tensor *rows_EGD, const struct tensor *ds_BTE,
	long members, bool add);

#endif
