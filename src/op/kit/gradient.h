/*
 * Elements of an operator's gradients, for kernels that make them one by one: most references, in float64.
 * An input whose gradient nobody wants is passed over. An element with one term is put: written, or added as the
 * run says. One that is a sum of terms is cleared, with all of its gradient, and then added to.
 */
#ifndef OP_KIT_GRADIENT_H
#define OP_KIT_GRADIENT_H

#include "op/op.h"

static inline void put_gradient(const struct op_run *r, int input, long row, long column, double g)
{
	const struct tensor *d = r->d_in[input];

	if (d)
		row_f64(d, row)[column] = g + (op_adds(r, input) ? row_f64(d, row)[column] : 0);
}

static inline void put_gradient_f32(const struct op_run *r, int input, long row, long column, float g)
{
	const struct tensor *d = r->d_in[input];

	if (d)
		row_f32(d, row)[column] = g + (op_adds(r, input) ? row_f32(d, row)[column] : 0);
}

/* Nothing where the run adds. */
static inline void clear_gradient(const struct op_run *r, int input)
{
	const struct tensor *d = r->d_in[input];

	for (long k = 0; d && !op_adds(r, input) && k < tensor_size(d); k++)
		row_f64(d, k / tensor_width(d))[k % tensor_width(d)] = 0;
}

static inline void add_gradient(const struct op_run *r, int input, long row, long column, double g)
{
	if (r->d_in[input])
		row_f64(r->d_in[input], row)[column] += g;
}

#endif
