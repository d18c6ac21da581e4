#include "op/pointer.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/document_start.h"
#include "op/kit/gemm.h"
#include "op/kit/rows.h"
#include "op/kit/vec.h"
#include "op/trial.h"

enum { QUERIES = 64, KEYS = 256 };	/* of a tile of scores */

struct pointer {
	const struct tensor *q, *k, *token, *target, *start, *lse;
	long B, T, S, n, C;	/* n = S - T: places in front of the first query's */
};

static struct pointer pointer_of(const struct op_run *r)
{
	const struct tensor *q = r->in[POINTER_Q_BTC], *k = r->in[POINTER_K_BSC];

	return (struct pointer){q, k, r->in[POINTER_TOKEN_BS], r->in[POINTER_TARGET_BT],
		r->in[POINTER_START_BS], r->saved[POINTER_LSE_BT2], q->dims[0], q->dims[1], k->dims[1],
		k->dims[1] - q->dims[1], q->dims[2]};
}

static void pointer_shape(struct op_shapes *s)
{
	const struct tensor *q = s->in[POINTER_Q_BTC], *k = s->in[POINTER_K_BSC], *token = s->in[POINTER_TOKEN_BS];
	const struct tensor *target = s->in[POINTER_TARGET_BT], *start = s->in[POINTER_START_BS];

	CHECK(q->n_dims == 3 && k->n_dims == 3 && k->dims[0] == q->dims[0] && k->dims[1] >= q->dims[1]);
	CHECK(q->dims[2] == k->dims[2] && q->dims[2] <= POINTER_MAX_WIDTH && token->n_dims == 2);
	CHECK(token->dims[0] == q->dims[0] && token->dims[1] == k->dims[1]);
	CHECK(target->dims[0] == q->dims[0] && target->dims[1] == q->dims[1]);
	CHECK(!start || tensor_same_shape(start, token));
	s->out[POINTER_LOGC_BT] = tensor_of(MASTER, 2, q->dims[0], q->dims[1]);
	s->saved[POINTER_LSE_BT2] = tensor_of(MASTER, 3, q->dims[0], q->dims[1], 2L);
}

/* A product for each pair, and its exponentials; backward recomputes it and makes two more. */
static void pointer_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct tensor *q = s->in[POINTER_Q_BTC];
	double T = (double)q->dims[1], n = (double)(s->in[POINTER_K_BSC]->dims[1] - q->dims[1]), C = (double)q->dims[2];
	double pairs = (double)q->dims[0] * T * (n ? n : (T - 1) / 2);

	c->forward_flops = pairs * (2 * C + 2);
	c->backward_flops = pairs * (4 * C + 2);
	c->executed_flops = pairs * (8 * C + 6);
	c->forward_bytes = op_io_bytes(&op_pointer, s);
	c->backward_bytes = 2 * c->forward_bytes;
}

static int target_of(const struct pointer *p, long b, long t)
{
	return row_int(p->target, b)[t];
}

static long first_place(const struct pointer *p, long b, long t)
{
	return pointer_first(p->start, p->n, b, t);
}

/* Did the target of t follow s? */
static bool hits(const struct pointer *p, long b, long t, long s)
{
	return row_int(p->token, b)[s + 1] == target_of(p, b, t);
}

/* ---- reference ------------------------------------------------------------------------------ */

static double score_ref(const struct pointer *p, long b, long t, long s)
{
	return row_dot_f64(row_f64(p->q, b * p->T + t), row_f64(p->k, b * p->S + s), p->C) / sqrt((double)p->C);
}

/* Of the places that the target followed, or of all; -INFINITY: of none. */
static double lse_ref(const struct pointer *p, long b, long t, bool hit)
{
	double most = -INFINITY, sum = 0;

	for (long s = first_place(p, b, t); s < p->n + t; s++)
		if (!hit || hits(p, b, t, s))
			most = fmax(most, score_ref(p, b, t, s));
	for (long s = first_place(p, b, t); s < p->n + t; s++)
		if (!hit || hits(p, b, t, s))
			sum += exp(score_ref(p, b, t, s) - most);
	return sum > 0 ? most + log(sum) : -INFINITY;
}

static void pointer_forward_ref(const struct op_run *r)
{
	struct pointer p = pointer_of(r);

	for (long row = 0; row < p.B * p.T; row++) {
		long b = row / p.T, t = row % p.T;
		double *lse = row_f64(p.lse, row);
		lse[0] = lse_ref(&p, b, t, false);
		lse[1] = lse_ref(&p, b, t, true);
		row_f64(r->out[POINTER_LOGC_BT], b)[t] = target_of(&p, b, t) < 0 || lse[0] == -INFINITY ? 1
			: fmax(fmin(lse[1] - lse[0], 0), POINTER_MISS);
	}
}

