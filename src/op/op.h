/*
 * What an operator is. One file pair per operator: X.h names its inputs, outputs, saved buffers and
 * attributes and states formula and source; X.c defines `const struct op op_X` with the shape rule,
 * the cost, and forward and backward for each device. The file's name is its registration.
 *
 * Conventions that every kernel keeps:
 *  - Rows of all inputs, outputs and gradients may lie apart (ld > width); never assume ld == width,
 *    but for tensors declared contiguous below (parameters, saved buffers, whole outputs of kind
 *    INDEX or MASTER made by the op itself are contiguous too, but read them by ld all the same).
 *  - A gradient is written, or added when bit i of run->add is set. All of it: nothing clears it
 *    before (except that the planner clears the root of slices that do not tile it).
 *  - d_out[i] is NULL when nothing depends on output i: treat it as zero. d_in[i] is NULL when
 *    nobody wants that gradient: do not compute it.
 *  - No allocation, no global state, no host decision that depends on values, no float atomics.
 *    Work is cut into tiles that depend on shapes only, reductions have a fixed order, so the bits
 *    do not depend on the number of threads.
 *  - float64 in [REF] is written as the formula reads, without tricks.
 */
#ifndef OP_OP_H
#define OP_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tensor/tensor.h"

enum { OP_MAX_IN = 12, OP_MAX_OUT = 12, OP_MAX_SAVED = 6 };

enum op_input_flag {
	IN_OPTIONAL = 1,	/* may be absent (NULL) */
	IN_INDEX = 2,		/* int32; has no gradient */
	IN_MASTER = 4,		/* a parameter's float32 master copy, not its working copy */
	IN_NO_GRADIENT = 8,	/* real, but nothing flows back through it */
	IN_UPDATED = 16,	/* written in place (optimiser state); implies no gradient */
	IN_WEIGHT = 32,		/* a parameter's working copy; its gradient is of kind MASTER */
};

struct op_input {
	const char *name;	/* "x_BTD" */
	unsigned flags;
};

struct op_output {
	const char *name;
	enum kind kind;
	bool no_gradient;	/* counts, indices, metrics */
};

/* Values that change from step to step; one instance in device memory. */
struct step_state {
	int64_t step;		/* updates done before this one; the first step has 0 */
	int64_t micro;		/* micro-batches of the step before this one */
	uint64_t seed;		/* of the run */
	double lr;
	double correction1, correction2;	/* 1 - beta^(step+1): AdamW's bias corrections */
};

/* Argument of shape rule and cost: everything known before memory exists. */
struct op_shapes {
	const struct device *device;
	const void *attr;
	const struct tensor *in[OP_MAX_IN];	/* NULL: absent; .at may be NULL */
	bool training;				/* backward will follow: saved buffers are wanted */
	/* set by the rule: */
	struct tensor out[OP_MAX_OUT];		/* tensor_of(); kind as declared */
	struct tensor saved[OP_MAX_SAVED];	/* n_dims 0: none. One that is set is there in forward
						   even where no backward follows: room to work */
	size_t forward_workspace, backward_workspace;	/* bytes */
	size_t forward_plan, backward_plan;	/* bytes of op_run.plan */
};

struct op_cost {
	/* Model FLOPs: multiply-add 2, transcendental 1, true vocabulary, tokens as routed at full
	   balance, no padding, no recomputation. Each where it is done: a forward that also makes
	   gradients has theirs. */
	double forward_flops, backward_flops;
	/* What the kernels do in fact, padding and recomputation included. */
	double executed_flops;
	/* Fewest bytes moved: each input read once, each output written once. */
	double forward_bytes, backward_bytes;
};

