#include "op/copied.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/vec.h"
#include "op/pointer.h"
#include "op/trial.h"

static void copied_shape(struct op_shapes *s)
{
	const struct tensor *logit = s->in[COPIED_LOGIT_BTV], *q = s->in[COPIED_Q_BTC], *k = s->in[COPIED_K_BSC];
	const struct tensor *token = s->in[COPIED_TOKEN_BS], *gate = s->in[COPIED_GATE_BT1];

	CHECK(q->n_dims == 3 && k->n_dims == 3 && k->dims[0] == q->dims[0] && k->dims[1] >= q->dims[1]);
	CHECK(q->dims[2] == k->dims[2] && q->dims[2] <= POINTER_MAX_WIDTH);
	CHECK(tensor_rows(logit) == tensor_rows(q) && tensor_rows(gate) == tensor_rows(q) && tensor_width(gate) == 1);
	CHECK(token->n_dims == 2 && token->dims[0] == q->dims[0] && token->dims[1] == k->dims[1]);
	CHECK(!s->in[COPIED_START_BS] || tensor_same_shape(s->in[COPIED_START_BS], token));
	op_shape_same(s);
}

/* The weights of a token's places. */
static void copied_room(struct op_shapes *s)
{
	s->forward_workspace = (size_t)(tensor_rows(s->in[COPIED_Q_BTC]) * s->in[COPIED_K_BSC]->dims[1]) *
		s->device->bytes[MASTER];
}

static void copied_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct tensor *q = s->in[COPIED_Q_BTC];
	double T = (double)q->dims[1], n = (double)(s->in[COPIED_K_BSC]->dims[1] - q->dims[1]);
	double pairs = (double)q->dims[0] * T * (n ? n : (T - 1) / 2);

	c->forward_flops = pairs * (2 * (double)q->dims[2] + 3) + 6 * (double)tensor_size(s->in[COPIED_LOGIT_BTV]);
	c->executed_flops = c->forward_flops;
	c->forward_bytes = op_io_bytes(&op_copied, s);
}

/* The places [first, end) that a row of q points at, in sequence b. */
struct places {
	long b, first, end, S, C;
};

static struct places places_of(const struct op_run *r, long row)
{
	const struct tensor *q = r->in[COPIED_Q_BTC];
	long T = q->dims[1], S = r->in[COPIED_K_BSC]->dims[1], b = row / T, t = row % T;

	return (struct places){b, pointer_first(r->in[COPIED_START_BS], S - T, b, t), S - T + t, S, q->dims[2]};
}

static double lse_of(const double *x, long n)
{
	double most = -INFINITY, sum = 0;

	for (long i = 0; i < n; i++)
		most = fmax(most, x[i]);
	for (long i = 0; i < n; i++)
		sum += exp(x[i] - most);
	return most + log(sum);
}

static void token_ref(const struct op_run *r, long row)
{
	struct places p = places_of(r, row);
	const struct tensor *logit = r->in[COPIED_LOGIT_BTV];
	const int *word = row_int(r->in[COPIED_TOKEN_BS], p.b);
	double *y = row_f64(r->out[COPIED_Y_BTV], row), *score = (double *)r->workspace + row * p.S;
	double g = 1 / (1 + exp(-row_f64(r->in[COPIED_GATE_BT1], row)[0]));
	double lse = lse_of(row_f64(logit, row), tensor_width(logit)), of_places;

	for (long s = p.first; s < p.end; s++) {
		score[s] = 0;
		for (long i = 0; i < p.C; i++)
			score[s] += row_f64(r->in[COPIED_Q_BTC], row)[i] *
				row_f64(r->in[COPIED_K_BSC], p.b * p.S + s)[i] / sqrt((double)p.C);
	}
	of_places = lse_of(score + p.first, p.end - p.first);
	for (long v = 0; v < tensor_width(logit); v++)
		y[v] = (p.first < p.end ? g : 1) * exp(row_f64(logit, row)[v] - lse);
	for (long s = p.first; s < p.end; s++)
		y[word[s + 1]] += (1 - g) * exp(score[s] - of_places);
	for (long v = 0; v < tensor_width(logit); v++)
		y[v] = log(y[v]);
}

static void copied_forward_ref(const struct op_run *r)
{
	for (long row = 0; row < tensor_rows(r->in[COPIED_Q_BTC]); row++)
		token_ref(r, row);
}

/* ---- cpu ------------------------------------------------------------------------------------ */

/* Weights e^(score - most) of the places; gives their sum. */
static float weigh_places(const struct op_run *r, long row, const struct places *p, float *weight)
{
	const float *q = row_f32(r->in[COPIED_Q_BTC], row);
	float most = -INFINITY, sum = 0;

	for (long s = p->first; s < p->end; s++) {
		const float *k = row_f32(r->in[COPIED_K_BSC], p->b * p->S + s);
		float score = 0;
		#pragma omp simd reduction(+:score)
		for (long i = 0; i < p->C; i++)
			score += q[i] * k[i];
		weight[s] = score / sqrtf((float)p->C);
		most = fmaxf(most, weight[s]);
	}
	for (long s = p->first; s < p->end; s++) {
		weight[s] = vec_exp(weight[s] - most);
		sum += weight[s];
	}
	return sum;
}

