#include "op/experts.h"

#include "base/error.h"
#include "op/cpu/experts.h"
#include "op/kit/gradient.h"
#include "op/kit/rows.h"
#include "op/trial.h"

/* As many rows as a, `width` wide. */
static struct tensor as_wide(const struct tensor *a, long width)
{
	if (a->n_dims == 2)
		return tensor_of(REAL, 2, a->dims[0], width);
	return tensor_of(REAL, 3, a->dims[0], a->dims[1], width);
}

static void check_weights(const struct op_shapes *s, long E)
{
	const struct experts_attr *attr = s->attr;
	const struct tensor *w1 = s->in[EXPERTS_W1_EHD], *w2 = s->in[EXPERTS_W2_EOF];
	struct experts_widths w = experts_widths(attr, s->in);
	long per = attr->gated ? 2 : 1;

	if (attr->units.n) {
		long U = units_first(&attr->units, E);
		CHECK(w1 && w1->n_dims == 2 && w1->dims[0] == per * U && w1->dims[1] == w.D);
		CHECK(w2->n_dims == 2 && w2->dims[1] == U);
		return;
	}
	CHECK(w2->n_dims == 3 && w2->dims[0] == E);
	CHECK(!w1 || (w1->n_dims == 3 && w1->dims[0] == E && w1->dims[2] == w.D));
	CHECK(w1 ? w.H == per * w.F : w.F == w.D && !attr->gated);
}

static void experts_shape(struct op_shapes *s)
{
	const struct tensor *xe = s->in[EXPERTS_XE_SD];
	struct experts_widths w = experts_widths(s->attr, s->in);
	long E = tensor_size(s->in[EXPERTS_FIRST_E1]) - 1;

	check_weights(s, E);
	CHECK(xe->n_dims == 2 || (xe->n_dims == 3 && xe->dims[0] == E));
	s->out[EXPERTS_YE_SO] = as_wide(xe, w.O);
	if (w.H)
		s->saved[EXPERTS_H_SH] = as_wide(xe, w.H);
}

/* Where experts differ, each counts with an equal share of the rows. */
static void experts_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct experts_attr *attr = s->attr;
	double rows = (double)(attr->tokens ? attr->tokens : tensor_rows(s->in[EXPERTS_XE_SD]));
	struct experts_widths w = experts_widths(attr, s->in);
	const struct units *u = &attr->units;
	double F = u->n ? (double)u->first[u->n] / u->n : (double)w.F, H = F * (double)w.H / (double)w.F;
	double products = H * (double)w.D + F * (double)w.O;

	/* An element of the activation: f; gated, f and a product. Its gradient twice, gated five times that. */
	c->forward_flops = rows * (2 * products + H);
	c->backward_flops = rows * (4 * products + (attr->gated ? 2.5 : 2) * H);
	c->executed_flops = c->forward_flops + c->backward_flops;
	c->forward_bytes = op_io_bytes(&op_experts, s);
	c->backward_bytes = 2 * c->forward_bytes;
}

/* What W2 multiplies: element f of row s. */
static double unit_ref(const struct op_run *r, const struct experts_part *p, long s, long f)
{
	const struct experts_attr *attr = r->attr;

	if (!p->H)
		return row_f64(r->in[EXPERTS_XE_SD], s)[f];
	const double *h = row_f64(r->saved[EXPERTS_H_SH], s);
	return act_f64(attr->fn, h[f]) * (attr->gated ? h[p->F + f] : 1);
}

static void forward_row_ref(const struct op_run *r, const struct experts_part *p, long s)
{
	const struct tensor *x = r->in[EXPERTS_XE_SD], *w1 = r->in[EXPERTS_W1_EHD], *w2 = r->in[EXPERTS_W2_EOF],
		*y = r->out[EXPERTS_YE_SO];

	for (long h = 0; h < p->H; h++)
		row_f64(r->saved[EXPERTS_H_SH], s)[h] = row_dot_f64(row_f64(w1, p->row1 + h), row_f64(x, s),
			tensor_width(x));
	for (long o = 0; o < tensor_width(y); o++) {
		double sum = 0;
		for (long f = 0; f < p->F; f++)
			sum += row_f64(w2, p->row2 + o)[p->column2 + f] * unit_ref(r, p, s, f);
		row_f64(y, s)[o] = sum;
	}
}

