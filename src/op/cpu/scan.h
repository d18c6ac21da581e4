/*
 * The scan on the CPU: what forward and backward share. Lanes are channels. Time is cut into chunks
 * whose first states are kept. A task is one sequence and a span of channels; it loads a chunk of
 * the span into a tile, takes a group of states, held in registers, through the chunk for one block
 * of channels after the other, and stores the tile; meanwhile the next chunk is drawn into the
 * cache. Sums over spans and sequences go through one partial result per task, added up in the
 * order of the tasks. op/scan.h has the formula.
 */
#ifndef OP_CPU_SCAN_H
#define OP_CPU_SCAN_H

#include "base/num.h"
#include "op/document_start.h"
#include "op/kit/lanes.h"
#include "op/scan_kernels.h"
#include "op/kit/vec.h"

enum {
	CHUNK = 32,			/* tokens from one kept state to the next */
	SPAN = 128,			/* channels of a task */
	BLOCKS = SPAN / LANES,		/* blocks of LANES channels in a span */
	GROUP = 4,			/* states in registers at a time; N is rounded up to it */
};

#define LN2 0.69314718055994531f
#define LOG2E 1.44269504088896341f

/* One quantity for a chunk of a span. Channels beyond the last hold 0. */
typedef float tile[BLOCKS][CHUNK][LANES];

/* What the kernels need besides op_run. `states` floats hold one block's states: [state][lane]. */
struct scan {
	const struct op_run *run;
	struct scan_dims dims;
	long n_blocks, n_spans, n_chunks, n_tasks, states;
	bool keeps;			/* the states of all chunks, or the present one's alone */
	bool carried;			/* states begin as op/scan_carried.h has them, not with 0 */
	float *a;			/* [block] A log2(e) */
	float *h;			/* [sequence][chunk kept][block] in front of the chunk */
	/* backward: */
	float *carry, *d_a;		/* [sequence][block] e_{t+1} g_{t+1}; gradient of A */
	float *d_d, *d_bias;		/* [sequence][block][lane] */
	float *d_bc;			/* [span][token][N of B, N of C] */
	float *workspace;
	long used;			/* floats of it */
};

/* A chunk of a span of a sequence. */
struct place {
	long b, chunk, t;		/* t: first token of the sequence's */
	long row, n_tokens;		/* first token among all sequences' */
	long i, n_channels;		/* first channel */
	long block, n_blocks;		/* first block */
};

/* The kernels' common start: places in the workspace, and A. */
struct scan scan_start(const struct op_run *r, bool backward);

static inline struct place place_of(const struct scan *s, long task, long chunk)
{
	long b = task / s->n_spans, t = chunk * CHUNK, i = task % s->n_spans * SPAN;
	long channels = s->dims.I - i < SPAN ? s->dims.I - i : SPAN;

	return (struct place){.b = b, .chunk = chunk, .t = t, .row = b * s->dims.T + t,
		.n_tokens = s->dims.T - t < CHUNK ? s->dims.T - t : CHUNK, .i = i,
		.n_channels = channels, .block = i / LANES, .n_blocks = ceil_div(channels, LANES)};
}

static inline void load(tile to, const struct tensor *x, const struct place *at)
{
	for (long t = 0; t < at->n_tokens; t++) {
		const float *row = row_f32(x, at->row + t) + at->i;
		for (long k = 0; k < at->n_blocks; k++)
			lanes_store(to[k][t], lanes_load_part(row + k * LANES,
				at->n_channels - k * LANES));
	}
}

/* Nothing where x is NULL. */
static inline void store(const struct tensor *x, const struct place *at, tile from, bool add)
{
	for (long t = 0; x && t < at->n_tokens; t++) {
		float *row = row_f32(x, at->row + t) + at->i;
		for (long k = 0; k < at->n_blocks; k++) {
			long n = at->n_channels - k * LANES;
			lanes v = lanes_load(from[k][t]);
			if (add)
				v += lanes_load_part(row + k * LANES, n);
			lanes_store_part(row + k * LANES, v, n);
		}
	}
}

/* A parameter's values for block k of the span. */
static inline lanes of_channels(const struct tensor *x, const struct place *at, long k)
{
	return lanes_load_part(row_f32(x, 0) + at->i + k * LANES, at->n_channels - k * LANES);
}

/* The states of block k in front of a chunk. */
static inline float *states_at(const struct scan *s, const struct place *at, long k, long chunk)
{
	long kept = s->keeps ? at->b * s->n_chunks + chunk : at->b;

	return s->h + (kept * s->n_blocks + at->block + k) * s->states;
}

/* B and C of states n to n + GROUP; 0 beyond N. */
struct group {
	float b[CHUNK][GROUP], c[CHUNK][GROUP];
};

static inline void load_group(const struct scan *s, const struct place *at, long n, struct group *g)
{
	long many = s->dims.N - n < GROUP ? s->dims.N - n : GROUP;

	memset(g, 0, sizeof *g);
	for (long t = 0; t < at->n_tokens; t++)
		for (long k = 0; k < many; k++) {
			g->b[t][k] = row_f32(s->run->in[SCAN_B_BTN], at->row + t)[n + k];
			g->c[t][k] = row_f32(s->run->in[SCAN_C_BTN], at->row + t)[n + k];
		}
}

