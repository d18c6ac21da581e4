#include "op/extend_token.h"

#include <string.h>

#include "base/error.h"
#include "op/trial.h"

static void extend_token_shape(struct op_shapes *s)
{
	const struct tensor *token = s->in[EXTEND_TOKEN_BT], *past = s->in[EXTEND_TOKEN_PAST_BL];

	CHECK(token->n_dims == 2 && past->n_dims == 2 && past->dims[0] == token->dims[0]);
	s->out[EXTEND_TOKEN_Y_BS] = tensor_of(INDEX, 2, token->dims[0], past->dims[1] + token->dims[1]);
}

static void extend_token_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = op_io_bytes(&op_extend_token, s);
}

/* For all devices of the host: integers are the same on each. */
static void extend_token_forward(const struct op_run *r)
{
	const struct tensor *token = r->in[EXTEND_TOKEN_BT], *past = r->in[EXTEND_TOKEN_PAST_BL];
	size_t n = (size_t)tensor_width(past), T = (size_t)tensor_width(token);

	for (long b = 0; b < tensor_rows(token); b++) {
		int *y = row_int(r->out[EXTEND_TOKEN_Y_BS], b), *kept = row_int(past, b);
		memcpy(y, kept, n * sizeof *y);
		memcpy(y + n, row_int(token, b), T * sizeof *y);
		memcpy(kept, y + T, n * sizeof *y);
	}
}

static void prepare(const struct op_trial *t)
{
	for (int i = 0; i < EXTEND_TOKEN_N_IN; i++)
		for (long k = 0; k < tensor_size(t->in[i]); k++)
			op_trial_set(t, t->in[i], k, (double)(k * k % 97 + 100 * i));
}

static const struct op_example examples[] = {
	{.name = "few in front", .prepare = prepare, .in = {{3, 21}, {3, 5}}},
	{.name = "more than the call has", .prepare = prepare, .in = {{2, 1}, {2, 300}}},
};

const struct op op_extend_token = {
	.name = "extend_token",
	.formula = "y = the tokens that the call before has left, then its own",
	.semantics = 1,
	.n_in = EXTEND_TOKEN_N_IN,
	.n_out = EXTEND_TOKEN_N_OUT,
	.in = {
		[EXTEND_TOKEN_BT] = {"token_BT", IN_INDEX},
		[EXTEND_TOKEN_PAST_BL] = {"past_BL", IN_INDEX | IN_UPDATED},
	},
	.out = {[EXTEND_TOKEN_Y_BS] = {"y_BS", INDEX, true}},
	.shape = extend_token_shape,
	.cost = extend_token_cost,
	.forward = {[REF] = extend_token_forward, [CPU] = extend_token_forward,
		[CUDA] = OP_CUDA(extend_token_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
