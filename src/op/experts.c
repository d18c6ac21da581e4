#include "op/experts.h"

#include <string.h>

#include "base/error.h"
#include "op/kit/gemm.h"
#include "op/trial.h"

enum {
	ROWS = 256,		/* of the buffer, in one work item */
	WEIGHT_ITEMS = 32,	/* at least so many pieces of each weight gradient, if F allows */
	MIN_PIECE = 64,		/* columns of F in a piece */
};

/* Some rows of one expert. */
struct rows {
	long expert, at, n;
};

/* As many rows as a, `width` wide. */
static struct tensor as_wide(const struct tensor *a, long width)
{
	if (a->n_dims == 2)
		return tensor_of(REAL, 2, a->dims[0], width);
	return tensor_of(REAL, 3, a->dims[0], a->dims[1], width);
}

static void experts_shape(struct op_shapes *s)
{
	const struct tensor *xe = s->in[EXPERTS_XE_SD], *w1 = s->in[EXPERTS_W1_EFD],
		*w2 = s->in[EXPERTS_W2_EOF];

	CHECK(w1->n_dims == 3 && w2->n_dims == 3);
	CHECK(xe->n_dims == 2 || (xe->n_dims == 3 && xe->dims[0] == w1->dims[0]));
	CHECK(w1->dims[0] == w2->dims[0] && w1->dims[1] == w2->dims[2]);
	CHECK(w1->dims[2] == tensor_width(xe));
	CHECK(tensor_size(s->in[EXPERTS_FIRST_E1]) == w1->dims[0] + 1);
	s->out[EXPERTS_YE_SO] = as_wide(xe, w2->dims[1]);
	s->saved[EXPERTS_H_SF] = as_wide(xe, w1->dims[1]);
}

static void experts_room_cpu(struct op_shapes *s)
{
	const struct experts_attr *attr = s->attr;
	size_t hidden = (size_t)tensor_size(&s->saved[EXPERTS_H_SF]) * sizeof(float);

	s->forward_workspace = attr->fn == ACT_RELU ? 0 : hidden;
	s->backward_workspace = attr->fn == ACT_RELU ? hidden : 2 * hidden;
}

static void experts_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct tensor *w1 = s->in[EXPERTS_W1_EFD], *w2 = s->in[EXPERTS_W2_EOF];
	const struct experts_attr *attr = s->attr;
	double rows = (double)tensor_rows(s->in[EXPERTS_XE_SD]);
	double hidden = (double)w1->dims[1] * (attr->tokens ? (double)attr->tokens : rows);
	double widths = (double)(w1->dims[2] + w2->dims[1]);

	c->forward_flops = hidden * (2 * widths + 1);
	c->backward_flops = hidden * (4 * widths + 2);
	c->executed_flops = c->forward_flops + c->backward_flops;
	c->forward_bytes = op_io_bytes(&op_experts, s);
	c->backward_bytes = 2 * c->forward_bytes;
}

static void forward_row_ref(const struct op_run *r, long e, long s)
{
	const struct experts_attr *attr = r->attr;
	const struct tensor *x = r->in[EXPERTS_XE_SD], *w1 = r->in[EXPERTS_W1_EFD],
		*w2 = r->in[EXPERTS_W2_EOF], *y = r->out[EXPERTS_YE_SO],
		*h = r->saved[EXPERTS_H_SF];
	long D = w1->dims[2], F = w1->dims[1], O = w2->dims[1];

	for (long f = 0; f < F; f++) {
		double sum = 0;
		for (long i = 0; i < D; i++)
			sum += row_f64(w1, e * F + f)[i] * row_f64(x, s)[i];
		row_f64(h, s)[f] = sum;
	}
	for (long o = 0; o < O; o++) {
		double sum = 0;
		for (long f = 0; f < F; f++)
			sum += row_f64(w2, e * O + o)[f] * act_f64(attr->fn, row_f64(h, s)[f]);
		row_f64(y, s)[o] = sum;
	}
}

static void experts_forward_ref(const struct op_run *r)
{
	const int *first = row_int(r->in[EXPERTS_FIRST_E1], 0);

	for (long e = 0; e < r->in[EXPERTS_W1_EFD]->dims[0]; e++)
		for (long s = first[e]; s < first[e + 1]; s++)
			forward_row_ref(r, e, s);
}

