#include "op/rope.h"

#include <math.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/trial.h"

/* Cosine and sine of every position and pair, made anew in each call: far cheaper than one pass
   over x. With documents for each row of x instead. Workspace: 4 [dh/2] f64, then 2 [T, dh/2] f32. */
struct table {
	double *c, *s, *step_c, *step_s;
	float *cos_TP, *sin_TP;
	long pairs;
};

static long half_head(const struct tensor *x, const struct rope_attr *attr)
{
	return tensor_width(x) / attr->n_heads / 2;
}

static void rope_shape(struct op_shapes *s)
{
	const struct rope_attr *attr = s->attr;
	const struct tensor *x = s->in[ROPE_X_BTD];

	CHECK(x->n_dims == 3 && tensor_width(x) % (2 * attr->n_heads) == 0);
	CHECK(!s->in[ROPE_START_BT] || tensor_size(s->in[ROPE_START_BT]) == tensor_rows(x));
	op_shape_same(s);
}

/* Rows of the table. */
static long n_angles(const struct tensor *const *in)
{
	return in[ROPE_START_BT] ? tensor_rows(in[ROPE_X_BTD]) : in[ROPE_X_BTD]->dims[1];
}

static void room_cpu(struct op_shapes *s)
{
	const struct tensor *x = s->in[ROPE_X_BTD];
	size_t pairs = (size_t)half_head(x, s->attr);

	s->forward_workspace = 4 * pairs * sizeof(double) +
		2 * (size_t)n_angles(s->in) * pairs * sizeof(float);
	s->backward_workspace = s->forward_workspace;
}

static void room_cuda(struct op_shapes *s)
{
	const struct tensor *x = s->in[ROPE_X_BTD];

	s->forward_workspace = 2 * (size_t)(n_angles(s->in) * half_head(x, s->attr)) *
		sizeof(float);
	s->backward_workspace = s->forward_workspace;
}

static void rope_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[ROPE_X_BTD]), bytes = op_io_bytes(&op_rope, s);

	*c = (struct op_cost){.forward_flops = 3 * n, .backward_flops = 3 * n,
		.executed_flops = 6 * n, .forward_bytes = bytes, .backward_bytes = bytes};
}

static long position(const struct tensor *const *in, long b, long t)
{
	return t - first_seen(in[ROPE_START_BT], b, t);
}

/* y = x turned by the angle of each position, or back (sign -1). y may be x. */
static void rotate_ref(const struct op_run *r, const struct tensor *y, const struct tensor *x,
	double sign, bool add)
{
	const struct rope_attr *attr = r->attr;
	long pairs = half_head(x, attr), T = x->dims[1];

	for (long t = 0; t < tensor_rows(x); t++)
		for (long h = 0; h < attr->n_heads; h++)
			for (long i = 0; i < pairs; i++) {
				double speed = pow(attr->base, -(double)i / (double)pairs);
				double a = (double)position(r->in, t / T, t % T) * speed;
				const double *p = row_f64(x, t) + 2 * h * pairs + i;
				double *q = row_f64(y, t) + 2 * h * pairs + i;
				double u = p[0], v = p[pairs];
				q[0] = u * cos(a) - sign * v * sin(a) + (add ? q[0] : 0);
				q[pairs] = v * cos(a) + sign * u * sin(a) + (add ? q[pairs] : 0);
			}
}

static void rope_forward_ref(const struct op_run *r)
{
	rotate_ref(r, r->out[ROPE_Y_BTD], r->in[ROPE_X_BTD], 1, false);
}

static void rope_backward_ref(const struct op_run *r)
{
	rotate_ref(r, r->d_in[ROPE_X_BTD], r->d_out[ROPE_Y_BTD], -1, op_adds(r, ROPE_X_BTD));
}

/* The angles of each row, whose positions follow no order. */
static void table_by_rows(const struct op_run *r, struct table k, long rows, long T)
{
	const struct rope_attr *attr = r->attr;

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < rows; t++)
		for (long i = 0; i < k.pairs; i++) {
			double angle = (double)position(r->in, t / T, t % T) *
				pow(attr->base, -(double)i / (double)k.pairs);
			k.cos_TP[t * k.pairs + i] = (float)cos(angle);
			k.sin_TP[t * k.pairs + i] = (float)sin(angle);
		}
}

/* From position to position by a turn in float64: its error stays near T 1e-16, below what float32
   can tell. */
static struct table table_make(const struct op_run *r, const struct tensor *x)
{
	const struct rope_attr *attr = r->attr;
	long pairs = half_head(x, attr), T = x->dims[1], rows = r->in[ROPE_START_BT] ? tensor_rows(x) : T;
	double *state = r->workspace;
	struct table k = {state, state + pairs, state + 2 * pairs, state + 3 * pairs,
		(float *)(state + 4 * pairs), (float *)(state + 4 * pairs) + rows * pairs, pairs};

