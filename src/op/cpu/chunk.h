/*
 * Time in chunks, for operators on the CPU whose state a head decays by exp(dt A), dt = softplus(dtraw +
 * dt_bias), A = -exp(A_log), and by 0 where a document begins (ssd, delta): places of chunks, and how
 * much of what is left where.
 */
#ifndef OP_CPU_CHUNK_H
#define OP_CPU_CHUNK_H

#include <stdbool.h>

#include "op/document_start.h"
#include "op/kit/vec.h"

enum { CHUNK_MAX = 128 };	/* tokens */

/* A matrix by pairs of tokens of a chunk: [t][s]. */
typedef float chunk_pairs[CHUNK_MAX][CHUNK_MAX];

struct chunks {
	const struct tensor *dtraw_BTH, *a_log_H, *dt_bias_H;
	const struct tensor *start_BT;	/* NULL: no documents */
	long T, Q, n_chunks;		/* tokens of a sequence, of a chunk */
	/* given in place of the first three, which are NULL then (op/ssd.h) */
	const struct tensor *decay_BTH, *weight_BTH, *own_BTH;
};

/* A chunk of a sequence. */
struct chunk {
	const struct tensor *start_BT;
	long b, c, t;			/* t: its first token in the sequence */
	long row, n;			/* its first token among all sequences'; how many */
	bool last;			/* of the sequence's chunks */
};

/* One head in a chunk. */
struct chunk_steps {
	float dt[CHUNK_MAX], log_decay[CHUNK_MAX];	/* dt A; if they are given: weight, decay */
	float own[CHUNK_MAX];		/* weight of a token's share at itself: dt, if it is not given */
	float raw[CHUNK_MAX];		/* of which dt is the softplus */
	float enters[CHUNK_MAX];	/* how much is left, at a token, of the state in front of the chunk */
	float leaves[CHUNK_MAX];	/* how much of a token's share is left behind the chunk */
	float carry;			/* how much of the state in front is left behind */
	float A;
};

struct chunk chunk_at(const struct chunks *all, long b, long c);

/* The first token of the chunk that token t of it sees. */
static inline long chunk_from(const struct chunk *at, long t)
{
	long from = first_seen(at->start_BT, at->b, at->t + t) - at->t;

	return from > 0 ? from : 0;
}

/* Does token t of the chunk see the state in front of it? If the first does not, none does. */
static inline bool chunk_sees_state(const struct chunk *at, long t)
{
	return first_seen(at->start_BT, at->b, at->t + t) < at->t;
}

/* exp(x) for x <= 0, and at least 2^-100, that products with it stay normal numbers. */
static inline float chunk_exp(float x)
{
	return vec_exp(x < -69.3f ? -69.3f : x);
}

void chunk_steps_of(const struct chunks *all, const struct chunk *at, long h, struct chunk_steps *w);

/* The gradient of log_decay[t]: by pairs s < t <= t', whose gradient times value is z[t'][s]; by what
   entered, times its gradient, at each token from t on; by what leaves, likewise, of each in front of t;
   and by what is carried over, likewise. */
void chunk_d_log(const struct chunk *at, chunk_pairs z, const float *entered, const float *left, float carried,
	float *d_log);

/* From these and d_dt, the gradient of dt beside dt A (NULL: none), to that of dtraw. Gives the head's
   shares of the gradients of A_log and dt_bias. */
struct chunk_shares {
	float a_log, dt_bias;
};

struct chunk_shares chunk_steps_backward(const struct chunk *at, long h, const struct chunk_steps *w,
	const float *d_dt, const float *d_log, const struct tensor *d_dtraw, bool add);

/* A parameter's gradient [H]: shares of all chunks, in order; they lie `stride` apart. */
void chunk_sum_shares(const struct tensor *d, const float *shares, long n, long stride, bool add);

#endif