static void pointer_backward_ref(const struct op_run *r)
{
	struct pointer p = pointer_of(r);
	const struct tensor *dq = r->d_in[POINTER_Q_BTC], *dk = r->d_in[POINTER_K_BSC];
	double scale = 1 / sqrt((double)p.C);

	for (int i = POINTER_Q_BTC; i <= POINTER_K_BSC; i++)
		for (long row = 0; r->d_in[i] && !op_adds(r, i) && row < tensor_rows(r->d_in[i]); row++)
			memset(row_f64(r->d_in[i], row), 0, (size_t)p.C * sizeof(double));
	for (long row = 0; row < p.B * p.T; row++) {
		long b = row / p.T, t = row % p.T;
		const double *lse = row_f64(p.lse, row);
		double d = row_f64(r->d_out[POINTER_LOGC_BT], b)[t] * scale;
		if (target_of(&p, b, t) < 0 || lse[1] == -INFINITY)
			continue;
		for (long s = first_place(&p, b, t); s < p.n + t; s++) {
			double score = score_ref(&p, b, t, s), hit = hits(&p, b, t, s) ? exp(score - lse[1]) : 0;
			double ds = d * (hit - exp(score - lse[0]));
			for (long i = 0; i < p.C; i++) {
				if (dq)
					row_f64(dq, row)[i] += ds * row_f64(p.k, b * p.S + s)[i];
				if (dk)
					row_f64(dk, b * p.S + s)[i] += ds * row_f64(p.q, row)[i];
			}
		}
	}
}

/* ---- cpu: tiles of scores as matrix products ------------------------------------------------ */

typedef float score_tile[QUERIES][KEYS];

/* Scores of `rows` tokens from t on with n places from s on. */
static void scores_of(const struct pointer *p, long b, long t, long rows, long s, long n, score_tile score)
{
	gemm(GEMM_N, GEMM_T, rows, n, p->C, 1 / sqrtf((float)p->C), row_f32(p->q, b * p->T + t), p->q->ld,
		row_f32(p->k, b * p->S + s), p->k->ld, 0, score[0], KEYS);
}

/* A log-sum-exp on its way. */
struct running {
	float most, sum;
};

static void take(struct running *r, float score)
{
	if (score > r->most) {
		r->sum *= vec_exp(r->most - score);
		r->most = score;
	}
	r->sum += vec_exp(score - r->most);
}

static float lse_of(const struct running *r)
{
	return r->sum > 0 ? r->most + logf(r->sum) : -INFINITY;
}

static void forward_tile(const struct op_run *r, const struct pointer *p, long b, long first)
{
	long rows = min_long(QUERIES, p->T - first), places = p->n + first + rows - 1;
	struct running all[QUERIES], hit[QUERIES];
	score_tile score;

	for (long i = 0; i < rows; i++)
		all[i] = hit[i] = (struct running){-INFINITY, 0};
	for (long key = 0; key < places; key += KEYS) {
		long n = min_long(KEYS, places - key);
		scores_of(p, b, first, rows, key, n, score);
		for (long i = 0; i < rows; i++) {
			long t = first + i, from = first_place(p, b, t) - key, to = min_long(n, p->n + t - key);
			for (long j = from > 0 ? from : 0; j < to; j++) {
				take(&all[i], score[i][j]);
				if (hits(p, b, t, key + j))
					take(&hit[i], score[i][j]);
			}
		}
	}
	for (long i = 0; i < rows; i++) {
		float *lse = row_f32(p->lse, b * p->T + first + i);
		lse[0] = lse_of(&all[i]);
		lse[1] = lse_of(&hit[i]);
		row_f32(r->out[POINTER_LOGC_BT], b)[first + i] = target_of(p, b, first + i) < 0 ||
			lse[0] == -INFINITY ? 1 : fmaxf(fminf(lse[1] - lse[0], 0), POINTER_MISS);
	}
}

static void pointer_forward(const struct op_run *r)
{
	struct pointer p = pointer_of(r);
	long tiles = ceil_div(p.T, QUERIES);

	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < p.B * tiles; task++)
		forward_tile(r, &p, task / tiles, task % tiles * QUERIES);
}

/* A row of scores becomes d score / sqrt(C). */
static void backward_row(const struct pointer *p, long b, long t, long key, long n, float d, float *score)
{
	const float *lse = row_f32(p->lse, b * p->T + t);
	long from = first_place(p, b, t) - key, to = min_long(n, p->n + t - key);
	bool none = target_of(p, b, t) < 0 || lse[1] == -INFINITY;

	from = none ? n : from > 0 ? min_long(from, n) : 0;
	for (long j = 0; j < from; j++)
		score[j] = 0;
	for (long j = from; j < to; j++) {
		float hit = hits(p, b, t, key + j) ? vec_exp(score[j] - lse[1]) : 0;
		score[j] = d * (hit - vec_exp(score[j] - lse[0]));
	}
	for (long j = to > from ? to : from; j < n; j++)
		score[j] = 0;
}

