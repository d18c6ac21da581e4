#include "op/linear.h"

#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/cuda/gemm.h"
#include "op/kit/gemm.h"

enum { BIAS_COLUMNS = 64, BIAS_ROWS = 256 };

static void linear_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[LINEAR_X_BTI], *w = s->in[LINEAR_W_OI];
	const struct tensor *b = s->in[LINEAR_B_O];
	struct tensor *y = &s->out[LINEAR_Y_BTO];

	CHECK(w->n_dims == 2 && w->dims[1] == tensor_width(x));
	CHECK(!b || (b->n_dims == 1 && b->dims[0] == w->dims[0]));
	*y = *x;
	y->kind = REAL;
	y->dims[x->n_dims - 1] = y->ld = w->dims[0];
	y->at = NULL;
}

static void linear_room_cuda(struct op_shapes *s)
{
	const struct tensor *y = &s->out[LINEAR_Y_BTO];
	long parts = ceil_div(tensor_rows(y), LINEAR_PART_ROWS);
	size_t part_bytes = (size_t)(parts * tensor_width(y)) * sizeof(float);

	s->forward_workspace = GPU_GEMM_WORKSPACE;
	s->backward_workspace = part_bytes > GPU_GEMM_WORKSPACE ? part_bytes : GPU_GEMM_WORKSPACE;
	s->forward_plan = sizeof(struct gpu_gemm_plan);
	s->backward_plan = 2 * sizeof(struct gpu_gemm_plan);
}

static void linear_cost(const struct op_shapes *s, struct op_cost *c)
{
	double rows = (double)tensor_rows(s->in[LINEAR_X_BTI]);
	double x = (double)tensor_size(s->in[LINEAR_X_BTI]);
	double w = (double)tensor_size(s->in[LINEAR_W_OI]);
	double bias = s->in[LINEAR_B_O] ? (double)tensor_size(&s->out[LINEAR_Y_BTO]) : 0;

	c->forward_flops = 2 * rows * w + bias;
	c->backward_flops = 4 * rows * w + bias;
	c->executed_flops = c->forward_flops + c->backward_flops;
	c->forward_bytes = op_io_bytes(&op_linear, s);
	c->backward_bytes = c->forward_bytes + (x + w) * (double)s->device->bytes[REAL];
}

static void linear_forward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[LINEAR_X_BTI], *w = r->in[LINEAR_W_OI];
	const struct tensor *b = r->in[LINEAR_B_O], *y = r->out[LINEAR_Y_BTO];

	for (long t = 0; t < tensor_rows(x); t++)
		for (long o = 0; o < tensor_width(y); o++) {
			double sum = b ? row_f64(b, 0)[o] : 0;
			for (long i = 0; i < tensor_width(x); i++)
				sum += row_f64(w, o)[i] * row_f64(x, t)[i];
			row_f64(y, t)[o] = sum;
		}
}

/* dx = dy W */
static void input_gradient_ref(const struct op_run *r)
{
	const struct tensor *w = r->in[LINEAR_W_OI], *dx = r->d_in[LINEAR_X_BTI];
	const struct tensor *dy = r->d_out[LINEAR_Y_BTO];

	for (long t = 0; t < tensor_rows(dx); t++)
		for (long i = 0; i < tensor_width(dx); i++) {
			double sum = op_adds(r, LINEAR_X_BTI) ? row_f64(dx, t)[i] : 0;
			for (long o = 0; o < tensor_width(dy); o++)
				sum += row_f64(dy, t)[o] * row_f64(w, o)[i];
			row_f64(dx, t)[i] = sum;
		}
}

/* dW = dy^T x */
static void weight_gradient_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[LINEAR_X_BTI], *dw = r->d_in[LINEAR_W_OI];
	const struct tensor *dy = r->d_out[LINEAR_Y_BTO];

	for (long o = 0; o < tensor_rows(dw); o++)
		for (long i = 0; i < tensor_width(dw); i++) {
			double sum = op_adds(r, LINEAR_W_OI) ? row_f64(dw, o)[i] : 0;
			for (long t = 0; t < tensor_rows(x); t++)
				sum += row_f64(dy, t)[o] * row_f64(x, t)[i];
			row_f64(dw, o)[i] = sum;
		}
}

/* db = sum over rows of dy */
static void bias_gradient_ref(const struct op_run *r)
{
	const struct tensor *db = r->d_in[LINEAR_B_O], *dy = r->d_out[LINEAR_Y_BTO];

	for (long o = 0; o < tensor_width(db); o++) {
		double sum = op_adds(r, LINEAR_B_O) ? row_f64(db, 0)[o] : 0;
		for (long t = 0; t < tensor_rows(dy); t++)
			sum += row_f64(dy, t)[o];
		row_f64(db, 0)[o] = sum;
	}
}

static void linear_backward_ref(const struct op_run *r)
{
	if (r->d_in[LINEAR_X_BTI])
		input_gradient_ref(r);
	if (r->d_in[LINEAR_W_OI])
		weight_gradient_ref(r);
	if (r->d_in[LINEAR_B_O])
		bias_gradient_ref(r);
}

