#include "op/copied.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "op/kit/vec.h"
#include "op/pointer.h"
#include "op/rings.h"
#include "op/trial.h"

static void copied_shape(struct op_shapes *s)
{
	const struct tensor *logit = s->in[COPIED_LOGIT_BTV], *q = s->in[COPIED_Q_BTC], *gate = s->in[COPIED_GATE_BT1];
	const struct tensor *token = s->in[COPIED_TOKEN_BT], *start = s->in[COPIED_START_BT];
	const struct tensor *keys = s->in[COPIED_KEYS_BLC], *tokens = s->in[COPIED_TOKENS_BL];

	CHECK(q->n_dims == 3 && tensor_same_shape(q, s->in[COPIED_K_BTC]) && q->dims[2] <= POINTER_MAX_WIDTH);
	CHECK(tensor_rows(logit) == tensor_rows(q) && tensor_rows(gate) == tensor_rows(q) && tensor_width(gate) == 1);
	CHECK(token->n_dims == 2 && token->dims[0] == q->dims[0] && token->dims[1] == q->dims[1]);
	CHECK(!start || tensor_same_shape(start, token));
	CHECK(!keys == !tokens && (!keys || start));
	CHECK(!keys || (keys->n_dims == 3 && keys->dims[0] == q->dims[0] && keys->dims[2] == q->dims[2] &&
		tokens->n_dims == 2 && tokens->dims[0] == q->dims[0] && tokens->dims[1] == keys->dims[1]));
	op_shape_same(s);
}

/* Places that a token may point at: of rings all rows. */
static long most_places(const struct tensor *const *in)
{
	return in[COPIED_KEYS_BLC] ? in[COPIED_KEYS_BLC]->dims[1] : in[COPIED_Q_BTC]->dims[1];
}

/* The weights of a token's places. */
static void copied_room(struct op_shapes *s)
{
	s->forward_workspace = (size_t)(tensor_rows(s->in[COPIED_Q_BTC]) * most_places(s->in)) *
		s->device->bytes[MASTER];
}

static void copied_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct tensor *q = s->in[COPIED_Q_BTC];
	double places = (double)most_places(s->in) / (s->in[COPIED_KEYS_BLC] ? 1 : 2);

	c->forward_flops = (double)tensor_rows(q) * places * (2 * (double)q->dims[2] + 3) +
		6 * (double)tensor_size(s->in[COPIED_LOGIT_BTV]);
	c->executed_flops = c->forward_flops;
	c->forward_bytes = op_io_bytes(&op_copied, s);
}

/* The positions [first, p) of its document that token t of sequence b points at; p is its own. */
struct places {
	const struct op_run *run;
	struct rings rings;
	long b, t, p, first;
};

static struct places places_of(const struct op_run *r, long row)
{
	const struct tensor *k = r->in[COPIED_K_BTC], *keys = r->in[COPIED_KEYS_BLC];
	struct places x = {r, {.keys = keys, .start = r->in[COPIED_START_BT], .B = k->dims[0], .T = k->dims[1],
		.L = keys ? keys->dims[1] : 0}, row / k->dims[1], row % k->dims[1], 0, 0};

	x.p = x.t - first_seen(x.rings.start, x.b, x.t);
	x.first = keys && x.p > x.rings.L ? x.p - x.rings.L : 0;
	return x;
}

static struct place key_at(const struct places *x, long s)
{
	return rings_place(&x->rings, x->run->in[COPIED_K_BTC], x->rings.keys, x->b, x->t, x->p, s);
}

static int token_at(const struct places *x, long s)
{
	const struct tensor *tokens = x->run->in[COPIED_TOKENS_BL];

	return x->p - s <= x->t ? row_int(x->run->in[COPIED_TOKEN_BT], x->b)[x->t - (x->p - s)]
		: row_int(tokens, x->b)[s % x->rings.L];
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
	struct places x = places_of(r, row);
	const struct tensor *logit = r->in[COPIED_LOGIT_BTV], *q = r->in[COPIED_Q_BTC];
	long n = x.p - x.first, V = tensor_width(logit), C = tensor_width(q);
	double *y = row_f64(r->out[COPIED_Y_BTV], row), *score = (double *)r->workspace + row * most_places(r->in);
	double g = n ? sigmoid_f64(row_f64(r->in[COPIED_GATE_BT1], row)[0]) : 1;
	double lse = lse_of(row_f64(logit, row), V), of_places;

	for (long i = 0; i < n; i++) {
		struct place k = key_at(&x, x.first + i);
		score[i] = 0;
		for (long c = 0; c < C; c++)
			score[i] += row_f64(q, row)[c] * row_f64(k.x, k.row)[c] / sqrt((double)C);
	}
	of_places = lse_of(score, n);
	for (long v = 0; v < V; v++)
		y[v] = g * exp(row_f64(logit, row)[v] - lse);
	for (long i = 0; i < n; i++)
		y[token_at(&x, x.first + i + 1)] += (1 - g) * exp(score[i] - of_places);
	for (long v = 0; v < V; v++)
		y[v] = log(y[v]);
}

