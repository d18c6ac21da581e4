/* cross_entropy's kernels for the CPU (op/cross_entropy.h), and what they share with the reference. */
#ifndef OP_CPU_CROSS_ENTROPY_H
#define OP_CPU_CROSS_ENTROPY_H

#include "op/cross_entropy.h"
#include "op/kit/token.h"

/* Rows of a chunk, and floats from row to row of its logits. */
long cross_entropy_chunk_cpu(long rows, long n_vocab, long d);
long cross_entropy_ld_cpu(long n_vocab);

/* What a copy head makes of a token. */
struct mixture {
	double nll, g, c;	/* c: copied share of the target */
	double share;		/* the vocabulary's, of the target's probability; 1 without */
};

/* The probability of a token of which the vocabulary says p. One formula for all, so that ties are ties. */
static inline double mixture_p(const struct mixture *m, double p, double copied)
{
	return m->g * p + (1 - m->g) * copied;
}

static inline int target_at(const struct op_run *r, long t)
{
	return *int_at(r->in[CROSS_ENTROPY_TARGET_BT], t);
}

static inline long count_valid(const struct op_run *r)
{
	long rows = tensor_rows(r->in[CROSS_ENTROPY_X_BTD]), n = 0;

	for (long t = 0; t < rows; t++)
		n += target_at(r, t) >= 0;
	return n;
}

/* Where forward has kept the gradient of an input. */
static inline int saved_of(int input)
{
	return input == CROSS_ENTROPY_X_BTD ? CROSS_ENTROPY_DX_BTD : input == CROSS_ENTROPY_W_VD
		? CROSS_ENTROPY_DW_VD : input == CROSS_ENTROPY_GATE_BT ? CROSS_ENTROPY_DGATE_BT
		: CROSS_ENTROPY_DLOGC_BT;
}

op_kernel cross_entropy_forward_cpu, cross_entropy_backward_cpu;

#endif