static float lse_f32(const float *x, long n)
{
	float most = -INFINITY, sum = 0;

	for (long i = 0; i < n; i++)
		most = fmaxf(most, x[i]);
	for (long i = 0; i < n; i++)
		sum += vec_exp(x[i] - most);
	return most + logf(sum);
}

/* log(e^a + e^b); b may be -INFINITY. */
static float log_add(float a, float b)
{
	return fmaxf(a, b) + log1pf(expf(-fabsf(a - b)));
}

static void token(const struct op_run *r, long row)
{
	struct places p = places_of(r, row);
	const int *word = row_int(r->in[COPIED_TOKEN_BS], p.b);
	const float *logit = row_f32(r->in[COPIED_LOGIT_BTV], row);
	float *y = row_f32(r->out[COPIED_Y_BTV], row), *weight = (float *)r->workspace + row * p.S;
	float z = row_f32(r->in[COPIED_GATE_BT1], row)[0], soft = log1pf(expf(-fabsf(z)));
	float log_g = fminf(z, 0) - soft, log_rest = fminf(-z, 0) - soft;
	long V = tensor_width(r->out[COPIED_Y_BTV]);
	float lse = lse_f32(logit, V), sum = weigh_places(r, row, &p, weight);

	memset(y, 0, (size_t)V * sizeof *y);
	for (long s = p.first; s < p.end; s++)
		y[word[s + 1]] += weight[s];
	if (p.first == p.end)
		log_g = 0;
	for (long v = 0; v < V; v++) {
		float own = log_g + logit[v] - lse;
		y[v] = y[v] > 0 ? log_add(own, log_rest + logf(y[v] / sum)) : own;
	}
}

static void copied_forward(const struct op_run *r)
{
	#pragma omp parallel for schedule(dynamic)
	for (long row = 0; row < tensor_rows(r->in[COPIED_Q_BTC]); row++)
		token(r, row);
}

static void prepare(const struct op_trial *t)
{
	const struct tensor *tokens = t->in[COPIED_TOKEN_BS];

	for (long i = 0; i < tensor_size(tokens); i++)
		op_trial_set(t, tokens, i, (double)(i * i % 11));
	if (t->in[COPIED_START_BS])
		document_start_example(t, t->in[COPIED_START_BS]);
}

#define SHAPES(B, T, S, C, V) [COPIED_LOGIT_BTV] = {B, T, V}, [COPIED_GATE_BT1] = {B, T, 1}, \
	[COPIED_Q_BTC] = {B, T, C}, [COPIED_K_BSC] = {B, S, C}, [COPIED_TOKEN_BS] = {B, S}

static const struct op_example examples[] = {
	{.name = "plain", .prepare = prepare, .in = {SHAPES(2, 12, 12, 5, 19)}},
	{.name = "documents", .prepare = prepare, .in = {SHAPES(3, 37, 37, 6, 11), [COPIED_START_BS] = {3, 37}}},
	{.name = "one token", .prepare = prepare, .in = {SHAPES(2, 1, 201, 130, 300), [COPIED_START_BS] = {2, 201}}},
	{.name = "a window", .prepare = prepare, .in = {SHAPES(3, 15, 37, 6, 131), [COPIED_START_BS] = {3, 37}}},
};

const struct op op_copied = {
	.name = "copied",
	.formula = "y = log(g softmax(logit) + (1 - g) sum of softmax_s(q_t . k_s / sqrt(C)) where token_{s + 1} = w)",
	.semantics = 1,
	.n_in = COPIED_N_IN,
	.n_out = COPIED_N_OUT,
	.in = {
		[COPIED_LOGIT_BTV] = {"logit_BTV", IN_MASTER | IN_NO_GRADIENT},
		[COPIED_GATE_BT1] = {"gate_BT1", IN_NO_GRADIENT},
		[COPIED_Q_BTC] = {"q_BTC", IN_NO_GRADIENT},
		[COPIED_K_BSC] = {"k_BSC", IN_NO_GRADIENT},
		[COPIED_TOKEN_BS] = {"token_BS", IN_INDEX},
		[COPIED_START_BS] = {"start_BS", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[COPIED_Y_BTV] = {"y_BTV", MASTER, true}},
	.shape = copied_shape,
	.room = {[REF] = copied_room, [CPU] = copied_room, [CUDA] = copied_room},
	.cost = copied_cost,
	.forward = {[REF] = copied_forward_ref, [CPU] = copied_forward, [CUDA] = OP_CUDA(copied_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