static void clear_ref(const struct op_run *r, int i, long from, long to)
{
	const struct tensor *d = r->d_in[i];

	for (long row = from; d && !op_adds(r, i) && row < to; row++)
		for (long k = 0; k < tensor_width(d); k++)
			row_f64(d, row)[k] = 0;
}

static void backward_row_ref(const struct op_run *r, long e, long s)
{
	const struct experts_attr *attr = r->attr;
	const struct tensor *x = r->in[EXPERTS_XE_SD], *w1 = r->in[EXPERTS_W1_EFD],
		*w2 = r->in[EXPERTS_W2_EOF], *h = r->saved[EXPERTS_H_SF],
		*dy = r->d_out[EXPERTS_YE_SO], *dx = r->d_in[EXPERTS_XE_SD],
		*dw1 = r->d_in[EXPERTS_W1_EFD], *dw2 = r->d_in[EXPERTS_W2_EOF];
	long D = w1->dims[2], F = w1->dims[1], O = w2->dims[1];

	for (long f = 0; f < F; f++) {
		double sum = 0, pre = row_f64(h, s)[f];
		for (long o = 0; o < O; o++) {
			double d = row_f64(dy, s)[o];
			sum += row_f64(w2, e * O + o)[f] * d;
			if (dw2)
				row_f64(dw2, e * O + o)[f] += d * act_f64(attr->fn, pre);
		}
		double a = act_slope_f64(attr->fn, pre) * sum;
		for (long i = 0; i < D; i++) {
			if (dx)
				row_f64(dx, s)[i] += row_f64(w1, e * F + f)[i] * a;
			if (dw1)
				row_f64(dw1, e * F + f)[i] += a * row_f64(x, s)[i];
		}
	}
}

static void experts_backward_ref(const struct op_run *r)
{
	const struct tensor *w1 = r->in[EXPERTS_W1_EFD], *w2 = r->in[EXPERTS_W2_EOF];
	const int *first = row_int(r->in[EXPERTS_FIRST_E1], 0);
	long E = w1->dims[0];

	clear_ref(r, EXPERTS_XE_SD, 0, first[E]);
	clear_ref(r, EXPERTS_W1_EFD, 0, tensor_rows(w1));
	clear_ref(r, EXPERTS_W2_EOF, 0, tensor_rows(w2));
	for (long e = 0; e < E; e++)
		for (long s = first[e]; s < first[e + 1]; s++)
			backward_row_ref(r, e, s);
}

/* Work item i of max_items(): up to ROWS rows of one expert; none (n = 0) behind the last item.
   Counts vary, so do the items; each owns its rows, so threads do not matter to the bits. */
static struct rows rows_of(const struct tensor *first_E1, long i)
{
	const int *first = row_int(first_E1, 0);

	for (long e = 0; e < tensor_width(first_E1) - 1; e++) {
		long n = first[e + 1] - first[e], items = (n + ROWS - 1) / ROWS;
		if (i < items) {
			long each = (n + items - 1) / items, at = i * each;
			return (struct rows){e, first[e] + at, n - at < each ? n - at : each};
		}
		i -= items;
	}
	return (struct rows){0};
}

static long max_items(const struct tensor *xe_SD, const struct tensor *first_E1)
{
	return tensor_rows(xe_SD) / ROWS + tensor_width(first_E1) - 1;
}

/* f(pre) of all rows: what is saved of relu, which needs nothing else; else in the workspace. */
static float *activation(const struct op_run *r)
{
	const struct experts_attr *attr = r->attr;

	return attr->fn == ACT_RELU ? r->saved[EXPERTS_H_SF]->at : r->workspace;
}

static void forward_rows(const struct op_run *r, struct rows rows)
{
	const struct experts_attr *attr = r->attr;
	const struct tensor *x = r->in[EXPERTS_XE_SD], *w1 = r->in[EXPERTS_W1_EFD],
		*w2 = r->in[EXPERTS_W2_EOF], *y = r->out[EXPERTS_YE_SO];
	long D = w1->dims[2], F = w1->dims[1], O = w2->dims[1];
	float *h = row_f32(r->saved[EXPERTS_H_SF], rows.at), *a = activation(r) + rows.at * F;

	gemm(GEMM_N, GEMM_T, rows.n, F, D, 1, row_f32(x, rows.at), x->ld,
		row_f32(w1, rows.expert * F), w1->ld, 0, h, F);
	act_row_f32(attr->fn, a, h, rows.n * F);
	gemm(GEMM_N, GEMM_T, rows.n, O, F, 1, a, F, row_f32(w2, rows.expert * O), w2->ld, 0,
		row_f32(y, rows.at), y->ld);
}

