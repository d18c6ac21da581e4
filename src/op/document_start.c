#include "op/document_start.h"

#include <string.h>

#include "base/error.h"
#include "op/trial.h"

static void document_start_shape(struct op_shapes *s)
{
	const struct tensor *token = s->in[DOCUMENT_START_TOKEN_BT];
	const struct tensor *carried = s->in[DOCUMENT_START_CARRIED_B];

	CHECK(token->n_dims == 2);
	CHECK(!carried || (tensor_rows(carried) == token->dims[0] && tensor_width(carried) == 1));
	op_shape_same(s);
}

/* A number for each tile of 256 tokens: op/cuda/document_start.cu. */
static void room_cuda(struct op_shapes *s)
{
	const struct tensor *token = s->in[DOCUMENT_START_TOKEN_BT];

	s->forward_workspace = (size_t)(tensor_rows(token) * ((tensor_width(token) + 255) / 256)) *
		sizeof(int);
}

static void document_start_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = op_io_bytes(&op_document_start, s);
}

/* For all devices of the host: integers are the same on each. */
static void document_start_forward(const struct op_run *r)
{
	const struct document_start_attr *attr = r->attr;
	const struct tensor *token = r->in[DOCUMENT_START_TOKEN_BT];
	const struct tensor *carried = r->in[DOCUMENT_START_CARRIED_B];
	int T = (int)tensor_width(token);

	for (long b = 0; b < tensor_rows(token); b++) {
		const int *word = row_int(token, b);
		int *start = row_int(r->out[DOCUMENT_START_BT], b);
		start[0] = carried ? *row_int(carried, b) : 0;
		for (int t = 1; t < T; t++)
			start[t] = word[t - 1] == attr->end_of_text ? t : start[t - 1];
		if (carried)
			*row_int(carried, b) = word[T - 1] == attr->end_of_text ? 0 : start[T - 1] - T;
	}
}

static const struct tensor *start_of(const struct op_trial *t)
{
	for (int i = 0; i < t->op->n_in; i++)
		if (!strncmp(t->op->in[i].name, "start", strlen("start")))
			return t->in[i];
	return NULL;
}

void prepare_documents(const struct op_trial *trial)
{
	const struct tensor *start_BT = start_of(trial);

	for (long b = 0; start_BT && b < tensor_rows(start_BT); b++) {
		long start = 0, T = tensor_width(start_BT);
		for (long t = 0; t < T; t++) {
			long n = t - 3 * b;
			if (t > 0 && n > 0 && (n & (n - 1)) == 0)
				start = t;
			op_trial_set(trial, start_BT, b * T + t, (double)start);
		}
	}
}

void prepare_carried(const struct op_trial *trial)
{
	const struct tensor *start_BT = start_of(trial);

	for (long b = 0; start_BT && b < tensor_rows(start_BT); b++)
		for (long t = 0, T = tensor_width(start_BT); t < T; t++)
			op_trial_set(trial, start_BT, b * T + t,
				(double)(t >= 11 ? 11 : t >= 5 + b ? 5 + b : -2 - 37 * b));
}

void prepare_absent(const struct op_trial *trial)
{
	const struct tensor *start_BT = start_of(trial);
	long T = tensor_width(start_BT);

	prepare_carried(trial);
	for (long b = 0; b < tensor_rows(start_BT); b++)
		for (long t = T - 9 * b > 0 ? T - 9 * b : 0; t < T; t++)
			op_trial_set(trial, start_BT, b * T + t, NOT_THERE);
}

static const struct document_start_attr example = {.end_of_text = 3}, endless = {.end_of_text = -1};

/* 3, the end of text, comes twice in every 11 tokens, one behind the other. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *token = t->in[DOCUMENT_START_TOKEN_BT];

	for (long i = 0; i < tensor_size(token); i++)
		op_trial_set(t, token, i, (double)(i * i % 11));
}

/* Calls that go on with a sequence; the second one ends with end of text. */
static void prepare_calls(const struct op_trial *t)
{
	const struct tensor *token = t->in[DOCUMENT_START_TOKEN_BT];

	prepare(t);
	for (long b = 0; b < tensor_rows(token); b++)
		op_trial_set(t, t->in[DOCUMENT_START_CARRIED_B], b, -7.0 * (double)b);
	op_trial_set(t, token, 2 * tensor_width(token) - 1, 3);
}

/* Documents of 300 tokens and more. */
static void prepare_long(const struct op_trial *t)
{
	const struct tensor *token = t->in[DOCUMENT_START_TOKEN_BT];

	for (long i = 0; i < tensor_size(token); i++)
		op_trial_set(t, token, i, i % 313 == 250 ? 3 : 1);
}

static const struct op_example examples[] = {
	{.name = "short documents", .attr = &example, .in = {{3, 40}}, .prepare = prepare},
	{.name = "long", .attr = &example, .in = {{2, 530}}, .prepare = prepare_long},
	{.name = "one token", .attr = &example, .in = {{2, 1}}, .prepare = prepare},
	{.name = "carried", .attr = &example, .in = {{3, 40}, {3, 1}}, .prepare = prepare_calls},
	{.name = "one token carried", .attr = &example, .in = {{2, 1}, {2, 1}}, .prepare = prepare_calls},
	{.name = "no document ends", .attr = &endless, .in = {{3, 40}, {3, 1}}, .prepare = prepare_calls},
};

const struct op op_document_start = {
	.name = "document_start",
	.formula = "start_t = t behind an end of text, else start_{t - 1}",
	.semantics = 1,
	.n_in = DOCUMENT_START_N_IN,
	.n_out = DOCUMENT_START_N_OUT,
	.in = {
		[DOCUMENT_START_TOKEN_BT] = {"token_BT", IN_INDEX},
		[DOCUMENT_START_CARRIED_B] = {"carried_B", IN_OPTIONAL | IN_INDEX | IN_UPDATED},
	},
	.out = {[DOCUMENT_START_BT] = {"start_BT", INDEX, true}},
	.shape = document_start_shape,
	.room = {[CUDA] = room_cuda},
	.cost = document_start_cost,
	.forward = {[REF] = document_start_forward, [CPU] = document_start_forward,
		[CUDA] = OP_CUDA(document_start_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
