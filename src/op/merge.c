#include "op/merge.h"

#include "base/error.h"
#include "op/cpu/mixing.h"

static void merge_shape(struct op_shapes *s)
{
	const struct merge_attr *attr = s->attr;
	const struct tensor *x = s->in[MERGE_X_BTD], *share = s->in[MERGE_S_BTE];
	long E = tensor_width(share), groups = tensor_rows(x) / attr->members;

	CHECK(x->n_dims == 3 && share->n_dims == 3 && x->dims[0] % attr->members == 0);
	CHECK(x->dims[0] == share->dims[0] && x->dims[1] == share->dims[1]);
	s->out[MERGE_XE_EGD] = tensor_of(REAL, 3, E, groups, x->dims[2]);
	s->out[MERGE_FIRST_E1] = tensor_of(INDEX, 1, E + 1);
}

static void merge_cost(const struct op_shapes *s, struct op_cost *c)
{
	double products = (double)tensor_size(s->in[MERGE_X_BTD]) * (double)tensor_width(s->in[MERGE_S_BTE]);

	c->forward_flops = 2 * products;
	c->backward_flops = 4 * products;
	c->executed_flops = c->forward_flops + c->backward_flops;
	c->forward_bytes = op_io_bytes(&op_merge, s);
	c->backward_bytes = 2 * c->forward_bytes;
}

/* Where the rows of each expert begin, for all devices of the host. */
static void set_first(const struct op_run *r)
{
	const struct tensor *first = r->out[MERGE_FIRST_E1];

	for (long e = 0; e < tensor_width(first); e++)
		row_int(first, 0)[e] = (int)(e * r->out[MERGE_XE_EGD]->dims[1]);
}

static void merge_forward_ref(const struct op_run *r)
{
	const struct merge_attr *attr = r->attr;
	const struct tensor *x = r->in[MERGE_X_BTD], *s = r->in[MERGE_S_BTE], *xe = r->out[MERGE_XE_EGD];
	long T = x->dims[1], G = xe->dims[1];

	set_first(r);
	for (long e = 0; e < xe->dims[0]; e++)
		for (long g = 0; g < G; g++)
			for (long i = 0; i < tensor_width(x); i++) {
				long first = share_first(attr->members, T, g);
				double sum = 0;
				for (long t = first; t < first + attr->members * T; t += T)
					sum += row_f64(s, t)[e] * row_f64(x, t)[i];
				row_f64(xe, e * G + g)[i] = sum;
			}
}

static void merge_backward_ref(const struct op_run *r)
{
	const struct merge_attr *attr = r->attr;
	const struct tensor *x = r->in[MERGE_X_BTD], *s = r->in[MERGE_S_BTE], *dx = r->d_in[MERGE_X_BTD],
		*ds = r->d_in[MERGE_S_BTE], *dxe = r->d_out[MERGE_XE_EGD];

	for (long t = 0; t < tensor_rows(s); t++) {
		long g = share_group(attr->members, s->dims[1], t);
		for (long i = 0; dx && i < tensor_width(dx); i++) {
			double sum = op_adds(r, MERGE_X_BTD) ? row_f64(dx, t)[i] : 0;
			for (long e = 0; e < tensor_width(s); e++)
				sum += row_f64(s, t)[e] * row_f64(dxe, e * dxe->dims[1] + g)[i];
			row_f64(dx, t)[i] = sum;
		}
		for (long e = 0; ds && e < tensor_width(ds); e++) {
			double sum = op_adds(r, MERGE_S_BTE) ? row_f64(ds, t)[e] : 0;
			for (long i = 0; i < tensor_width(x); i++)
				sum += row_f64(x, t)[i] * row_f64(dxe, e * dxe->dims[1] + g)[i];
			row_f64(ds, t)[e] = sum;
		}
	}
}

static void merge_forward(const struct op_run *r)
{
	const struct merge_attr *attr = r->attr;

	set_first(r);
	mixing_merge(r->in[MERGE_X_BTD], r->in[MERGE_S_BTE], r->out[MERGE_XE_EGD], attr->members, false);
}

static void merge_backward(const struct op_run *r)
{
	const struct merge_attr *attr = r->attr;
	const struct tensor *dxe = r->d_out[MERGE_XE_EGD];

	if (r->d_in[MERGE_X_BTD])
		mixing_emit(dxe, r->in[MERGE_S_BTE], r->d_in[MERGE_X_BTD], attr->members,
			op_adds(r, MERGE_X_BTD));
	if (r->d_in[MERGE_S_BTE])
		mixing_dots(r->in[MERGE_X_BTD], dxe, r->d_in[MERGE_S_BTE], attr->members,
			op_adds(r, MERGE_S_BTE));
}

static const struct merge_attr batch = {3}, halves = {2}, alone = {1}, many = {20};

static const struct op_example examples[] = {
	{.name = "over the batch", .attr = &batch, .in = {{3, 5, 7}, {3, 5, 4}}},
	{.name = "halves", .attr = &halves, .in = {{4, 5, 8}, {4, 5, 3}}},
	{.name = "groups of one", .attr = &alone, .in = {{2, 3, 16}, {2, 3, 2}}},
	{.name = "many sequences and experts", .attr = &many, .in = {{40, 3, 40}, {40, 3, 35}}},
};

const struct op op_merge = {
	.name = "merge",
	.formula = "xe[e, g] = sum over tokens t of group g of s[t, e] x[t]",
	.semantics = 1,
	.n_in = MERGE_N_IN,
	.n_out = MERGE_N_OUT,
	.in = {
		[MERGE_X_BTD] = {"x", 0},
		[MERGE_S_BTE] = {"s", IN_MASTER},
	},
	.out = {
		[MERGE_XE_EGD] = {"xe", REAL, false},
		[MERGE_FIRST_E1] = {"first", INDEX, true},
	},
	.shape = merge_shape,
	.cost = merge_cost,
	.backward_reads_in = READS(MERGE_X_BTD) | READS(MERGE_S_BTE),
	.forward = {[REF] = merge_forward_ref, [CPU] = merge_forward,
		[CUDA] = OP_CUDA(merge_forward_cuda)},
	.backward = {[REF] = merge_backward_ref, [CPU] = merge_backward,
		[CUDA] = OP_CUDA(merge_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