static void experts_forward(const struct op_run *r)
{
	const struct tensor *first = r->in[EXPERTS_FIRST_E1];
	long n = max_items(r->in[EXPERTS_XE_SD], first);

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < n; i++) {
		struct rows rows = rows_of(first, i);
		if (rows.n)
			forward_rows(r, rows);
	}
}

/* dpre of some rows into the workspace, f(pre) behind those of all rows, and dx. */
static void backward_rows(const struct op_run *r, struct rows rows, float *dpre_SF, float *act_SF)
{
	const struct experts_attr *attr = r->attr;
	const struct tensor *w1 = r->in[EXPERTS_W1_EFD], *w2 = r->in[EXPERTS_W2_EOF],
		*dy = r->d_out[EXPERTS_YE_SO], *dx = r->d_in[EXPERTS_XE_SD];
	long D = w1->dims[2], F = w1->dims[1], O = w2->dims[1];
	float *h = row_f32(r->saved[EXPERTS_H_SF], rows.at), *dpre = dpre_SF + rows.at * F;

	gemm(GEMM_N, GEMM_N, rows.n, F, O, 1, row_f32(dy, rows.at), dy->ld,
		row_f32(w2, rows.expert * O), w2->ld, 0, dpre, F);
	act_gradient_row_f32(attr->fn, dpre, h, dpre, rows.n * F);
	if (attr->fn != ACT_RELU)
		act_row_f32(attr->fn, act_SF + rows.at * F, h, rows.n * F);
	if (dx)
		gemm(GEMM_N, GEMM_N, rows.n, D, F, 1, dpre, F, row_f32(w1, rows.expert * F), w1->ld,
			op_adds(r, EXPERTS_XE_SD), row_f32(dx, rows.at), dx->ld);
}

/* C = A^T B over the n rows of an expert; zeros, or nothing added, where it has none. */
static void weight_gradient(const float *a, long lda, const float *b, long ldb, long n, float *c,
	long ldc, long rows, long columns, bool add)
{
	if (n > 0) {
		gemm(GEMM_T, GEMM_N, rows, columns, n, 1, a, lda, b, ldb, add, c, ldc);
		return;
	}
	for (long i = 0; i < rows && !add; i++)
		memset(c + i * ldc, 0, (size_t)columns * sizeof *c);
}

/* Columns f to f + n of F in dW1 = dpre^T x and dW2 = dy^T f(pre) of expert e. */
static void backward_weights(const struct op_run *r, long e, long f, long n, const float *dpre_SF,
	const float *act_SF)
{
	const struct tensor *x = r->in[EXPERTS_XE_SD], *dy = r->d_out[EXPERTS_YE_SO],
		*dw1 = r->d_in[EXPERTS_W1_EFD], *dw2 = r->d_in[EXPERTS_W2_EOF];
	const int *first = row_int(r->in[EXPERTS_FIRST_E1], 0);
	long at = first[e], rows = first[e + 1] - at, F = tensor_width(r->saved[EXPERTS_H_SF]);
	long O = tensor_width(dy);

	if (dw1)
		weight_gradient(dpre_SF + at * F + f, F, row_f32(x, at), x->ld, rows,
			row_f32(dw1, e * F + f), dw1->ld, n, tensor_width(x),
			op_adds(r, EXPERTS_W1_EFD));
	if (dw2)
		weight_gradient(row_f32(dy, at), dy->ld, act_SF + at * F + f, F, rows,
			row_f32(dw2, e * O) + f, dw2->ld, O, n, op_adds(r, EXPERTS_W2_EOF));
}

static void experts_backward(const struct op_run *r)
{
	const struct experts_attr *attr = r->attr;
	const struct tensor *first = r->in[EXPERTS_FIRST_E1], *h = r->saved[EXPERTS_H_SF];
	long n = max_items(r->in[EXPERTS_XE_SD], first), E = tensor_width(first) - 1;
	long F = tensor_width(h);
	float *dpre = r->workspace, *act = attr->fn == ACT_RELU ? h->at : dpre + tensor_size(h);
	long piece = F * E / WEIGHT_ITEMS / 16 * 16;

	piece = piece > F ? F : piece < MIN_PIECE ? MIN_PIECE : piece;
	long pieces = (F + piece - 1) / piece;
	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < n; i++) {
		struct rows rows = rows_of(first, i);
		if (rows.n)
			backward_rows(r, rows, dpre, act);
	}
	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < E * pieces; i++) {
		long f = i % pieces * piece;
		backward_weights(r, i / pieces, f, F - f < piece ? F - f : piece, dpre, act);
	}
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

