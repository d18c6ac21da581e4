#include "op/embedding.h"

#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/cuda/embedding.h"
#include "op/kit/gradient.h"
#include "op/kit/token.h"
#include "op/trial.h"

/* Backward gives each thread columns of the table: tokens stay in order, and no two threads meet,
   however unevenly the tokens are spread over the rows. */
enum { COLUMNS = 64 };

static void embedding_shape(struct op_shapes *s)
{
	const struct tensor *token = s->in[EMBEDDING_TOKEN_BT], *table = s->in[EMBEDDING_TABLE_VD];
	struct tensor *x = &s->out[EMBEDDING_X_BTD];

	CHECK(table->n_dims == 2 && token->n_dims < MAX_DIMS);
	*x = *token;
	x->kind = REAL;
	x->dims[x->n_dims++] = x->ld = table->dims[1];
	x->at = NULL;
}

static void embedding_room_cuda(struct op_shapes *s)
{
	const struct tensor *table = s->in[EMBEDDING_TABLE_VD];

	s->backward_workspace = embedding_room(tensor_size(s->in[EMBEDDING_TOKEN_BT]),
		table->dims[0], table->dims[1]).bytes;
}

/* Rows that are used count, not the table: at most one for each token. */
static void embedding_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct tensor *token = s->in[EMBEDDING_TOKEN_BT], *table = s->in[EMBEDDING_TABLE_VD];
	double real = (double)s->device->bytes[REAL], n = (double)tensor_size(token);
	double tokens = n * (double)s->device->bytes[INDEX];
	double x = n * (double)table->dims[1], whole = (double)tensor_size(table);

	c->backward_flops = c->executed_flops = x;
	c->forward_bytes = tokens + ((x < whole ? x : whole) + x) * real;
	c->backward_bytes = tokens + (x + whole) * real;
}

static void embedding_forward_ref(const struct op_run *r)
{
	const struct tensor *token = r->in[EMBEDDING_TOKEN_BT], *table = r->in[EMBEDDING_TABLE_VD];
	const struct tensor *x = r->out[EMBEDDING_X_BTD];

	for (long t = 0; t < tensor_rows(x); t++)
		for (long i = 0; i < tensor_width(x); i++)
			row_f64(x, t)[i] = row_f64(table, *int_at(token, t))[i];
}

/* dtable[v] = sum of dx[t] over t with token[t] = v */
static void embedding_backward_ref(const struct op_run *r)
{
	const struct tensor *token = r->in[EMBEDDING_TOKEN_BT], *dx = r->d_out[EMBEDDING_X_BTD];

	clear_gradient(r, EMBEDDING_TABLE_VD);
	for (long t = 0; t < tensor_rows(dx); t++)
		for (long i = 0; i < tensor_width(dx); i++)
			add_gradient(r, EMBEDDING_TABLE_VD, *int_at(token, t), i, row_f64(dx, t)[i]);
}

static void embedding_forward(const struct op_run *r)
{
	const struct tensor *token = r->in[EMBEDDING_TOKEN_BT], *table = r->in[EMBEDDING_TABLE_VD];
	const struct tensor *x = r->out[EMBEDDING_X_BTD];

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(x); t++)
		memcpy(row_f32(x, t), row_f32(table, *int_at(token, t)),
			(size_t)tensor_width(x) * sizeof(float));
}

/* Columns [from, from + n) of the gradient. */
static void gather_columns(const struct op_run *r, long from, long n)
{
	const struct tensor *token = r->in[EMBEDDING_TOKEN_BT], *dx = r->d_out[EMBEDDING_X_BTD];
	const struct tensor *dtable = r->d_in[EMBEDDING_TABLE_VD];

	for (long v = 0; v < tensor_rows(dtable) && !op_adds(r, EMBEDDING_TABLE_VD); v++)
		memset(row_f32(dtable, v) + from, 0, (size_t)n * sizeof(float));
	for (long t = 0; t < tensor_rows(dx); t++) {
		float *sum = row_f32(dtable, *int_at(token, t)) + from;
		const float *one = row_f32(dx, t) + from;
		#pragma omp simd
		for (long i = 0; i < n; i++)
			sum[i] += one[i];
	}
}

static void embedding_backward(const struct op_run *r)
{
	long width = tensor_width(r->d_in[EMBEDDING_TABLE_VD]);

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < width; i += COLUMNS)
		gather_columns(r, i, min_long(width - i, COLUMNS));
}

/* All over the table; of a large one some rows have no token. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *token = t->in[EMBEDDING_TOKEN_BT], *table = t->in[EMBEDDING_TABLE_VD];

	for (long i = 0; i < tensor_size(token); i++)
		op_trial_set(t, token, i, (double)(i * 1013 % table->dims[0]));
}

/* Every second token is the same one, and the last rows have none. */
static void prepare_uneven(const struct op_trial *t)
{
	const struct tensor *token = t->in[EMBEDDING_TOKEN_BT], *table = t->in[EMBEDDING_TABLE_VD];

	for (long i = 0; i < tensor_size(token); i++)
		op_trial_set(t, token, i, i % 2 ? 7 : (double)(i * 1013 % (table->dims[0] - 9)));
}

static const struct op_example examples[] = {
	{.name = "few rows", .in = {{3, 11}, {5, 37}}, .prepare = prepare},
	{.name = "wide", .in = {{2, 9}, {40, 150}}, .prepare = prepare},
	{.name = "many tokens", .in = {{3, 701}, {300, 8}}, .prepare = prepare_uneven,
		.no_gradient_check = true},
	{.name = "one token", .in = {{2, 70}, {2, 5}}},
};

const struct op op_embedding = {
	.name = "embedding",
	.formula = "x = table[token]",
	.semantics = 1,
	.n_in = EMBEDDING_N_IN,
	.n_out = EMBEDDING_N_OUT,
	.in = {
		[EMBEDDING_TOKEN_BT] = {"token_BT", IN_INDEX},
		[EMBEDDING_TABLE_VD] = {"table_VD", IN_WEIGHT},
	},
	.out = {[EMBEDDING_X_BTD] = {"x_BTD", REAL, false}},
	.shape = embedding_shape,
	.room = {[CUDA] = embedding_room_cuda},
	.cost = embedding_cost,
	.backward_reads_in = READS(EMBEDDING_TOKEN_BT),
	.forward = {[REF] = embedding_forward_ref, [CPU] = embedding_forward,
		[CUDA] = OP_CUDA(embedding_forward_cuda)},
	.backward = {[REF] = embedding_backward_ref, [CPU] = embedding_backward,
		[CUDA] = OP_CUDA(embedding_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
