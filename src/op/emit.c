#include "op/emit.h"

#include "base/error.h"
#include "op/cpu/mixing.h"

static void emit_shape(struct op_shapes *s)
{
	const struct merge_attr *attr = s->attr;
	const struct tensor *ye = s->in[EMIT_YE_EGO], *share = s->in[EMIT_S_BTE];

	CHECK(ye->n_dims == 3 && share->n_dims == 3 && ye->dims[0] == tensor_width(share));
	CHECK(share->dims[0] % attr->members == 0 && ye->dims[1] == tensor_rows(share) / attr->members);
	s->out[EMIT_Y_BTO] = tensor_of(REAL, 3, share->dims[0], share->dims[1], ye->dims[2]);
}

static void emit_cost(const struct op_shapes *s, struct op_cost *c)
{
	double products = (double)tensor_size(s->in[EMIT_S_BTE]) * (double)tensor_width(s->in[EMIT_YE_EGO]);

	c->forward_flops = 2 * products;
	c->backward_flops = 4 * products;
	c->executed_flops = c->forward_flops + c->backward_flops;
	c->forward_bytes = op_io_bytes(&op_emit, s);
	c->backward_bytes = 2 * c->forward_bytes;
}

/* Row of expert e for the group of token t. */
static const double *row_ref(const struct op_run *r, long t, long e)
{
	const struct tensor *s = r->in[EMIT_S_BTE], *ye = r->in[EMIT_YE_EGO];
	long members = ((const struct merge_attr *)r->attr)->members;

	return row_f64(ye, e * ye->dims[1] + share_group(members, s->dims[1], t));
}

static void emit_forward_ref(const struct op_run *r)
{
	const struct tensor *s = r->in[EMIT_S_BTE], *y = r->out[EMIT_Y_BTO];

	for (long t = 0; t < tensor_rows(y); t++)
		for (long i = 0; i < tensor_width(y); i++) {
			double sum = 0;
			for (long e = 0; e < tensor_width(s); e++)
				sum += row_f64(s, t)[e] * row_ref(r, t, e)[i];
			row_f64(y, t)[i] = sum;
		}
}

/* Of row g of expert e. */
static void rows_backward_ref(const struct op_run *r, long e, long g)
{
	const struct merge_attr *attr = r->attr;
	const struct tensor *s = r->in[EMIT_S_BTE], *dy = r->d_out[EMIT_Y_BTO], *dye = r->d_in[EMIT_YE_EGO];
	long T = s->dims[1], first = share_first(attr->members, T, g);

	for (long i = 0; i < tensor_width(dye); i++) {
		double *to = row_f64(dye, e * dye->dims[1] + g) + i, sum = op_adds(r, EMIT_YE_EGO) ? *to : 0;
		for (long t = first; t < first + attr->members * T; t += T)
			sum += row_f64(s, t)[e] * row_f64(dy, t)[i];
		*to = sum;
	}
}

static void emit_backward_ref(const struct op_run *r)
{
	const struct tensor *s = r->in[EMIT_S_BTE], *dy = r->d_out[EMIT_Y_BTO], *dye = r->d_in[EMIT_YE_EGO],
		*ds = r->d_in[EMIT_S_BTE];

	for (long e = 0; dye && e < dye->dims[0]; e++)
		for (long g = 0; g < dye->dims[1]; g++)
			rows_backward_ref(r, e, g);
	for (long t = 0; ds && t < tensor_rows(ds); t++)
		for (long e = 0; e < tensor_width(s); e++) {
			double sum = op_adds(r, EMIT_S_BTE) ? row_f64(ds, t)[e] : 0;
			for (long i = 0; i < tensor_width(dy); i++)
				sum += row_f64(dy, t)[i] * row_ref(r, t, e)[i];
			row_f64(ds, t)[e] = sum;
		}
}

static void emit_forward(const struct op_run *r)
{
	const struct merge_attr *attr = r->attr;

	mixing_emit(r->in[EMIT_YE_EGO], r->in[EMIT_S_BTE], r->out[EMIT_Y_BTO], attr->members, false);
}

static void emit_backward(const struct op_run *r)
{
	const struct merge_attr *attr = r->attr;
	const struct tensor *dy = r->d_out[EMIT_Y_BTO];

	if (r->d_in[EMIT_YE_EGO])
		mixing_merge(dy, r->in[EMIT_S_BTE], r->d_in[EMIT_YE_EGO], attr->members, op_adds(r, EMIT_YE_EGO));
	if (r->d_in[EMIT_S_BTE])
		mixing_dots(dy, r->in[EMIT_YE_EGO], r->d_in[EMIT_S_BTE], attr->members, op_adds(r, EMIT_S_BTE));
}

static const struct merge_attr batch = {3}, halves = {2}, alone = {1}, many = {20};

static const struct op_example examples[] = {
	{.name = "over the batch", .attr = &batch, .in = {{4, 5, 7}, {3, 5, 4}}},
	{.name = "halves", .attr = &halves, .in = {{3, 10, 8}, {4, 5, 3}}},
	{.name = "groups of one", .attr = &alone, .in = {{2, 6, 16}, {2, 3, 2}}},
	{.name = "many sequences and experts", .attr = &many, .in = {{35, 6, 40}, {40, 3, 35}}},
};

const struct op op_emit = {
	.name = "emit",
	.formula = "y[t] = sum over experts e of s[t, e] ye[e, g], token t of group g",
	.semantics = 1,
	.n_in = EMIT_N_IN,
	.n_out = EMIT_N_OUT,
	.in = {
		[EMIT_YE_EGO] = {"ye", 0},
		[EMIT_S_BTE] = {"s", IN_MASTER},
	},
	.out = {[EMIT_Y_BTO] = {"y", REAL, false}},
	.shape = emit_shape,
	.cost = emit_cost,
	.backward_reads_in = READS(EMIT_YE_EGO) | READS(EMIT_S_BTE),
	.forward = {[REF] = emit_forward_ref, [CPU] = emit_forward,
		[CUDA] = OP_CUDA(emit_forward_cuda)},
	.backward = {[REF] = emit_backward_ref, [CPU] = emit_backward,
		[CUDA] = OP_CUDA(emit_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
