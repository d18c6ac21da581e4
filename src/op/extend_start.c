#include "op/extend_start.h"

#include "base/error.h"
#include "op/document_start.h"
#include "op/trial.h"

static void extend_start_shape(struct op_shapes *s)
{
	const struct extend_start_attr *attr = s->attr;
	const struct tensor *start = s->in[EXTEND_START_BT];

	CHECK(start->n_dims == 2 && attr->n > 0);
	s->out[EXTEND_START_Y_BS] = tensor_of(INDEX, 2, start->dims[0], attr->n + start->dims[1]);
}

static void extend_start_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = op_io_bytes(&op_extend_start, s);
}

/* For all devices of the host: integers are the same on each. */
static void extend_start_forward(const struct op_run *r)
{
	const struct extend_start_attr *attr = r->attr;
	const struct tensor *start = r->in[EXTEND_START_BT], *y = r->out[EXTEND_START_Y_BS];
	int n = (int)attr->n;

	for (long b = 0; b < tensor_rows(start); b++) {
		const int *from = row_int(start, b);
		int *to = row_int(y, b);
		for (int s = 0; s < n; s++)
			to[s] = attr->places == EXTEND_SEEN ? 0 : -1;
		for (int t = 0; t < tensor_width(start); t++) {
			to[n + t] = n + (from[t] == NOT_THERE ? t : from[t]);
			if (attr->places == EXTEND_SEEN && to[n + t] < 0)
				to[n + t] = 0;
			if (attr->places == EXTEND_HELD && from[t] < 0)
				to[n + t] = -1;
		}
	}
}

static void prepare(const struct op_trial *t)
{
	prepare_carried(t);
	op_trial_set(t, t->in[EXTEND_START_BT], tensor_width(t->in[EXTEND_START_BT]) - 1, NOT_THERE);
}

static const struct extend_start_attr three = {3, EXTEND_SEEN}, hundred = {100, EXTEND_SEEN}, held = {1, EXTEND_HELD},
	counted = {5, EXTEND_COUNTED};

static const struct op_example examples[] = {
	{.name = "a few rows", .attr = &three, .prepare = prepare, .in = {{3, 21}}},
	{.name = "many rows", .attr = &hundred, .prepare = prepare, .in = {{3, 21}}},
	{.name = "held", .attr = &held, .prepare = prepare, .in = {{3, 21}}},
	{.name = "counted", .attr = &counted, .prepare = prepare, .in = {{3, 21}}},
};

const struct op op_extend_start = {
	.name = "extend_start",
	.formula = "y_s = max(0, n + start_{s - n}), and 0 for the n rows in front; held, counted: -1 there",
	.semantics = 1,
	.n_in = EXTEND_START_N_IN,
	.n_out = EXTEND_START_N_OUT,
	.in = {[EXTEND_START_BT] = {"start_BT", IN_INDEX}},
	.out = {[EXTEND_START_Y_BS] = {"y_BS", INDEX, true}},
	.shape = extend_start_shape,
	.cost = extend_start_cost,
	.forward = {[REF] = extend_start_forward, [CPU] = extend_start_forward,
		[CUDA] = OP_CUDA(extend_start_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
