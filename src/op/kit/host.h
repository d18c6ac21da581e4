/* Elements for kernels that serve all devices of the host: of type double on [REF], else float. Not of kind INDEX. */
#ifndef OP_KIT_HOST_H
#define OP_KIT_HOST_H

#include "op/op.h"

static inline double host_get(const struct op_run *r, const struct tensor *x, long row, long column)
{
	return r->device->bytes[MASTER] == sizeof(double) ? row_f64(x, row)[column] : (double)row_f32(x, row)[column];
}

static inline void host_put(const struct op_run *r, const struct tensor *x, long row, long column, double v)
{
	if (r->device->bytes[MASTER] == sizeof(double))
		row_f64(x, row)[column] = v;
	else
		row_f32(x, row)[column] = (float)v;
}

#endif
