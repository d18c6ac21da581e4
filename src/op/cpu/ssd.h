/*
 * ssd on the CPU: what forward and backward share; op/ssd.h has the formula. First, a task being one
 * sequence and head, states are taken over the chunks (backward: gradients of states, back). Then, a
 * task being one chunk and group, all that is left is done by itself: scores once for the group, the
 * rest head by head. Products of Q, N and P are BLAS calls.
 */
#ifndef OP_CPU_SSD_H
#define OP_CPU_SSD_H

#include "op/cpu/chunk.h"
#include "op/kit/gemm.h"
#include "op/ssd_kernels.h"

struct ssd {
	const struct op_run *run;
	struct ssd_dims dims;
	struct chunks chunks;
	float *states;			/* [sequence][chunk][head][N][P] in front of the chunk */
	/* backward: */
	float *d_states;		/* the same, gradients of the states behind the chunk */
	float *parts;			/* [sequence][chunk][3][H]: shares of the gradients below */
};

enum ssd_part { SSD_PART_ALOG, SSD_PART_D, SSD_PART_DTBIAS };

static inline float *ssd_state(const struct ssd *s, float *states, const struct chunk *at, long h)
{
	const struct ssd_dims *d = &s->dims;

	return states + ((at->b * d->n_chunks + at->c) * d->H + h) * d->N * d->P;
}

/* The head's columns of x or y, and the group's of B or C, from the chunk's first token on. */
static inline float *ssd_head(const struct ssd *s, const struct tensor *x, const struct chunk *at,
	long h)
{
	return row_f32(x, at->row) + h * s->dims.P;
}

static inline float *ssd_group(const struct ssd *s, const struct tensor *x, const struct chunk *at,
	long g)
{
	return row_f32(x, at->row) + g * s->dims.N;
}

static inline long ssd_group_of(const struct ssd *s, long h)
{
	return h / (s->dims.H / s->dims.G);
}

/* The kernels' common start: places in the workspace. */
struct ssd ssd_start(const struct op_run *r, bool backward);
/* scores[t][s] = C_t . B_s */
void ssd_scores(const struct ssd *s, const struct chunk *at, long g, chunk_pairs scores);

#endif
