/*
 * An example of an operator as a trial on a device, and how far its results may lie from the reference's on the
 * device that is tested.
 */
#ifndef TESTS_OP_EXAMPLE_TRIAL_H
#define TESTS_OP_EXAMPLE_TRIAL_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "op/trial.h"

static enum device_id tested;

static inline struct tensor input_shape(const struct op *op, int i, const long *dims)
{
	unsigned flags = op->in[i].flags;
	struct tensor t = {.kind = flags & IN_INDEX ? INDEX
			: flags & IN_MASTER ? MASTER : REAL};

	while (t.n_dims < MAX_DIMS && dims[t.n_dims]) {
		t.dims[t.n_dims] = dims[t.n_dims];
		t.n_dims++;
	}
	t.ld = tensor_width(&t);
	return t;
}

/* compared: with results of the tested device, so it sees the inputs as that does. */
static inline void setup(struct op_trial *t, const struct op *op, const struct op_example *e,
	enum device_id id, int pad, bool compared)
{
	struct op_trial_case c = {.op = op, .attr = e->attr, .prepare = e->prepare, .pad = pad,
		.to_bf16 = compared && device_list[tested].bytes[REAL] == 2};
	struct tensor in[OP_MAX_IN];

	for (int i = 0; i < op->n_in; i++)
		if (e->in[i][0]) {
			in[i] = input_shape(op, i, e->in[i]);
			c.in[i] = &in[i];
		}
	op_trial_open(t, &c, &device_list[id]);
}

static inline void forward(struct op_trial *t)
{
	op_trial_clear_workspace(t);
	op_trial_forward(t);
}

/* What the operator does not say it reads is NaN. */
static inline void backward(struct op_trial *t)
{
	op_trial_clear_workspace(t);
	op_trial_backward_undeclared(t);
}

/* || a - b || / || b ||, where both are zero 0; NaN where either holds one. */
static inline double distance(const struct op_trial *x, const struct tensor *a, const struct op_trial *y,
	const struct tensor *b)
{
	double diff = 0, norm = 0;

	assert_int_equal(tensor_size(a), tensor_size(b));
	for (long i = 0; i < tensor_size(a); i++) {
		double u = op_trial_get(x, a, i), v = op_trial_get(y, b, i);
		diff += (u - v) * (u - v);
		norm += v * v;
	}
	return diff == 0 ? 0 : sqrt(diff / (norm > 1e-24 ? norm : 1e-24));
}

static inline void expect(double error, double limit, const struct op *op, const struct op_example *e,
	const char *what, const char *which)
{
	if (!(error <= limit))
		fail_msg("%s/%s: %s of %s: error %.3g, allowed %.1g", op->name, e->name, what, which,
			error, limit);
}

static inline bool is_bf16(void)
{
	return device_list[tested].bytes[REAL] == 2;
}

static inline double forward_limit(enum kind kind)
{
	return kind == INDEX ? 0 : is_bf16() ? 1e-2 : 1e-5;
}

static inline double gradient_limit(void)
{
	return is_bf16() ? 2e-2 : 1e-4;
}

#endif