/* Argument of a kernel. Pointers are final: the same run is replayed every step. */
struct op_run {
	const struct op *op;
	const struct device *device;
	const void *attr;
	const struct step_state *state;
	struct queue *queue;			/* tensor/queue.h; NULL on the host */
	const struct tensor *in[OP_MAX_IN], *out[OP_MAX_OUT], *saved[OP_MAX_SAVED];
	const struct tensor *d_in[OP_MAX_IN], *d_out[OP_MAX_OUT];	/* backward only */
	unsigned add;				/* bit i: add to d_in[i] instead of writing it */
	void *workspace;			/* bytes as asked for; contents undefined */
	void *plan;	/* host memory, bytes as asked for, zeroed once and kept: for what the host part
			   of a kernel finds out at its first call from shapes and addresses alone */
};

typedef void op_kernel(const struct op_run *r);

struct op_trial;

/* One case for tests: shapes and attributes small enough for central differences. */
struct op_example {
	const char *name;
	const void *attr;
	long in[OP_MAX_IN][MAX_DIMS];	/* dims, ended by 0; all 0: input absent */
	/* Sets inputs that need more structure than N(0, 1), or 0 in an index. That of the first
	   example serves any shapes and attributes: `bench op` uses it. See op/trial.h. */
	void (*prepare)(const struct op_trial *t);
	bool no_gradient_check;		/* for ops without gradient, or at kinks */
};

#define TAKES(i) ((signed char)((i) + 1))	/* 0 is "none" */

struct op {
	const char *name;
	const char *formula;		/* of forward, one line, for people (`moelab explain`) */
	int semantics;			/* raised when results change beyond rounding; part of run identity */
	int n_in, n_out, n_saved;
	struct op_input in[OP_MAX_IN];
	struct op_output out[OP_MAX_OUT];
	/* Sets out in s, and what all devices save. A wrong shape is a fault of ours: CHECK. */
	void (*shape)(struct op_shapes *s);
	/* Sets saved, workspace and plan as the kernels of a device need them; after shape(). NULL:
	   they need none. */
	void (*room[N_DEVICES])(struct op_shapes *s);
	void (*cost)(const struct op_shapes *s, struct op_cost *c);	/* s after shape() */

	/* Bit i: backward reads input i / output i. Saved buffers are always kept. */
	unsigned backward_reads_in, backward_reads_out;
	/* out_takes[o] = TAKES(i): output o may lie on input i's storage, when nobody reads it later. */
	signed char out_takes[OP_MAX_OUT];
	/* d_in_takes[i] = TAKES(o): gradient of input i may lie on the gradient of output o. */
	signed char d_in_takes[OP_MAX_IN];
	/* d_in_equals[i] = TAKES(j), j < i: both gradients are the same values; one buffer may serve
	   both (then d_in[i]->at == d_in[j]->at and the kernel writes once). */
	signed char d_in_equals[OP_MAX_IN];

	op_kernel *forward[N_DEVICES], *backward[N_DEVICES];	/* backward NULL: no gradient */

	const struct op_example *examples;
	int n_examples;
};

#define READS(i) (1u << (i))

#ifdef WITH_CUDA
#define OP_CUDA(kernel) kernel		/* a kernel from the operator's .cu file */
#else
#define OP_CUDA(kernel) NULL
#endif

extern const struct op *const op_list[];	/* all operators, ended by NULL */
const struct op *op_find(const char *name);	/* NULL if there is none */

/* Whose kernels and room a device uses: cuda_f32 cuda's, cuda_scan the cpu's but for kernels of its own. */
enum device_id op_device(enum device_id id);
/* The kernel for a device. NULL: the op has none. */
op_kernel *op_kernel_for(op_kernel *const kernels[N_DEVICES], enum device_id id);
/* Runs the shape rule on inputs s->in; checks what all ops share (kinds, presence). */
void op_infer(const struct op *op, struct op_shapes *s);
/* Bytes of all inputs and outputs at the device's element size: the usual forward_bytes. */
double op_io_bytes(const struct op *op, const struct op_shapes *s);

static inline bool op_adds(const struct op_run *r, int i)
{
	return r->add >> i & 1;
}

/* Shape rule of element-wise ops: output 0 has input 0's shape. */
void op_shape_same(struct op_shapes *s);

#endif
