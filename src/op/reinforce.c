#include "op/reinforce.h"

#include <math.h>

#include "base/error.h"
#include "base/num.h"
#include "op/kit/gradient.h"
#include "op/kit/token.h"
#include "op/trial.h"

enum { TILE = 512 };	/* tokens of one sum */

static long tiles_of(const struct tensor *s)
{
	return ceil_div(tensor_rows(s), TILE);
}

static void reinforce_shape(struct op_shapes *s)
{
	const struct tensor *score = s->in[REINFORCE_S_BTE], *expert = s->in[REINFORCE_EXPERT_BTK],
		*mask = s->in[REINFORCE_MASK_BT];

	CHECK(score->n_dims == 3 && tensor_size(expert) == tensor_rows(score));
	CHECK(tensor_size(s->in[REINFORCE_NLL_BT]) == tensor_rows(score));
	CHECK(tensor_size(s->in[REINFORCE_BASELINE]) == 1 && (!mask || tensor_size(mask) == tensor_rows(score)));
	s->out[REINFORCE_LOSS] = tensor_of(MASTER, 1, 1L);
	s->saved[REINFORCE_SHARE] = tensor_of(MASTER, 1, 1L);
}

static void reinforce_room_cpu(struct op_shapes *s)
{
	s->forward_workspace = 2 * (size_t)tiles_of(s->in[REINFORCE_S_BTE]) * sizeof(double);
}

static void reinforce_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_rows(s->in[REINFORCE_S_BTE]);

	*c = (struct op_cost){.forward_flops = 4 * n, .backward_flops = 3 * n, .executed_flops = 7 * n,
		.forward_bytes = op_io_bytes(&op_reinforce, s), .backward_bytes = op_io_bytes(&op_reinforce, s)};
}

/* The expert of token t; -1: the token does not count. */
static int expert_of(const struct op_run *r, long t)
{
	return token_there(r->in[REINFORCE_MASK_BT], t) ? *int_at(r->in[REINFORCE_EXPERT_BTK], t) : -1;
}

/* ---- reference ------------------------------------------------------------------------------ */

static double advantage_ref(const struct op_run *r, long t)
{
	return *f64_at(r->in[REINFORCE_NLL_BT], t) - *row_f64(r->in[REINFORCE_BASELINE], 0);
}

static void reinforce_forward_ref(const struct op_run *r)
{
	const struct tensor *s = r->in[REINFORCE_S_BTE];
	double sum = 0, n = 0;

	for (long t = 0; t < tensor_rows(s); t++) {
		int e = expert_of(r, t);
		if (e < 0)
			continue;
		sum += advantage_ref(r, t) * log(fmax(row_f64(s, t)[e], (double)REINFORCE_TINY));
		n++;
	}
	*row_f64(r->saved[REINFORCE_SHARE], 0) = n > 0 ? 1 / n : 0;
	*row_f64(r->out[REINFORCE_LOSS], 0) = n > 0 ? sum / n : 0;
}

static void reinforce_backward_ref(const struct op_run *r)
{
	const struct tensor *s = r->in[REINFORCE_S_BTE];
	double d = *row_f64(r->d_out[REINFORCE_LOSS], 0) * *row_f64(r->saved[REINFORCE_SHARE], 0);

	for (long t = 0; t < tensor_rows(s); t++)
		for (long e = 0; e < tensor_width(s); e++) {
			double own = e != expert_of(r, t) ? 0 : d * advantage_ref(r, t) /
				fmax(row_f64(s, t)[e], (double)REINFORCE_TINY);
			put_gradient(r, REINFORCE_S_BTE, t, e, own);
		}
}

/* ---- CPU ------------------------------------------------------------------------------------ */

static float advantage(const struct op_run *r, long t)
{
	return *f32_at(r->in[REINFORCE_NLL_BT], t) - *row_f32(r->in[REINFORCE_BASELINE], 0);
}