typedef void row_fn(const struct op_run *r, const struct experts_part *p, long s);

static void each_row(const struct op_run *r, row_fn *row)
{
	const struct tensor *first_E1 = r->in[EXPERTS_FIRST_E1];
	const int *first = row_int(first_E1, 0);

	for (long e = 0; e < tensor_width(first_E1) - 1; e++) {
		struct experts_part p = experts_part(r->attr, r->in, e);
		for (long s = first[e]; s < first[e + 1]; s++)
			row(r, &p, s);
	}
}

static void experts_forward_ref(const struct op_run *r)
{
	each_row(r, forward_row_ref);
}

static void clear_ref(const struct op_run *r, int i, long from, long to)
{
	const struct tensor *d = r->d_in[i];

	for (long row = from; d && !op_adds(r, i) && row < to; row++)
		for (long k = 0; k < tensor_width(d); k++)
			row_f64(d, row)[k] = 0;
}

/* Through element h of W1 x, whose gradient is a. */
static void backward_hidden_ref(const struct op_run *r, const struct experts_part *p, long s, long h, double a)
{
	const struct tensor *x = r->in[EXPERTS_XE_SD], *w1 = r->in[EXPERTS_W1_EHD];

	for (long i = 0; i < tensor_width(x); i++) {
		add_gradient(r, EXPERTS_XE_SD, s, i, row_f64(w1, p->row1 + h)[i] * a);
		add_gradient(r, EXPERTS_W1_EHD, p->row1 + h, i, a * row_f64(x, s)[i]);
	}
}

/* Through element f of what W2 multiplies, whose gradient is d. */
static void backward_unit_ref(const struct op_run *r, const struct experts_part *p, long s, long f, double d)
{
	const struct experts_attr *attr = r->attr;

	if (!p->H) {
		add_gradient(r, EXPERTS_XE_SD, s, f, d);
		return;
	}
	const double *h = row_f64(r->saved[EXPERTS_H_SH], s);
	backward_hidden_ref(r, p, s, f, act_slope_f64(attr->fn, h[f]) * d * (attr->gated ? h[p->F + f] : 1));
	if (attr->gated)
		backward_hidden_ref(r, p, s, p->F + f, act_f64(attr->fn, h[f]) * d);
}

static void backward_row_ref(const struct op_run *r, const struct experts_part *p, long s)
{
	const struct tensor *w2 = r->in[EXPERTS_W2_EOF], *dy = r->d_out[EXPERTS_YE_SO];

	for (long f = 0; f < p->F; f++) {
		double sum = 0;
		for (long o = 0; o < tensor_width(dy); o++) {
			sum += row_f64(w2, p->row2 + o)[p->column2 + f] * row_f64(dy, s)[o];
			add_gradient(r, EXPERTS_W2_EOF, p->row2 + o, p->column2 + f,
				row_f64(dy, s)[o] * unit_ref(r, p, s, f));
		}
		backward_unit_ref(r, p, s, f, sum);
	}
}

static void experts_backward_ref(const struct op_run *r)
{
	const struct tensor *w1 = r->in[EXPERTS_W1_EHD], *w2 = r->in[EXPERTS_W2_EOF],
		*first_E1 = r->in[EXPERTS_FIRST_E1];

	clear_ref(r, EXPERTS_XE_SD, 0, row_int(first_E1, 0)[tensor_width(first_E1) - 1]);
	if (w1)
		clear_ref(r, EXPERTS_W1_EHD, 0, tensor_rows(w1));
	clear_ref(r, EXPERTS_W2_EOF, 0, tensor_rows(w2));
	each_row(r, backward_row_ref);
}