/* All of a sequence, tile by tile in order, since all of them add to dk. */
static void backward_sequence(const struct op_run *r, const struct pointer *p, long b)
{
	const struct tensor *dq = r->d_in[POINTER_Q_BTC], *dk = r->d_in[POINTER_K_BSC];
	float scale = 1 / sqrtf((float)p->C);
	score_tile score;

	for (int i = POINTER_Q_BTC; i <= POINTER_K_BSC; i++)
		for (long t = 0, rows = i == POINTER_Q_BTC ? p->T : p->S; r->d_in[i] && !op_adds(r, i) && t < rows; t++)
			memset(row_f32(r->d_in[i], b * rows + t), 0, (size_t)p->C * sizeof(float));
	for (long first = 0; first < p->T; first += QUERIES)
		for (long key = 0; key < p->n + min_long(first + QUERIES, p->T) - 1; key += KEYS) {
			long rows = min_long(QUERIES, p->T - first), n = min_long(KEYS, p->n + first + rows - 1 - key);
			scores_of(p, b, first, rows, key, n, score);
			for (long i = 0; i < rows; i++)
				backward_row(p, b, first + i, key, n,
					scale * row_f32(r->d_out[POINTER_LOGC_BT], b)[first + i], score[i]);
			if (dq)
				gemm(GEMM_N, GEMM_N, rows, p->C, n, 1, score[0], KEYS, row_f32(p->k, b * p->S + key),
					p->k->ld, 1, row_f32(dq, b * p->T + first), dq->ld);
			if (dk)
				gemm(GEMM_T, GEMM_N, n, p->C, rows, 1, score[0], KEYS,
					row_f32(p->q, b * p->T + first), p->q->ld, 1, row_f32(dk, b * p->S + key),
					dk->ld);
		}
}

static void pointer_backward(const struct op_run *r)
{
	struct pointer p = pointer_of(r);

	#pragma omp parallel for schedule(dynamic)
	for (long b = 0; b < p.B; b++)
		backward_sequence(r, &p, b);
}

/* Few ids, so that targets follow several places; every seventh target masked. With `misses` some follow
   none. */
static void set_tokens(const struct op_trial *t, long misses)
{
	const struct tensor *token = t->in[POINTER_TOKEN_BS], *target = t->in[POINTER_TARGET_BT];

	for (long i = 0; i < tensor_size(token); i++)
		op_trial_set(t, token, i, (double)(i * i % 5));
	for (long i = 0; i < tensor_size(target); i++)
		op_trial_set(t, target, i, i % 7 == 3 ? -1 : (double)(i * i % (5 + misses)));
	prepare_documents(t);
}

static void prepare(const struct op_trial *t)
{
	set_tokens(t, 0);
}

static void prepare_misses(const struct op_trial *t)
{
	set_tokens(t, 2);
}

#define SHAPES(B, T, C) SHAPES_WINDOW(B, T, T, C)
#define SHAPES_WINDOW(B, T, S, C) [POINTER_Q_BTC] = {B, T, C}, [POINTER_K_BSC] = {B, S, C}, \
	[POINTER_TOKEN_BS] = {B, S}, [POINTER_TARGET_BT] = {B, T}

static const struct op_example examples[] = {
	{.name = "plain", .prepare = prepare, .in = {SHAPES(2, 12, 5)}},
	{.name = "misses", .prepare = prepare_misses, .in = {SHAPES(2, 12, 5)}},
	{.name = "one token", .prepare = prepare, .in = {SHAPES(2, 1, 3)}},
	{.name = "documents", .prepare = prepare, .in = {SHAPES(3, 37, 6), [POINTER_START_BS] = {3, 37}}},
	{.name = "a window", .prepare = prepare_misses,
		.in = {SHAPES_WINDOW(3, 15, 37, 6), [POINTER_START_BS] = {3, 37}}},
	{.name = "a long window", .prepare = prepare, .no_gradient_check = true,
		.in = {SHAPES_WINDOW(2, 90, 300, 16), [POINTER_START_BS] = {2, 300}}},
	{.name = "tiles", .prepare = prepare, .no_gradient_check = true,
		.in = {SHAPES(1, 333, 16), [POINTER_START_BS] = {1, 333}}},
	{.name = "wide", .prepare = prepare, .no_gradient_check = true, .in = {SHAPES(1, 70, 200)}},
};

const struct op op_pointer = {
	.name = "pointer",
	.formula = "log_c_t = log of the sum of softmax_s(q_t . k_s / sqrt(C)), s < t, where token_{s + 1} is the "
		"target",
	.semantics = 1,
	.n_in = POINTER_N_IN,
	.n_out = POINTER_N_OUT,
	.n_saved = POINTER_N_SAVED,
	.in = {
		[POINTER_Q_BTC] = {"q_BTC", 0},
		[POINTER_K_BSC] = {"k_BSC", 0},
		[POINTER_TOKEN_BS] = {"token_BS", IN_INDEX},
		[POINTER_TARGET_BT] = {"target_BT", IN_INDEX},
		[POINTER_START_BS] = {"start_BS", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[POINTER_LOGC_BT] = {"log_c_BT", MASTER, false}},
	.shape = pointer_shape,
	.cost = pointer_cost,
	.backward_reads_in = READS(POINTER_N_IN) - 1,	/* all of them */
	.forward = {[REF] = pointer_forward_ref, [CPU] = pointer_forward,
		[CUDA] = OP_CUDA(pointer_forward_cuda)},
	.backward = {[REF] = pointer_backward_ref, [CPU] = pointer_backward,
		[CUDA] = OP_CUDA(pointer_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
