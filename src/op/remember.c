#include "op/remember.h"

#include "base/error.h"
#include "op/rings.h"
#include "op/trial.h"

static void remember_shape(struct op_shapes *s)
{
	const struct tensor *k = s->in[REMEMBER_K_BTC], *token = s->in[REMEMBER_TOKEN_BT];
	const struct tensor *keys = s->in[REMEMBER_KEYS_BLC], *tokens = s->in[REMEMBER_TOKENS_BL];

	CHECK(k->n_dims == 3 && token->n_dims == 2 && token->dims[0] == k->dims[0] && token->dims[1] == k->dims[1]);
	CHECK(tensor_same_shape(token, s->in[REMEMBER_START_BT]));
	CHECK(keys->n_dims == 3 && keys->dims[0] == k->dims[0] && keys->dims[2] == k->dims[2]);
	CHECK(tokens->n_dims == 2 && tokens->dims[0] == k->dims[0] && tokens->dims[1] == keys->dims[1]);
}

static void remember_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = 2 * (double)tensor_size(s->in[REMEMBER_K_BTC]) * (double)s->device->bytes[REAL];
}

/* For all devices of the host: rows are copied as they are. */
static void remember_forward(const struct op_run *r)
{
	const struct tensor *k = r->in[REMEMBER_K_BTC], *keys = r->in[REMEMBER_KEYS_BLC];
	const struct tensor *token = r->in[REMEMBER_TOKEN_BT], *tokens = r->in[REMEMBER_TOKENS_BL];
	struct rings rings = {.start = r->in[REMEMBER_START_BT], .L = keys->dims[1]};
	size_t bytes = r->device->bytes[REAL];
	long T = k->dims[1], row;

	for (long i = 0; i < tensor_rows(k); i++) {
		if (!rings_keep_token(&rings, i / T, i % T, T, &row))
			continue;
		memcpy((char *)keys->at + (size_t)(row * keys->ld) * bytes, (char *)k->at + (size_t)(i * k->ld) * bytes,
			(size_t)tensor_width(k) * bytes);
		row_int(tokens, i / T)[row % rings.L] = row_int(token, i / T)[i % T];
	}
}

static void prepare(const struct op_trial *t)
{
	const struct tensor *ids[] = {t->in[REMEMBER_TOKEN_BT], t->in[REMEMBER_TOKENS_BL]};

	prepare_carried(t);
	for (int k = 0; k < 2; k++)
		for (long i = 0; i < tensor_size(ids[k]); i++)
			op_trial_set(t, ids[k], i, (double)(i * i % 97 + 100 * k));
}

#define SHAPES(B, T, L, C) [REMEMBER_K_BTC] = {B, T, C}, [REMEMBER_TOKEN_BT] = {B, T}, \
	[REMEMBER_START_BT] = {B, T}, [REMEMBER_KEYS_BLC] = {B, L, C}, [REMEMBER_TOKENS_BL] = {B, L}

static const struct op_example examples[] = {
	{.name = "one token", .prepare = prepare, .in = {SHAPES(3, 1, 30, 6)}},
	{.name = "more than rings hold", .prepare = prepare, .in = {SHAPES(3, 21, 7, 131)}},
};

const struct op op_remember = {
	.name = "remember",
	.formula = "keys and tokens of the last document stay in rings",
	.semantics = 1,
	.n_in = REMEMBER_N_IN,
	.n_out = REMEMBER_N_OUT,
	.in = {
		[REMEMBER_K_BTC] = {"k_BTC", IN_NO_GRADIENT},
		[REMEMBER_TOKEN_BT] = {"token_BT", IN_INDEX},
		[REMEMBER_START_BT] = {"start_BT", IN_INDEX},
		[REMEMBER_KEYS_BLC] = {"keys_BLC", IN_UPDATED},
		[REMEMBER_TOKENS_BL] = {"tokens_BL", IN_INDEX | IN_UPDATED},
	},
	.shape = remember_shape,
	.cost = remember_cost,
	.forward = {[REF] = remember_forward, [CPU] = remember_forward, [CUDA] = OP_CUDA(remember_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