static const struct experts_attr relu = {ACT_RELU, 0}, silu = {ACT_SILU, 0}, gelu = {ACT_GELU, 0};

static const struct op_example examples[] = {
	{.name = "relu, one expert empty", .attr = &relu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {13, 5}, [EXPERTS_FIRST_E1] = {5},
			[EXPERTS_W1_EFD] = {4, 7, 5}, [EXPERTS_W2_EOF] = {4, 6, 7}}},
	{.name = "silu", .attr = &silu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {11, 4}, [EXPERTS_FIRST_E1] = {4},
			[EXPERTS_W1_EFD] = {3, 9, 4}, [EXPERTS_W2_EOF] = {3, 4, 9}}},
	{.name = "gelu, one expert", .attr = &gelu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {6, 3}, [EXPERTS_FIRST_E1] = {2},
			[EXPERTS_W1_EFD] = {1, 5, 3}, [EXPERTS_W2_EOF] = {1, 3, 5}}},
	{.name = "several items an expert", .attr = &silu, .prepare = prepare,
		.no_gradient_check = true, .in = {[EXPERTS_XE_SD] = {700, 8},
			[EXPERTS_FIRST_E1] = {4}, [EXPERTS_W1_EFD] = {3, 150, 8},
			[EXPERTS_W2_EOF] = {3, 10, 150}}},
	{.name = "relu, equal segments", .attr = &relu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {3, 6, 8}, [EXPERTS_FIRST_E1] = {4},
			[EXPERTS_W1_EFD] = {3, 16, 8}, [EXPERTS_W2_EOF] = {3, 8, 16}}},
	{.name = "gelu, equal segments", .attr = &gelu, .prepare = prepare,
		.in = {[EXPERTS_XE_SD] = {2, 7, 5}, [EXPERTS_FIRST_E1] = {3},
			[EXPERTS_W1_EFD] = {2, 9, 5}, [EXPERTS_W2_EOF] = {2, 7, 9}}},
	{.name = "relu, several tiles, an expert empty", .attr = &relu, .prepare = prepare,
		.no_gradient_check = true, .in = {[EXPERTS_XE_SD] = {384, 40},
			[EXPERTS_FIRST_E1] = {5}, [EXPERTS_W1_EFD] = {4, 136, 40},
			[EXPERTS_W2_EOF] = {4, 24, 136}}},
	{.name = "silu, many tiles and terms", .attr = &silu, .prepare = prepare,
		.no_gradient_check = true, .in = {[EXPERTS_XE_SD] = {700, 40},
			[EXPERTS_FIRST_E1] = {5}, [EXPERTS_W1_EFD] = {4, 328, 40},
			[EXPERTS_W2_EOF] = {4, 24, 328}}},
};

const struct op op_experts = {
	.name = "experts",
	.formula = "ye = W2[e] f(W1[e] xe), each expert e on its own rows",
	.semantics = 1,
	.n_in = EXPERTS_N_IN,
	.n_out = EXPERTS_N_OUT,
	.n_saved = EXPERTS_N_SAVED,
	.in = {
		[EXPERTS_XE_SD] = {"xe", 0},
		[EXPERTS_FIRST_E1] = {"first", IN_INDEX},
		[EXPERTS_W1_EFD] = {"w1", IN_WEIGHT},
		[EXPERTS_W2_EOF] = {"w2", IN_WEIGHT},
	},
	.out = {[EXPERTS_YE_SO] = {"ye", REAL, false}},
	.shape = experts_shape,
	.room = {[CPU] = experts_room_cpu, [CUDA] = OP_CUDA(experts_room_cuda)},
	.cost = experts_cost,
	.backward_reads_in = READS(EXPERTS_XE_SD) | READS(EXPERTS_FIRST_E1) |
		READS(EXPERTS_W1_EFD) | READS(EXPERTS_W2_EOF),
	.forward = {[REF] = experts_forward_ref, [CPU] = experts_forward,
		[CUDA] = OP_CUDA(experts_forward_cuda)},
	.backward = {[REF] = experts_backward_ref, [CPU] = experts_backward,
		[CUDA] = OP_CUDA(experts_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
