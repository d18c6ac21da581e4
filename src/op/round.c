#include "op/round.h"

#include <string.h>

#include "base/error.h"

static void round_shape(struct op_shapes *s)
{
	CHECK(s->in[ROUND_MASTER_N]->n_dims == 1 && s->in[ROUND_WORK_N]->n_dims == 1);
	CHECK(tensor_size(s->in[ROUND_MASTER_N]) == tensor_size(s->in[ROUND_WORK_N]));
}

static void round_cost(const struct op_shapes *s, struct op_cost *c)
{
	*c = (struct op_cost){.forward_bytes = op_io_bytes(&op_round, s)};
}

static void round_forward_ref(const struct op_run *r)
{
	const struct tensor *master = r->in[ROUND_MASTER_N];

	for (long i = 0; i < tensor_size(master); i++)
		row_f64(r->in[ROUND_WORK_N], 0)[i] = row_f64(master, 0)[i];
}

static void round_forward_cpu(const struct op_run *r)
{
	const struct tensor *master = r->in[ROUND_MASTER_N];

	memcpy(r->in[ROUND_WORK_N]->at, master->at, (size_t)tensor_size(master) * sizeof(float));
}

static const struct op_example examples[] = {
	{.name = "blob", .in = {{40}, {40}}},
	{.name = "odd", .in = {{4099}, {4099}}},
};

const struct op op_round = {
	.name = "round",
	.formula = "y = x in bf16",
	.semantics = 1,
	.n_in = ROUND_N_IN,
	.in = {
		[ROUND_MASTER_N] = {"master_N", IN_MASTER | IN_NO_GRADIENT},
		[ROUND_WORK_N] = {"work_N", IN_UPDATED},
	},
	.shape = round_shape,
	.cost = round_cost,
	.forward = {[REF] = round_forward_ref, [CPU] = round_forward_cpu,
		[CUDA] = OP_CUDA(round_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
