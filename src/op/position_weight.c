#include "op/position_weight.h"

#include <math.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/trial.h"

static double weight(const struct position_weight_attr *a, long position)
{
	return position < a->from ? 0 : 1 + a->gain * log2(1 + (double)position);
}

double position_weight_scale(const struct position_weight_attr *a, long T)
{
	double sum = 0;

	for (long p = 0; p < T; p++)
		sum += weight(a, p);
	return (double)T / sum;
}

static void position_weight_shape(struct op_shapes *s)
{
	const struct position_weight_attr *a = s->attr;
	const struct tensor *token = s->in[POSITION_WEIGHT_TOKEN_BT], *start = s->in[POSITION_WEIGHT_START_BT];

	CHECK(token->n_dims == 2 && a->from < tensor_width(token));
	CHECK(!start || tensor_same_shape(start, token));
	s->out[POSITION_WEIGHT_W_BT] = tensor_of(MASTER, 2, token->dims[0], token->dims[1]);
}

static void position_weight_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[POSITION_WEIGHT_TOKEN_BT]);

	*c = (struct op_cost){.forward_flops = 4 * n, .executed_flops = 4 * n,
		.forward_bytes = op_io_bytes(&op_position_weight, s)};
}

static void position_weight_forward(const struct op_run *r)
{
	const struct position_weight_attr *a = r->attr;
	const struct tensor *start = r->in[POSITION_WEIGHT_START_BT], *w = r->out[POSITION_WEIGHT_W_BT];
	long T = tensor_width(w);
	double scale = position_weight_scale(a, T);

	for (long b = 0; b < tensor_rows(w); b++)
		for (long t = 0; t < T; t++) {
			double value = scale * weight(a, t - (start ? row_int(start, b)[t] : 0));
			if (r->device->bytes[MASTER] == 8)
				row_f64(w, b)[t] = value;
			else
				row_f32(w, b)[t] = (float)value;
		}
}

static const struct position_weight_attr example_gain = {.gain = 0.5}, example_from = {.gain = 0, .from = 5};

static const struct op_example examples[] = {
	{.name = "gain", .attr = &example_gain, .in = {{2, 13}}, .prepare = prepare_documents},
	{.name = "documents", .attr = &example_gain, .in = {{3, 40}, {3, 40}}, .prepare = prepare_documents},
	{.name = "from", .attr = &example_from, .in = {{3, 40}, {3, 40}}, .prepare = prepare_documents},
};

const struct op op_position_weight = {
	.name = "position_weight",
	.formula = "w = 0 for positions p < from, else (1 + gain log2(1 + p)) / mean of these",
	.semantics = 1,
	.n_in = POSITION_WEIGHT_N_IN,
	.n_out = POSITION_WEIGHT_N_OUT,
	.in = {
		[POSITION_WEIGHT_TOKEN_BT] = {"token_BT", IN_INDEX},
		[POSITION_WEIGHT_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[POSITION_WEIGHT_W_BT] = {"w_BT", MASTER, true}},
	.shape = position_weight_shape,
	.cost = position_weight_cost,
	.forward = {[REF] = position_weight_forward, [CPU] = position_weight_forward,
		[CUDA] = OP_CUDA(position_weight_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
