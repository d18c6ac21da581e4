/*
 * An operator by itself, with memory of its own: what tests and benches run. Where the device has
 * its own memory the host keeps a copy of all operands: what was set goes to the device before a
 * kernel runs, what kernels did comes back when somebody looks.
 *
 * Real inputs hold N(0, 1), nearly; indices 0; then `prepare` (op/op.h) sets what needs structure.
 * All else holds NaN or -1, so that what is not written is seen. The same on every device, up to
 * rounding.
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
	void *plan[2];			/* of forward, of backward */
	bool to_bf16;
	struct arena arena;
	struct op_trial_memory *memory;
};

/* What is tried. in: shapes, NULL where absent. */
struct op_trial_case {
	const struct op *op;
	const void *attr;
	const struct tensor *in[OP_MAX_IN];
	void (*prepare)(const struct op_trial *t);	/* may be NULL */
	/* Rows lie this many elements further apart than they are wide, and begin as many behind
	   what the device aligns; not those of masters and indices. */
	int pad;
	bool to_bf16;	/* real values are rounded to bf16 when they are set: for the reference of device cuda */
};

void op_trial_open(struct op_trial *t, const struct op_trial_case *c, const struct device *device);
void op_trial_close(struct op_trial *t);
/* Bytes that op_trial_open() takes on the device. */
double op_trial_bytes(const struct op_trial_case *c, const struct device *device);

void op_trial_forward(struct op_trial *t);
/* Gradients of the outputs become N(0, 1), nearly; those of the inputs are wanted from now on. */
void op_trial_fill_d_out(struct op_trial *t);
/* The kernel gets those inputs and outputs that the operator says backward reads; others are
   absent. */
void op_trial_backward(struct op_trial *t);

/* Element i of a tensor of the trial, gaps between rows not counted. */
double op_trial_get(const struct op_trial *t, const struct tensor *x, long i);
void op_trial_set(const struct op_trial *t, const struct tensor *x, long i, double value);

/* For operators on the buffer of op_route, in `prepare`: tokens, by some permutation, evenly over
   its rows; where there are more tokens than rows, the last have none. */
void op_trial_places(const struct op_trial *t, const struct tensor *slot_BT,
	const struct tensor *token_S);

/* ---- for tests ------------------------------------------------------------------------------ */

/* The same, but what the operator does not say it reads is there, and NaN. */
void op_trial_backward_undeclared(struct op_trial *t);
/* Fills the workspace with NaN. */
void op_trial_clear_workspace(const struct op_trial *t);
/* Has anything around rows been written: between them, or on host devices in the 256 bytes in front
   of and behind an operand? Its name, or NULL. */
const char *op_trial_damage(const struct op_trial *t);
/* Are the bits of two trials of the same case the same in x and y, rows alone? */
bool op_trial_same(const struct op_trial *t, const struct tensor *x, const struct op_trial *u,
	const struct tensor *y);

#endif