static void copied_forward_ref(const struct op_run *r)
{
	for (long row = 0; row < tensor_rows(r->in[COPIED_Q_BTC]); row++)
		token_ref(r, row);
}

/* ---- cpu ------------------------------------------------------------------------------------ */

/* Weights e^(score - most) of the places; gives their sum. */
static float weigh_places(const struct places *x, const float *q, long C, float *weight)
{
	float most = -INFINITY, sum = 0;
	long n = x->p - x->first;

	for (long i = 0; i < n; i++) {
		struct place at = key_at(x, x->first + i);
		const float *k = row_f32(at.x, at.row);
		float score = 0;
		#pragma omp simd reduction(+:score)
		for (long c = 0; c < C; c++)
			score += q[c] * k[c];
		weight[i] = score / sqrtf((float)C);
		most = fmaxf(most, weight[i]);
	}
	for (long i = 0; i < n; i++) {
		weight[i] = vec_exp(weight[i] - most);
		sum += weight[i];
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
	struct places x = places_of(r, row);
	const float *logit = row_f32(r->in[COPIED_LOGIT_BTV], row), *q = row_f32(r->in[COPIED_Q_BTC], row);
	float *y = row_f32(r->out[COPIED_Y_BTV], row), *weight = (float *)r->workspace + row * most_places(r->in);
	float z = row_f32(r->in[COPIED_GATE_BT1], row)[0], soft = log1pf(expf(-fabsf(z)));
	float log_g = x.first < x.p ? fminf(z, 0) - soft : 0, log_rest = fminf(-z, 0) - soft;
	long V = tensor_width(r->out[COPIED_Y_BTV]);
	float lse = lse_f32(logit, V), sum = weigh_places(&x, q, tensor_width(r->in[COPIED_Q_BTC]), weight);

	memset(y, 0, (size_t)V * sizeof *y);
	for (long s = x.first; s < x.p; s++)
		y[token_at(&x, s + 1)] += weight[s - x.first];
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

static void set_tokens(const struct op_trial *t, int input, long step)
{
	for (long i = 0; t->in[input] && i < tensor_size(t->in[input]); i++)
		op_trial_set(t, t->in[input], i, (double)(i * i * step % 11));
}

static void prepare(const struct op_trial *t)
{
	set_tokens(t, COPIED_TOKEN_BT, 1);
	set_tokens(t, COPIED_TOKENS_BL, 3);
	if (t->in[COPIED_KEYS_BLC])
		prepare_carried(t);
	else
		prepare_documents(t);
}

#define SHAPES(B, T, C, V) [COPIED_LOGIT_BTV] = {B, T, V}, [COPIED_GATE_BT1] = {B, T, 1}, \
	[COPIED_Q_BTC] = {B, T, C}, [COPIED_K_BTC] = {B, T, C}, [COPIED_TOKEN_BT] = {B, T}
#define RINGS(B, T, L, C) [COPIED_START_BT] = {B, T}, [COPIED_KEYS_BLC] = {B, L, C}, [COPIED_TOKENS_BL] = {B, L}

static const struct op_example examples[] = {
	{.name = "plain", .prepare = prepare, .in = {SHAPES(2, 12, 5, 19)}},
	{.name = "documents", .prepare = prepare, .in = {SHAPES(3, 37, 6, 11), [COPIED_START_BT] = {3, 37}}},
	{.name = "one token", .prepare = prepare, .in = {SHAPES(3, 1, 130, 300), RINGS(3, 1, 201, 130)}},
	{.name = "short rings", .prepare = prepare, .in = {SHAPES(3, 15, 6, 131), RINGS(3, 15, 4, 6)}},
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
		[COPIED_K_BTC] = {"k_BTC", IN_NO_GRADIENT},
		[COPIED_TOKEN_BT] = {"token_BT", IN_INDEX},
		[COPIED_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX},
		[COPIED_KEYS_BLC] = {"keys_BLC", IN_OPTIONAL | IN_NO_GRADIENT},
		[COPIED_TOKENS_BL] = {"tokens_BL", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[COPIED_Y_BTV] = {"y_BTV", MASTER, true}},
	.shape = copied_shape,
	.room = {[REF] = copied_room, [CPU] = copied_room, [CUDA] = copied_room},
	.cost = copied_cost,
	.forward = {[REF] = copied_forward_ref, [CPU] = copied_forward, [CUDA] = OP_CUDA(copied_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
