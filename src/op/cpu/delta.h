/*
 * delta on the CPU: what forward and backward share; op/delta.h has the formula. A task is one sequence
 * and head, whose chunks follow each other. Products and the triangular systems are BLAS calls.
 */
#ifndef OP_CPU_DELTA_H
#define OP_CPU_DELTA_H

#include "op/cpu/chunk.h"
#include "op/delta_kernels.h"
#include "op/kit/gemm.h"

typedef float delta_keys[DELTA_CHUNK * DELTA_MAX_KEY];		/* [t][K] */
typedef float delta_values[DELTA_CHUNK * DELTA_MAX_VALUE];	/* [t][V] */

struct delta {
	const struct op_run *run;
	struct delta_dims dims;
	struct chunks chunks;
	float *states;			/* [sequence][chunk][head][K][V] in front of the chunk */
	/* backward: */
	float *d_states;		/* [sequence][head][K][V]: gradient of the state behind the chunk */
	float *parts;			/* [sequence][chunk][2][H]: shares of the gradients of A_log, dt_bias */
};

/* A head in a chunk. */
struct delta_chunk {
	struct chunk_steps w;
	float beta[DELTA_CHUNK], q_scale[DELTA_CHUNK], k_scale[DELTA_CHUNK];	/* 1 / norm */
	delta_keys q, k;		/* normed, q over sqrt(K) too */
	chunk_pairs decay;		/* e^{a_t - a_s}; 0 where t does not see s, and above the diagonal */
	chunk_pairs m, p;		/* as op/delta.h has them; m's diagonal counts as 1 */
	delta_values recalled;		/* S^T k, without decay; 0 where nothing is seen */
	delta_values u;
};

struct delta delta_start(const struct op_run *r, bool backward);
float *delta_state(const struct delta *s, const struct chunk *at, long h);
/* All of the head in the chunk, from the state in front. */
void delta_chunk_of(const struct delta *s, const struct chunk *at, long h, struct delta_chunk *c);

static inline float *delta_row(const struct chunk *at, const struct tensor *x, long t, long h, long width)
{
	return row_f32(x, at->row + t) + h * width;
}

#endif