/* The product adds to y what the tile holds already: the bias, where there is one. */
static void linear_forward(const struct op_run *r)
{
	const struct tensor *x = r->in[LINEAR_X_BTI], *w = r->in[LINEAR_W_OI];
	const struct tensor *b = r->in[LINEAR_B_O], *y = r->out[LINEAR_Y_BTO];
	struct gemm_grid g = gemm_grid(tensor_rows(y), tensor_width(y));

	#pragma omp parallel for schedule(static)
	for (long tile = 0; tile < g.n_tiles; tile++) {
		struct gemm_tile t = gemm_grid_tile(&g, tile);
		for (long i = 0; b && i < t.m; i++)
			memcpy(row_f32(y, t.i + i) + t.j, row_f32(b, 0) + t.j,
				(size_t)t.n * sizeof(float));
		gemm(GEMM_N, GEMM_T, t.m, t.n, tensor_width(x), 1, row_f32(x, t.i), x->ld,
			row_f32(w, t.j), w->ld, b ? 1 : 0, row_f32(y, t.i) + t.j, y->ld);
	}
}

/* Sum of n <= BIAS_COLUMNS columns of dy over all rows; in blocks of rows, which keeps rounding
   errors small when there are many. */
static void sum_columns(const struct tensor *dy, long from, long n, float *sum)
{
	for (long block = 0; block < tensor_rows(dy); block += BIAS_ROWS) {
		float part[BIAS_COLUMNS] = {0};
		for (long t = block; t < block + BIAS_ROWS && t < tensor_rows(dy); t++) {
			const float *row = row_f32(dy, t) + from;
			#pragma omp simd
			for (long o = 0; o < n; o++)
				part[o] += row[o];
		}
		for (long o = 0; o < n; o++)
			sum[o] += part[o];
	}
}

static void bias_gradient(const struct op_run *r)
{
	const struct tensor *db = r->d_in[LINEAR_B_O], *dy = r->d_out[LINEAR_Y_BTO];
	long width = tensor_width(db);

	#pragma omp parallel for schedule(static)
	for (long o = 0; o < width; o += BIAS_COLUMNS) {
		long n = min_long(width - o, BIAS_COLUMNS);
		if (!op_adds(r, LINEAR_B_O))
			memset(row_f32(db, 0) + o, 0, (size_t)n * sizeof(float));
		sum_columns(dy, o, n, row_f32(db, 0) + o);
	}
}

static void linear_backward(const struct op_run *r)
{
	const struct tensor *x = r->in[LINEAR_X_BTI], *w = r->in[LINEAR_W_OI];
	const struct tensor *dx = r->d_in[LINEAR_X_BTI], *dw = r->d_in[LINEAR_W_OI];
	const struct tensor *dy = r->d_out[LINEAR_Y_BTO];
	long rows = tensor_rows(x), n_in = tensor_width(x), n_out = tensor_width(dy);

	if (dx)
		gemm_tiled(GEMM_N, GEMM_N, rows, n_in, n_out, 1, dy->at, dy->ld, w->at, w->ld,
			op_adds(r, LINEAR_X_BTI), dx->at, dx->ld);
	if (dw)
		gemm_tiled(GEMM_T, GEMM_N, n_out, n_in, rows, 1, dy->at, dy->ld, x->at, x->ld,
			op_adds(r, LINEAR_W_OI), dw->at, dw->ld);
	if (r->d_in[LINEAR_B_O])
		bias_gradient(r);
}

static const struct op_example examples[] = {
	{.name = "bias", .in = {{2, 3, 37}, {21, 37}, {21}}},
	{.name = "no bias", .in = {{5, 16}, {7, 16}}},
	{.name = "tiles of eight columns", .in = {{3, 100, 24}, {40, 24}, {40}}},
	{.name = "tiles", .in = {{2, 265, 40}, {600, 40}, {600}},
		.no_gradient_check = true},
};

const struct op op_linear = {
	.name = "linear",
	.formula = "y = x W^T + b",
	.semantics = 1,
	.n_in = LINEAR_N_IN,
	.n_out = LINEAR_N_OUT,
	.in = {
		[LINEAR_X_BTI] = {"x_BTI", 0},
		[LINEAR_W_OI] = {"w_OI", IN_WEIGHT},
		[LINEAR_B_O] = {"b_O", IN_OPTIONAL | IN_WEIGHT},
	},
	.out = {[LINEAR_Y_BTO] = {"y_BTO", REAL, false}},
	.shape = linear_shape,
	.room = {[CUDA] = linear_room_cuda},
	.cost = linear_cost,
	.backward_reads_in = READS(LINEAR_X_BTI) | READS(LINEAR_W_OI),
	.forward = {[REF] = linear_forward_ref, [CPU] = linear_forward,
		[CUDA] = OP_CUDA(linear_forward_cuda)},
	.backward = {[REF] = linear_backward_ref, [CPU] = linear_backward,
		[CUDA] = OP_CUDA(linear_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
