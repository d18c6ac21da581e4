#include "op/assign.h"

#include "base/error.h"
#include "op/assign_rule.h"
#include "op/document_start.h"
#include "op/kit/host.h"
#include "op/kit/token.h"
#include "op/trial.h"

static void assign_shape(struct op_shapes *s)
{
	const struct assign_attr *attr = s->attr;
	const struct tensor *token = s->in[ASSIGN_TOKEN_BT], *mask = s->in[ASSIGN_MASK_BT];
	long B = token->dims[0], T = token->dims[1];

	CHECK(token->n_dims == 2 && attr->k >= 1 && attr->k <= attr->n_experts);
	CHECK(!mask || tensor_same_shape(token, mask));
	CHECK(!s->in[ASSIGN_START_BT] || tensor_same_shape(token, s->in[ASSIGN_START_BT]));
	s->out[ASSIGN_EXPERT_BTK] = tensor_of(INDEX, 3, B, T, attr->k);
	s->out[ASSIGN_S_BTE] = tensor_of(MASTER, 3, B, T, attr->n_experts);
}

static void assign_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = op_io_bytes(&op_assign, s);
}

/* What a token's experts are found by. */
static int id_of(const struct op_run *r, long t)
{
	const struct assign_attr *attr = r->attr;
	const struct tensor *token = r->in[ASSIGN_TOKEN_BT];
	long T = tensor_width(token);

	return attr->by_place ? (int)(t % T - first_seen(r->in[ASSIGN_START_BT], t / T, t % T))
		: *int_at(token, t);
}

/* For all devices of the host. */
static void assign_forward(const struct op_run *r)
{
	const struct assign_attr *attr = r->attr;
	const struct tensor *expert = r->out[ASSIGN_EXPERT_BTK];

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(expert); t++) {
		bool there = token_there(r->in[ASSIGN_MASK_BT], t);
		struct assign_walk w = assign_walk(attr, id_of(r, t));
		for (long e = 0; e < attr->n_experts; e++)
			host_put(r, r->out[ASSIGN_S_BTE], t, e, 0);
		for (int k = 0; k < attr->k; k++) {
			int e = assign_expert(attr, &w, k);
			row_int(expert, t)[k] = there ? e : -1;
			host_put(r, r->out[ASSIGN_S_BTE], t, e, 1.0 / (double)attr->k);
		}
	}
}

/* Words that come again; every fifth token is masked where there is a mask. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *token = t->in[ASSIGN_TOKEN_BT], *mask = t->in[ASSIGN_MASK_BT];

	prepare_documents(t);
	for (long i = 0; i < tensor_size(token); i++)
		op_trial_set(t, token, i, (double)(i * i % 23));
	for (long i = 0; mask && i < tensor_size(mask); i++)
		op_trial_set(t, mask, i, i % 5 == 2 ? -1 : 0);
}

static const struct assign_attr two = {2, 6, false, 42}, one = {1, 1, false, 7}, all = {4, 4, false, 3},
	place = {2, 5, .by_place = true};

static const struct op_example examples[] = {
	{.name = "two, mask", .attr = &two, .prepare = prepare, .in = {{3, 20}, {3, 20}}},
	{.name = "one expert", .attr = &one, .prepare = prepare, .in = {{2, 5}}},
	{.name = "all experts", .attr = &all, .prepare = prepare, .in = {{1, 300}}},
	{.name = "by place", .attr = &place, .prepare = prepare, .in = {{2, 23}}},
	{.name = "by place in documents", .attr = &place, .prepare = prepare,
		.in = {[ASSIGN_TOKEN_BT] = {3, 40}, [ASSIGN_START_BT] = {3, 40}}},
};

const struct op op_assign = {
	.name = "assign",
	.formula = "experts (h + k d) mod E, h and d a hash of the token's id, or its place and 1",
	.semantics = 1,
	.n_in = ASSIGN_N_IN,
	.n_out = ASSIGN_N_OUT,
	.in = {
		[ASSIGN_TOKEN_BT] = {"token", IN_INDEX},
		[ASSIGN_MASK_BT] = {"mask", IN_INDEX | IN_OPTIONAL},
		[ASSIGN_START_BT] = {"start", IN_INDEX | IN_OPTIONAL},
	},
	.out = {
		[ASSIGN_EXPERT_BTK] = {"expert", INDEX, true},
		[ASSIGN_S_BTE] = {"s", MASTER, true},
	},
	.shape = assign_shape,
	.cost = assign_cost,
	.forward = {[REF] = assign_forward, [CPU] = assign_forward,
		[CUDA] = OP_CUDA(assign_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
