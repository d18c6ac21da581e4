/*
 * An operator by itself, with memory of its own: what tests and benches run. Host devices only.
 *
 * Real inputs hold N(0, 1), nearly; indices 0; then `prepare` (op/op.h) sets what needs structure. All
 * else holds NaN or -1, so that what is not written is seen. The same on every device, up to rounding.
 */
#ifndef OP_TRIAL_H
#define OP_TRIAL_H

#include "base/arena.h"
#include "op/op.h"

struct op_trial {
	const struct op *op;
	struct op_shapes shapes;
	struct op_run run;
	struct step_state state;
	struct tensor *in[OP_MAX_IN], *out[OP_MAX_OUT], *saved[OP_MAX_SAVED];
	struct tensor *d_in[OP_MAX_IN], *d_out[OP_MAX_OUT];	/* NULL: has no gradient */
	size_t workspace;		/* bytes */
	struct arena arena;
	struct op_trial_block *blocks;
};

/* What is tried. in: shapes, NULL where absent. pad: rows lie this many elements further apart than they
   are wide, but for masters and indices. */
struct op_trial_case {
	const struct op *op;
	const void *attr;
	const struct tensor *in[OP_MAX_IN];
	void (*prepare)(const struct op_trial *t);	/* may be NULL */
	int pad;
};

void op_trial_open(struct op_trial *t, const struct op_trial_case *c, const struct device *device);
void op_trial_close(struct op_trial *t);
/* Bytes that op_trial_open() takes. */
double op_trial_bytes(const struct op_trial_case *c, const struct device *device);

void op_trial_forward(struct op_trial *t);
/* Gradients of the outputs become N(0, 1), nearly; those of the inputs are wanted from now on. */
void op_trial_fill_d_out(struct op_trial *t);
/* The kernel gets those inputs and outputs that the operator says backward reads. */
void op_trial_backward(struct op_trial *t);

/* Element i of a tensor of the trial, gaps between rows not counted. */
double op_trial_get(const struct op_trial *t, const struct tensor *x, long i);
void op_trial_set(const struct op_trial *t, const struct tensor *x, long i, double value);

#endif