/* Tiles make their sums by themselves, which are added up in order. */
static void reinforce_forward(const struct op_run *r)
{
	const struct tensor *s = r->in[REINFORCE_S_BTE];
	long rows = tensor_rows(s), tiles = tiles_of(s);
	double *sum_T = r->workspace, *n_T = sum_T + tiles, sum = 0, n = 0;

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < tiles; i++) {
		sum_T[i] = n_T[i] = 0;
		for (long t = i * TILE; t < (i + 1) * TILE && t < rows; t++) {
			int e = expert_of(r, t);
			if (e < 0)
				continue;
			sum_T[i] += advantage(r, t) * logf(fmaxf(row_f32(s, t)[e], REINFORCE_TINY));
			n_T[i]++;
		}
	}
	for (long i = 0; i < tiles; i++) {
		sum += sum_T[i];
		n += n_T[i];
	}
	*row_f32(r->saved[REINFORCE_SHARE], 0) = n > 0 ? (float)(1 / n) : 0;
	*row_f32(r->out[REINFORCE_LOSS], 0) = n > 0 ? (float)(sum / n) : 0;
}

static void reinforce_backward(const struct op_run *r)
{
	const struct tensor *s = r->in[REINFORCE_S_BTE], *ds = r->d_in[REINFORCE_S_BTE];
	float d = *row_f32(r->d_out[REINFORCE_LOSS], 0) * *row_f32(r->saved[REINFORCE_SHARE], 0);

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(s); t++) {
		int e = expert_of(r, t);
		for (long i = 0; i < tensor_width(s) && !op_adds(r, REINFORCE_S_BTE); i++)
			row_f32(ds, t)[i] = 0;
		if (e >= 0)
			row_f32(ds, t)[e] += d * advantage(r, t) / fmaxf(row_f32(s, t)[e], REINFORCE_TINY);
	}
}

/* Scores as those of a sigmoid; every seventh token has no expert, every third is masked where there is a
   mask. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *s = t->in[REINFORCE_S_BTE], *expert = t->in[REINFORCE_EXPERT_BTK],
		*mask = t->in[REINFORCE_MASK_BT];

	for (long i = 0; i < tensor_size(s); i++)
		op_trial_set(t, s, i, (float)(1 / (1 + exp(-op_trial_get(t, s, i)))));
	for (long i = 0; i < tensor_size(expert); i++)
		op_trial_set(t, expert, i, i % 7 == 3 ? -1 : (double)(i * i % tensor_width(s)));
	for (long i = 0; mask && i < tensor_size(mask); i++)
		op_trial_set(t, mask, i, i % 3 == 2 ? -1 : 0);
}

static const struct op_example examples[] = {
	{.name = "plain", .prepare = prepare, .in = {{2, 9, 5}, {2, 9, 1}, {2, 9}, {1}}},
	{.name = "mask", .prepare = prepare, .in = {{3, 20, 40}, {3, 20, 1}, {3, 20}, {1}, {3, 20}}},
	{.name = "several tiles", .prepare = prepare, .in = {{2, 700, 3}, {2, 700, 1}, {2, 700}, {1}}},
};

const struct op op_reinforce = {
	.name = "reinforce",
	.formula = "1/N sum_t (nll_t - baseline) log s_t,e",
	.semantics = 1,
	.n_in = REINFORCE_N_IN,
	.n_out = REINFORCE_N_OUT,
	.n_saved = REINFORCE_N_SAVED,
	.in = {
		[REINFORCE_S_BTE] = {"s", IN_MASTER},
		[REINFORCE_EXPERT_BTK] = {"expert", IN_INDEX},
		[REINFORCE_NLL_BT] = {"nll", IN_MASTER | IN_NO_GRADIENT},
		[REINFORCE_BASELINE] = {"baseline", IN_MASTER | IN_NO_GRADIENT},
		[REINFORCE_MASK_BT] = {"mask", IN_INDEX | IN_OPTIONAL},
	},
	.out = {[REINFORCE_LOSS] = {"loss", MASTER, false}},
	.shape = reinforce_shape,
	.room = {[CPU] = reinforce_room_cpu, [CUDA] = OP_CUDA(reinforce_room_cuda)},
	.cost = reinforce_cost,
	.backward_reads_in = READS(REINFORCE_S_BTE) | READS(REINFORCE_EXPERT_BTK) | READS(REINFORCE_NLL_BT) |
		READS(REINFORCE_BASELINE) | READS(REINFORCE_MASK_BT),
	.forward = {[REF] = reinforce_forward_ref, [CPU] = reinforce_forward,
		[CUDA] = OP_CUDA(reinforce_forward_cuda)},
	.backward = {[REF] = reinforce_backward_ref, [CPU] = reinforce_backward,
		[CUDA] = OP_CUDA(reinforce_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