/* Tiles of the forward direction; s sums up D u + sum_n C h. */
struct forward_tiles {
	_Alignas(64) tile dt, u, s;
	bool fresh[CHUNK];	/* first token of a document */
};

/* u, v = dtraw + bias in place of dt, and D u. */
static inline void stage(const struct scan *s, const struct place *at, struct forward_tiles *f)
{
	for (long t = 0; t < at->n_tokens; t++)
		f->fresh[t] = begins_document(s->run->in[SCAN_START_BT], at->b, at->t + t);
	load(f->u, s->run->in[SCAN_U_BTI], at);
	load(f->dt, s->run->in[SCAN_DTRAW_BTI], at);
	for (long k = 0; k < at->n_blocks; k++) {
		lanes d = of_channels(s->run->in[SCAN_D_I], at, k);
		lanes bias = of_channels(s->run->in[SCAN_DTBIAS_I], at, k);
		for (long t = 0; t < at->n_tokens; t++) {
			lanes_store(f->dt[k][t], lanes_load(f->dt[k][t]) + bias);
			lanes_store(f->s[k][t], lanes_load(f->u[k][t]) * d);
		}
	}
}

static inline void softplus_tile(tile x, const struct place *at)
{
	for (long k = 0; k < at->n_blocks; k++) {
		float *v = x[k][0];
		#pragma omp simd
		for (long j = 0; j < at->n_tokens * LANES; j++)
			v[j] = vec_softplus(v[j]);
	}
}

/* A group of states of one block in the chunk, and sums by lane over the blocks. */
struct history {
	_Alignas(64) float h[CHUNK + 1][GROUP][LANES];	/* in front of each token, and after the last */
	float e[CHUNK][GROUP][LANES];
	float d_b[CHUNK][GROUP][LANES], d_c[CHUNK][GROUP][LANES];
};

/* What is drawn into the cache while a chunk is worked on: a line for each token of it. */
struct ahead {
	const float *line;
	long ld;
};

/* Block k of an operand in the chunk `step` away, if there is a whole one. */
static inline struct ahead ahead_of(const struct scan *s, const struct place *at, long step,
	const struct tensor *x, long k)
{
	long chunk = at->chunk + step;

	if (!x || chunk < 0 || (chunk + 1) * CHUNK > s->dims.T)
		return (struct ahead){s->a, 0};
	return (struct ahead){row_f32(x, at->row + step * CHUNK) + at->i + k * LANES, x->ld};
}

/* States n to n + GROUP of block k, behind the last token, are where the next window begins. */
static inline void leave(const struct scan *s, const struct place *at, long k, long n, const lanes h[GROUP])
{
	long first = (at->block + k) * LANES, many = s->dims.N - n < GROUP ? s->dims.N - n : GROUP;

	for (long j = 0; j < LANES && first + j < s->dims.I; j++)
		for (long m = 0; m < many; m++)
			row_f32(s->run->in[SCAN_H_BIN], at->b * s->dims.I + first + j)[n + m] = h[m][j];
}

/* Takes states n to n + GROUP of block k through the chunk; backward wants all that it passes. */
static inline void walk(const struct scan *s, const struct place *at, long k, long n,
	const struct group *g, struct forward_tiles *f, struct history *past, struct ahead ahead)
{
	const float *a = s->a + (at->block + k) * s->states + n * LANES;
	const float *from = states_at(s, at, k, at->chunk) + n * LANES;
	lanes A[GROUP], h[GROUP];

	for (int m = 0; m < GROUP; m++) {
		A[m] = lanes_load(a + m * LANES);
		h[m] = at->chunk || s->carried ? lanes_load(from + m * LANES) : (lanes){0};
		if (past)
			lanes_store(past->h[0][m], h[m]);
	}
	for (long t = 0; t < at->n_tokens; t++) {
		lanes dt = lanes_load(f->dt[k][t]), x = dt * lanes_load(f->u[k][t]);
		lanes sum = lanes_load(f->s[k][t]);
		__builtin_prefetch(ahead.line + t * ahead.ld, 0, 2);
		for (int m = 0; m < GROUP; m++) {
			lanes e = f->fresh[t] ? (lanes){0} : lanes_exp2(dt * A[m]);
			h[m] = e * h[m] + x * g->b[t][m];
			sum += h[m] * g->c[t][m];
			if (past) {
				lanes_store(past->e[t][m], e);
				lanes_store(past->h[t + 1][m], h[m]);
			}
		}
		lanes_store(f->s[k][t], sum);
	}
	if (!past && at->chunk + 1 < s->n_chunks)
		for (int m = 0; m < GROUP; m++)
			lanes_store(states_at(s, at, k, at->chunk + 1) + (n + m) * LANES, h[m]);
	else if (!past && s->carried)
		leave(s, at, k, n, h);
}

#endif
