/*
 * fill: initial values of one parameter; element k, counted over all rows, is made from the random
 * block (seed, stream, attempt, k): the attempt stands where other sequences have the step.
 *   FILL_CONSTANT   a
 *   FILL_UNIFORM    uniform in [a, b]
 *   FILL_NORMAL     normal with standard deviation a (Box and Muller 1958: cosine of the second half
 *                   of the block), truncated to |x| <= b by further attempts; b INFINITY: never;
 *                   at least FILL_LEAST_CUT a, for nearly all attempts would be in vain below
 *   FILL_A_LOG      log(n + 1), n the column: S4D-real (Gu et al. 2022, arXiv:2206.11893)
 *   FILL_LOG_UNIFORM  log of uniform in [a, b]
 *   FILL_DT_BIAS    inverse softplus of dt = exp(uniform(log a, log b)), dt >= 1e-4 (Gu and Dao
 *                   2023, arXiv:2312.00752)
 * All rules but FILL_NORMAL use attempt 0. Only the first used_rows rows are filled; the rest
 * (vocabulary padding) becomes 0. Values are made in float64 and rounded once, so all devices start
 * from the same weights.
 */
#ifndef OP_FILL_H
#define OP_FILL_H

#include "op/op.h"

enum {
	FILL_W,	/* parameter, updated, contiguous */
	FILL_N_IN
};

enum {
	FILL_DONE,	/* [1], index, always 0: an op has an output */
	FILL_N_OUT
};

#define FILL_LEAST_CUT 0.01

enum fill_rule { FILL_CONSTANT, FILL_UNIFORM, FILL_NORMAL, FILL_A_LOG, FILL_DT_BIAS, FILL_LOG_UNIFORM };

struct fill_attr {
	enum fill_rule rule;
	double a, b;
	long used_rows;		/* of tensor_rows(w); above 0 */
	uint64_t stream;	/* hash_u64(parameter name) */
};

extern const struct op op_fill;

#endif