/* All rows belong to an expert, since tests read all of the output; the second has none, the third
   those of two, unless all have as many. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *first = t->in[EXPERTS_FIRST_E1];
	long S = tensor_rows(t->in[EXPERTS_XE_SD]), E = tensor_width(first) - 1;
	bool equal = t->in[EXPERTS_XE_SD]->n_dims == 3;

	for (long e = 0; e <= E; e++)
		op_trial_set(t, first, e, (double)(e == 2 && e < E && !equal ? S / E : S * e / E));
}

#define TWO_WIDTHS {2, {0, 3, 10}}
#define WIDE_AND_NARROW {3, {0, 16, 168, 408}}
static const struct experts_attr relu = {.fn = ACT_RELU}, silu = {.fn = ACT_SILU}, gelu = {.fn = ACT_GELU},
	gated = {.fn = ACT_SILU, .gated = true}, gated_relu = {.fn = ACT_RELU, .gated = true},
	relu_unequal = {.fn = ACT_RELU, .units = TWO_WIDTHS}, gelu_unequal = {.fn = ACT_GELU, .units = TWO_WIDTHS},
	gated_unequal = {.fn = ACT_SILU, .gated = true, .units = TWO_WIDTHS},
	silu_wide = {.fn = ACT_SILU, .units = WIDE_AND_NARROW}, relu_wide = {.fn = ACT_RELU, .units = WIDE_AND_NARROW},
	gated_wide = {.fn = ACT_SILU, .gated = true, .units = WIDE_AND_NARROW};

static const struct op_example examples[] = {
	{.name = "relu, one expert empty", .attr = &relu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {13, 5}, [EXPERTS_FIRST_E1] = {5},
			[EXPERTS_W1_EHD] = {4, 7, 5}, [EXPERTS_W2_EOF] = {4, 6, 7}}},
	{.name = "silu", .attr = &silu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {11, 4}, [EXPERTS_FIRST_E1] = {4},
			[EXPERTS_W1_EHD] = {3, 9, 4}, [EXPERTS_W2_EOF] = {3, 4, 9}}},
	{.name = "gelu, one expert", .attr = &gelu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {6, 3}, [EXPERTS_FIRST_E1] = {2},
			[EXPERTS_W1_EHD] = {1, 5, 3}, [EXPERTS_W2_EOF] = {1, 3, 5}}},
	{.name = "several items an expert", .attr = &silu, .prepare = prepare,
		.no_gradient_check = true, .in = {[EXPERTS_XE_SD] = {700, 8},
			[EXPERTS_FIRST_E1] = {4}, [EXPERTS_W1_EHD] = {3, 150, 8},
			[EXPERTS_W2_EOF] = {3, 10, 150}}},
	{.name = "relu, equal segments", .attr = &relu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {3, 6, 8}, [EXPERTS_FIRST_E1] = {4},
			[EXPERTS_W1_EHD] = {3, 16, 8}, [EXPERTS_W2_EOF] = {3, 8, 16}}},
	{.name = "gelu, equal segments", .attr = &gelu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {2, 7, 5}, [EXPERTS_FIRST_E1] = {3},
			[EXPERTS_W1_EHD] = {2, 9, 5}, [EXPERTS_W2_EOF] = {2, 7, 9}}},
	{.name = "relu, several tiles, an expert empty", .attr = &relu, .prepare = prepare,
		.no_gradient_check = true, .in = {[EXPERTS_XE_SD] = {384, 40},
			[EXPERTS_FIRST_E1] = {5}, [EXPERTS_W1_EHD] = {4, 136, 40},
			[EXPERTS_W2_EOF] = {4, 24, 136}}},
	{.name = "gated, one expert empty", .attr = &gated, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {13, 5}, [EXPERTS_FIRST_E1] = {5},
			[EXPERTS_W1_EHD] = {4, 14, 5}, [EXPERTS_W2_EOF] = {4, 6, 7}}},
	{.name = "gated relu, equal segments", .attr = &gated_relu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {3, 6, 8}, [EXPERTS_FIRST_E1] = {4},
			[EXPERTS_W1_EHD] = {3, 32, 8}, [EXPERTS_W2_EOF] = {3, 8, 16}}},
	{.name = "gated, several tiles", .attr = &gated, .prepare = prepare, .no_gradient_check = true,
		.in = {[EXPERTS_XE_SD] = {384, 40}, [EXPERTS_FIRST_E1] = {5},
			[EXPERTS_W1_EHD] = {4, 272, 40}, [EXPERTS_W2_EOF] = {4, 24, 136}}},
	{.name = "one matrix, one expert empty", .attr = &relu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {13, 5}, [EXPERTS_FIRST_E1] = {5}, [EXPERTS_W2_EOF] = {4, 6, 5}}},
	{.name = "one matrix, equal segments", .attr = &relu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {3, 6, 8}, [EXPERTS_FIRST_E1] = {4}, [EXPERTS_W2_EOF] = {3, 16, 8}}},
	{.name = "one matrix, several tiles", .attr = &relu, .prepare = prepare, .no_gradient_check = true,
		.in = {[EXPERTS_XE_SD] = {384, 40}, [EXPERTS_FIRST_E1] = {5}, [EXPERTS_W2_EOF] = {4, 136, 40}}},
	{.name = "silu, many tiles and terms", .attr = &silu, .prepare = prepare,
		.no_gradient_check = true, .in = {[EXPERTS_XE_SD] = {700, 40},
			[EXPERTS_FIRST_E1] = {5}, [EXPERTS_W1_EHD] = {4, 328, 40},
			[EXPERTS_W2_EOF] = {4, 24, 328}}},
	{.name = "relu, unequal, one expert empty", .attr = &relu_unequal, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {13, 5}, [EXPERTS_FIRST_E1] = {5},
			[EXPERTS_W1_EHD] = {20, 5}, [EXPERTS_W2_EOF] = {6, 20}}},
	{.name = "gelu, unequal, equal segments", .attr = &gelu_unequal, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {3, 6, 8}, [EXPERTS_FIRST_E1] = {4},
			[EXPERTS_W1_EHD] = {13, 8}, [EXPERTS_W2_EOF] = {8, 13}}},
	{.name = "gated, unequal, one expert empty", .attr = &gated_unequal, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {13, 5}, [EXPERTS_FIRST_E1] = {5},
			[EXPERTS_W1_EHD] = {40, 5}, [EXPERTS_W2_EOF] = {6, 20}}},
	{.name = "silu, unequal, many tiles and terms", .attr = &silu_wide, .prepare = prepare,
		.no_gradient_check = true, .in = {[EXPERTS_XE_SD] = {700, 40},
			[EXPERTS_FIRST_E1] = {5}, [EXPERTS_W1_EHD] = {424, 40}, [EXPERTS_W2_EOF] = {24, 424}}},
	{.name = "relu, unequal, several items an expert", .attr = &relu_wide, .prepare = prepare,
		.no_gradient_check = true, .in = {[EXPERTS_XE_SD] = {1300, 8},
			[EXPERTS_FIRST_E1] = {4}, [EXPERTS_W1_EHD] = {408, 8}, [EXPERTS_W2_EOF] = {16, 408}}},
	{.name = "gated, unequal, several tiles", .attr = &gated_wide, .prepare = prepare,
		.no_gradient_check = true, .in = {[EXPERTS_XE_SD] = {384, 40},
			[EXPERTS_FIRST_E1] = {5}, [EXPERTS_W1_EHD] = {848, 40}, [EXPERTS_W2_EOF] = {24, 424}}},
};

const struct op op_experts = {
	.name = "experts",
	.formula = "ye = W2[e] f(W1[e] xe), each expert e on its own rows; gated: [g; u] = W1[e] xe, "
		"W2[e] (f(g) u); without W1: W2[e] xe",
	.semantics = 1,
	.n_in = EXPERTS_N_IN,
	.n_out = EXPERTS_N_OUT,
	.n_saved = EXPERTS_N_SAVED,
	.in = {
		[EXPERTS_XE_SD] = {"xe", 0},
		[EXPERTS_FIRST_E1] = {"first", IN_INDEX},
		[EXPERTS_W1_EHD] = {"w1", IN_WEIGHT | IN_OPTIONAL},
		[EXPERTS_W2_EOF] = {"w2", IN_WEIGHT},
	},
	.out = {[EXPERTS_YE_SO] = {"ye", REAL, false}},
	.shape = experts_shape,
	.room = {[CPU] = experts_room_cpu, [CUDA] = OP_CUDA(experts_room_cuda)},
	.cost = experts_cost,
	.backward_reads_in = READS(EXPERTS_XE_SD) | READS(EXPERTS_FIRST_E1) |
		READS(EXPERTS_W1_EHD) | READS(EXPERTS_W2_EOF),
	.forward = {[REF] = experts_forward_ref, [CPU] = experts_forward_cpu,
		[CUDA] = OP_CUDA(experts_forward_cuda)},
	.backward = {[REF] = experts_backward_ref, [CPU] = experts_backward_cpu,
		[CUDA] = OP_CUDA(experts_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