	if (r->in[ROPE_START_BT]) {
		table_by_rows(r, k, rows, T);
		return k;
	}
	for (long i = 0; i < pairs; i++) {
		double angle = pow(attr->base, -(double)i / (double)pairs);
		k.c[i] = 1;
		k.s[i] = 0;
		k.step_c[i] = cos(angle);
		k.step_s[i] = sin(angle);
	}
	for (long t = 0; t < T; t++)
		#pragma omp simd
		for (long i = 0; i < pairs; i++) {
			double c = k.c[i], s = k.s[i];
			k.cos_TP[t * pairs + i] = (float)c;
			k.sin_TP[t * pairs + i] = (float)s;
			k.c[i] = c * k.step_c[i] - s * k.step_s[i];
			k.s[i] = s * k.step_c[i] + c * k.step_s[i];
		}
	return k;
}

/* One head of one row; c and s: of its position. */
static void rotate_head(float *y, const float *x, const float *c, const float *s, long pairs,
	float sign, bool add)
{
	if (add) {
		#pragma omp simd
		for (long i = 0; i < pairs; i++) {
			float u = x[i], v = x[i + pairs], t = sign * s[i];
			y[i] += u * c[i] - v * t;
			y[i + pairs] += v * c[i] + u * t;
		}
		return;
	}
	#pragma omp simd
	for (long i = 0; i < pairs; i++) {
		float u = x[i], v = x[i + pairs], t = sign * s[i];
		y[i] = u * c[i] - v * t;
		y[i + pairs] = v * c[i] + u * t;
	}
}

static void rotate(const struct op_run *r, const struct tensor *y, const struct tensor *x,
	float sign, bool add)
{
	struct table k = table_make(r, x);
	long T = x->dims[1];

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(x); t++) {
		long at_row = (r->in[ROPE_START_BT] ? t : t % T) * k.pairs;
		const float *c = k.cos_TP + at_row, *s = k.sin_TP + at_row;
		for (long at = 0; at < tensor_width(x); at += 2 * k.pairs)
			rotate_head(row_f32(y, t) + at, row_f32(x, t) + at, c, s, k.pairs, sign,
				add);
	}
}

static void rope_forward(const struct op_run *r)
{
	rotate(r, r->out[ROPE_Y_BTD], r->in[ROPE_X_BTD], 1, false);
}

static void rope_backward(const struct op_run *r)
{
	rotate(r, r->d_in[ROPE_X_BTD], r->d_out[ROPE_Y_BTD], -1, op_adds(r, ROPE_X_BTD));
}

static const struct rope_attr two_heads = {2, 10000}, small_base = {3, 50}, many_heads = {18, 10000};

static const struct op_example examples[] = {
	{.name = "two heads", .attr = &two_heads, .in = {[ROPE_X_BTD] = {2, 9, 12}}},
	{.name = "three heads, long", .attr = &small_base, .in = {[ROPE_X_BTD] = {1, 300, 12}}},
	{.name = "heads of 16", .attr = &small_base, .in = {[ROPE_X_BTD] = {2, 11, 48}}},
	{.name = "documents", .attr = &small_base, .prepare = prepare_carried,
		.in = {[ROPE_X_BTD] = {3, 21, 48}, [ROPE_START_BT] = {3, 21}}},
	{.name = "heads of 240", .attr = &many_heads, .no_gradient_check = true,
		.in = {[ROPE_X_BTD] = {1, 3, 4320}}},
};

const struct op op_rope = {
	.name = "rope",
	.formula = "each pair (i, i + dh/2) turned by the angle t base^(-2i/dh)",
	.semantics = 1,
	.n_in = ROPE_N_IN,
	.n_out = ROPE_N_OUT,
	.in = {
		[ROPE_X_BTD] = {"x", 0},
		[ROPE_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX},
	},
	.out = {[ROPE_Y_BTD] = {"y", REAL, false}},
	.shape = rope_shape,
	.room = {[CPU] = room_cpu, [CUDA] = room_cuda},
	.cost = rope_cost,
	.backward_reads_in = READS(ROPE_START_BT),
	.out_takes = {[ROPE_Y_BTD] = TAKES(ROPE_X_BTD)},
	.d_in_takes = {[ROPE_X_BTD] = TAKES(ROPE_Y_BTD)},
	.forward = {[REF] = rope_forward_ref, [CPU] = rope_forward,
		[CUDA] = OP_CUDA(rope_forward_cuda)},
	.backward = {[REF] = rope_backward_ref, [CPU] = rope_backward,
		[CUDA] = OP_CUDA(rope_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
