#include "op/pointed.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/vec.h"
#include "op/pointer.h"
#include "op/trial.h"

static void pointed_shape(struct op_shapes *s)
{
	const struct tensor *q = s->in[POINTED_Q_BTC], *k = s->in[POINTED_K_BSC], *token = s->in[POINTED_TOKEN_BS];

	CHECK(q->n_dims == 3 && k->n_dims == 3 && k->dims[0] == q->dims[0] && k->dims[1] >= q->dims[1]);
	CHECK(q->dims[2] == k->dims[2] && q->dims[2] <= POINTER_MAX_WIDTH);
	CHECK(token->n_dims == 2 && token->dims[0] == q->dims[0] && token->dims[1] == k->dims[1]);
	CHECK(!s->in[POINTED_START_BS] || tensor_same_shape(s->in[POINTED_START_BS], token));
	s->out[POINTED_MASS_BTS] = tensor_of(MASTER, 3, q->dims[0], q->dims[1], k->dims[1]);
}

/* For each place the one before it that the same token follows. */
static void room_host(struct op_shapes *s)
{
	s->forward_workspace = (size_t)tensor_rows(s->in[POINTED_K_BSC]) * sizeof(int);
}

static void pointed_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct tensor *q = s->in[POINTED_Q_BTC];
	double T = (double)q->dims[1], n = (double)(s->in[POINTED_K_BSC]->dims[1] - q->dims[1]);
	double pairs = (double)q->dims[0] * T * (n ? n : (T - 1) / 2);

	c->forward_flops = pairs * (2 * (double)q->dims[2] + 3);
	c->executed_flops = c->forward_flops;
	c->forward_bytes = op_io_bytes(&op_pointed, s);
}

static void find_before(const struct op_run *r, long b, int *before)
{
	const struct tensor *token = r->in[POINTED_TOKEN_BS];
	const int *word = row_int(token, b);

	for (long s = 0; s + 1 < tensor_width(token); s++) {
		before[s] = (int)s - 1;
		while (before[s] >= 0 && word[before[s] + 1] != word[s + 1])
			before[s]--;
	}
}

/* The places [first, end) that a row of q points at, in sequence b. */
struct places {
	long b, first, end, S, C;
};

static struct places places_of(const struct op_run *r, long row)
{
	const struct tensor *q = r->in[POINTED_Q_BTC];
	long T = q->dims[1], S = r->in[POINTED_K_BSC]->dims[1], b = row / T, t = row % T;

	return (struct places){b, pointer_first(r->in[POINTED_START_BS], S - T, b, t), S - T + t, S, q->dims[2]};
}

static void token_ref(const struct op_run *r, long row, const int *before)
{
	struct places p = places_of(r, row);
	long first = p.first;
	double *mass = row_f64(r->out[POINTED_MASS_BTS], row), most = -INFINITY, sum = 0;

	memset(mass, 0, (size_t)p.S * sizeof *mass);
	for (long s = first; s < p.end; s++) {
		for (long i = 0; i < p.C; i++)
			mass[s] += row_f64(r->in[POINTED_Q_BTC], row)[i] *
				row_f64(r->in[POINTED_K_BSC], p.b * p.S + s)[i];
		mass[s] /= sqrt((double)p.C);
		most = fmax(most, mass[s]);
	}
	for (long s = first; s < p.end; s++)
		sum += exp(mass[s] - most);
	for (long s = first; s < p.end; s++)
		mass[s] = exp(mass[s] - most) / sum + (before[s] >= first ? mass[before[s]] : 0);
}

static void token(const struct op_run *r, long row, const int *before)
{
	struct places p = places_of(r, row);
	long first = p.first;
	float *mass = row_f32(r->out[POINTED_MASS_BTS], row), most = -INFINITY, sum = 0;
	const float *query = row_f32(r->in[POINTED_Q_BTC], row);

	memset(mass, 0, (size_t)p.S * sizeof *mass);
	for (long s = first; s < p.end; s++) {
		const float *key = row_f32(r->in[POINTED_K_BSC], p.b * p.S + s);
		float score = 0;
		#pragma omp simd reduction(+:score)
		for (long i = 0; i < p.C; i++)
			score += query[i] * key[i];
		mass[s] = score / sqrtf((float)p.C);
		most = fmaxf(most, mass[s]);
	}
	for (long s = first; s < p.end; s++) {
		mass[s] = vec_exp(mass[s] - most);
		sum += mass[s];
	}
	for (long s = first; s < p.end; s++)
		mass[s] = mass[s] / sum + (before[s] >= first ? mass[before[s]] : 0);
}

static void pointed_forward(const struct op_run *r,
	void (*one)(const struct op_run *r, long row, const int *before))
{
	const struct tensor *q = r->in[POINTED_Q_BTC];
	long B = q->dims[0], T = q->dims[1], S = r->in[POINTED_K_BSC]->dims[1];
	int *before = r->workspace;

	#pragma omp parallel for schedule(dynamic)
	for (long b = 0; b < B; b++)
		find_before(r, b, before + b * S);
	#pragma omp parallel for schedule(dynamic, 16)
	for (long row = 0; row < B * T; row++)
		one(r, row, before + row / T * S);
}

static void pointed_forward_ref(const struct op_run *r)
{
	pointed_forward(r, token_ref);
}

static void pointed_forward_cpu(const struct op_run *r)
{
	pointed_forward(r, token);
}

static void prepare(const struct op_trial *t)
{
	const struct tensor *tokens = t->in[POINTED_TOKEN_BS];

	for (long i = 0; i < tensor_size(tokens); i++)
		op_trial_set(t, tokens, i, (double)(i * i % 11));
	prepare_documents(t);
}

#define SHAPES(B, T, S, C) [POINTED_Q_BTC] = {B, T, C}, [POINTED_K_BSC] = {B, S, C}, [POINTED_TOKEN_BS] = {B, S}

static const struct op_example examples[] = {
	{.name = "plain", .prepare = prepare, .in = {SHAPES(2, 12, 12, 5)}},
	{.name = "documents", .prepare = prepare, .in = {SHAPES(3, 37, 37, 6), [POINTED_START_BS] = {3, 37}}},
	{.name = "a window", .prepare = prepare, .in = {SHAPES(3, 15, 37, 6), [POINTED_START_BS] = {3, 37}}},
	{.name = "long", .prepare = prepare, .in = {SHAPES(1, 201, 201, 130)}},
};

const struct op op_pointed = {
	.name = "pointed",
	.formula = "mass_ts = sum over s' <= s with token_{s' + 1} = token_{s + 1} of softmax_s'(q_t . k_s' / "
		"sqrt(C))",
	.semantics = 1,
	.n_in = POINTED_N_IN,
	.n_out = POINTED_N_OUT,
	.in = {
		[POINTED_Q_BTC] = {"q_BTC", 0},
		[POINTED_K_BSC] = {"k_BSC", 0},
		[POINTED_TOKEN_BS] = {"token_BS", IN_INDEX},
		[POINTED_START_BS] = {"start_BS", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[POINTED_MASS_BTS] = {"mass_BTS", MASTER, true}},
	.shape = pointed_shape,
	.room = {[REF] = room_host, [CPU] = room_host},
	.cost = pointed_cost,
	.forward = {[REF] = pointed_forward_ref, [CPU] = pointed_forward_cpu,
		[CUDA] = OP_CUDA(pointed_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
