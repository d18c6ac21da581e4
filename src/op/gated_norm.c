#include "op/gated_norm.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/kit/gradient.h"
#include "op/kit/vec.h"

static long n_parts(const struct tensor *x)
{
	return ceil_div(tensor_rows(x), GATED_NORM_PART_ROWS);
}

static void gated_norm_shape(struct op_shapes *s)
{
	const struct gated_norm_attr *attr = s->attr;
	const struct tensor *x = s->in[GATED_NORM_X_BTI];
	long weights = tensor_size(s->in[GATED_NORM_WEIGHT_I]), I = tensor_width(x);

	CHECK(x->n_dims == 3 && tensor_same_shape(x, s->in[GATED_NORM_Z_BTI]));
	CHECK(attr->n_groups > 0 && I % attr->n_groups == 0);
	CHECK(weights == I || weights == I / attr->n_groups);
	op_shape_same(s);
	s->saved[GATED_NORM_SCALE_BTG] = tensor_of(MASTER, 3, x->dims[0], x->dims[1], (long)attr->n_groups);
}

static void room(struct op_shapes *s)
{
	const struct tensor *x = s->in[GATED_NORM_X_BTI];

	s->backward_workspace = (size_t)(n_parts(x) * tensor_width(x)) * sizeof(float);
}

static void gated_norm_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[GATED_NORM_X_BTI]), bytes = op_io_bytes(&op_gated_norm, s);

	c->forward_flops = 9 * n;	/* silu: exp, add, divide, multiply; norm: 4; gate */
	c->backward_flops = 20 * n;
	c->executed_flops = 33 * n;	/* the gate once more */
	c->forward_bytes = bytes;
	c->backward_bytes = 5.0 / 3 * bytes;
}

static double silu_f64(double z)
{
	return z / (1 + exp(-z));
}

static double silu_slope_f64(double z)
{
	double g = 1 / (1 + exp(-z));

	return g * (1 + z * (1 - g));
}

/* A row's group on the reference device. */
struct group {
	const double *x, *z, *w, *scale;
	long row, first, n;	/* first: column */
	bool gate_last;
};

static struct group group_of(const struct op_run *r, long k)
{
	const struct gated_norm_attr *attr = r->attr;
	const struct tensor *weight = r->in[GATED_NORM_WEIGHT_I];
	long n = tensor_width(r->in[GATED_NORM_X_BTI]) / attr->n_groups;
	struct group g = {.row = k / attr->n_groups, .first = k % attr->n_groups * n, .n = n,
		.gate_last = attr->gate_last};

	g.x = row_f64(r->in[GATED_NORM_X_BTI], g.row) + g.first;
	g.z = row_f64(r->in[GATED_NORM_Z_BTI], g.row) + g.first;
	g.w = row_f64(weight, 0) + (tensor_size(weight) == n ? 0 : g.first);
	g.scale = row_f64(r->saved[GATED_NORM_SCALE_BTG], g.row) + k % attr->n_groups;
	return g;
}

static double normed_f64(const struct group *g, long i)
{
	return g->x[i] * (g->gate_last ? 1 : silu_f64(g->z[i]));
}

static long n_groups_of(const struct op_run *r)
{
	const struct gated_norm_attr *attr = r->attr;

	return tensor_rows(r->in[GATED_NORM_X_BTI]) * attr->n_groups;
}

static void gated_norm_forward_ref(const struct op_run *r)
{
	const struct gated_norm_attr *attr = r->attr;

	for (long k = 0; k < n_groups_of(r); k++) {
		struct group g = group_of(r, k);
		double *y = row_f64(r->out[GATED_NORM_Y_BTI], g.row) + g.first, square = 0, scale;
		for (long i = 0; i < g.n; i++)
			square += pow(normed_f64(&g, i), 2) / (double)g.n;
		scale = 1 / sqrt(square + attr->eps);
		row_f64(r->saved[GATED_NORM_SCALE_BTG], g.row)[k % attr->n_groups] = scale;
		for (long i = 0; i < g.n; i++)
			y[i] = normed_f64(&g, i) * scale * g.w[i] * (g.gate_last ? silu_f64(g.z[i]) : 1);
	}
}

static void gated_norm_backward_ref(const struct op_run *r)
{
	const struct tensor *dy = r->d_out[GATED_NORM_Y_BTI];

	clear_gradient(r, GATED_NORM_WEIGHT_I);
	for (long k = 0; k < n_groups_of(r); k++) {
		struct group g = group_of(r, k);
		const double *dn = row_f64(dy, g.row) + g.first, *w0 = row_f64(r->in[GATED_NORM_WEIGHT_I], 0);
		double mean = 0, scale = *g.scale;
		for (long i = 0; i < g.n; i++) {
			double f = g.gate_last ? silu_f64(g.z[i]) : 1, m = normed_f64(&g, i) * scale;
			mean += dn[i] * g.w[i] * f * m / (double)g.n;
			add_gradient(r, GATED_NORM_WEIGHT_I, 0, g.w - w0 + i, dn[i] * m * f);
		}
		for (long i = 0; i < g.n; i++) {
			double gate = silu_f64(g.z[i]), m = normed_f64(&g, i) * scale;
			double a = dn[i] * g.w[i] * (g.gate_last ? gate : 1), dv = (a - m * mean) * scale;
			double dz = g.gate_last ? dn[i] * g.w[i] * m : dv * g.x[i];
			double slope = silu_slope_f64(g.z[i]);
			put_gradient(r, GATED_NORM_X_BTI, g.row, g.first + i, g.gate_last ? dv : dv * gate);
			put_gradient(r, GATED_NORM_Z_BTI, g.row, g.first + i, dz * slope);
		}
	}
}

/* ---- cpu ------------------------------------------------------------------------------------ */

enum { PIECE = 256 };	/* channels */

/* A row's group, in pieces: what the kernels read and write; NULL where a gradient is not wanted. */
struct row {
	const float *x, *z, *w, *dy;
	float *y, *dx, *dz, *dw;
	long n;
	bool gate_last, add_x, add_z;
};

static float *row_at(const struct tensor *t, long row, long column)
{
	return t ? row_f32(t, row) + column : NULL;
}

/* parts: gradients of the weight, a row of channels for each part of the rows. */
static struct row row_of(const struct op_run *r, long row, long group, float *parts)
{
	const struct gated_norm_attr *attr = r->attr;
	const struct tensor *weight = r->in[GATED_NORM_WEIGHT_I];
	long I = tensor_width(r->in[GATED_NORM_X_BTI]), n = I / attr->n_groups, at = group * n;

	return (struct row){.n = n, .gate_last = attr->gate_last,
		.x = row_at(r->in[GATED_NORM_X_BTI], row, at), .z = row_at(r->in[GATED_NORM_Z_BTI], row, at),
		.w = row_f32(weight, 0) + (tensor_size(weight) == n ? 0 : at),
		.y = row_at(r->out[GATED_NORM_Y_BTI], row, at), .dy = row_at(r->d_out[GATED_NORM_Y_BTI], row, at),
		.dx = row_at(r->d_in[GATED_NORM_X_BTI], row, at),
		.dz = row_at(r->d_in[GATED_NORM_Z_BTI], row, at),
		.dw = parts ? parts + row / GATED_NORM_PART_ROWS * I + at : NULL,
		.add_x = op_adds(r, GATED_NORM_X_BTI), .add_z = op_adds(r, GATED_NORM_Z_BTI)};
}

static float *scale_at(const struct op_run *r, long row, long group)
{
	return row_f32(r->saved[GATED_NORM_SCALE_BTG], row) + group;
}

static void row_forward(const struct row *g, float *scale, float eps)
{
	const float *x = g->x, *z = g->z, *w = g->w;
	float *y = g->y, square = 0, gated = 0, factor;

	#pragma omp simd reduction(+:square, gated)
	for (long i = 0; i < g->n; i++) {
		float v = x[i] * z[i] * vec_sigmoid(z[i]);
		square += x[i] * x[i];
		gated += v * v;
		y[i] = v * w[i];
	}
	factor = 1 / sqrtf((g->gate_last ? square : gated) / (float)g->n + eps);
	#pragma omp simd
	for (long i = 0; i < g->n; i++)
		y[i] *= factor;
	*scale = factor;
}

static void gated_norm_forward(const struct op_run *r)
{
	const struct gated_norm_attr *attr = r->attr;

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(r->in[GATED_NORM_X_BTI]); t++)
		for (long k = 0; k < attr->n_groups; k++) {
			struct row g = row_of(r, t, k, NULL);
			row_forward(&g, scale_at(r, t, k), (float)attr->eps);
		}
}

/* m = v scale: x scale, with the gate if that is first. Both of its places are in what n is made of,
   x SiLU(z) w scale, so a m = dn n whatever the order. */
static float mean_am(const struct row *g, float scale)
{
	const float *x = g->x, *z = g->z, *w = g->w, *dy = g->dy;
	float *dw = g->dw, sum = 0;

	#pragma omp simd reduction(+:sum)
	for (long i = 0; i < g->n; i++) {
		float m = x[i] * z[i] * vec_sigmoid(z[i]) * scale * dy[i];
		dw[i] += m;
		sum += m * w[i];
	}
	return sum / (float)g->n;
}

static void put(float *to, long at, const float *from, long n, bool add)
{
	if (!to)
		return;
	if (!add)
		memcpy(to + at, from, (size_t)n * sizeof *to);
	else
		for (long i = 0; i < n; i++)
			to[at + i] += from[i];
}

static void row_backward(const struct row *g, float scale)
{
	float mean = mean_am(g, scale), last = g->gate_last, dx[PIECE], dz[PIECE];

	for (long at = 0; at < g->n; at += PIECE) {
		long n = min_long(g->n - at, PIECE);
		const float *x = g->x + at, *z = g->z + at, *w = g->w + at, *dy = g->dy + at;
		#pragma omp simd
		for (long i = 0; i < n; i++) {
			float s = vec_sigmoid(z[i]), gate = z[i] * s, slope = s * (1 + z[i] * (1 - s));
			float before = last + (1 - last) * gate, behind = last * gate + (1 - last);
			float m = x[i] * before * scale, a = dy[i] * w[i];
			float dv = (a * behind - m * mean) * scale;
			dx[i] = dv * before;
			dz[i] = (last * a * m + (1 - last) * dv * x[i]) * slope;
		}
		put(g->dx, at, dx, n, g->add_x);
		put(g->dz, at, dz, n, g->add_z);
	}
}

/* Parts in order, and in each the groups that share a weight. */
static void sum_parts(const struct op_run *r, const float *parts)
{
	const struct tensor *dw = r->d_in[GATED_NORM_WEIGHT_I], *x = r->in[GATED_NORM_X_BTI];
	long n = tensor_size(r->in[GATED_NORM_WEIGHT_I]), all = n_parts(x) * tensor_width(x);

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < (dw ? n : 0); i++) {
		float sum = op_adds(r, GATED_NORM_WEIGHT_I) ? row_f32(dw, 0)[i] : 0;
		for (long k = i; k < all; k += n)
			sum += parts[k];
		row_f32(dw, 0)[i] = sum;
	}
}

static void gated_norm_backward(const struct op_run *r)
{
	const struct gated_norm_attr *attr = r->attr;
	const struct tensor *x = r->in[GATED_NORM_X_BTI];
	long rows = tensor_rows(x), I = tensor_width(x);
	float *parts = r->workspace;

	#pragma omp parallel for schedule(static)
	for (long p = 0; p < n_parts(x); p++) {
		memset(parts + p * I, 0, (size_t)I * sizeof *parts);
		for (long t = p * GATED_NORM_PART_ROWS; t < rows && t < (p + 1) * GATED_NORM_PART_ROWS; t++)
			for (long k = 0; k < attr->n_groups; k++) {
				struct row g = row_of(r, t, k, parts);
				row_backward(&g, *scale_at(r, t, k));
			}
	}
	sum_parts(r, parts);
}

static const struct gated_norm_attr whole = {1, false, 1e-3}, grouped = {3, false, 1e-5},
	heads = {4, true, 1e-5};

#define SHAPES(B, T, I, W) \
	.in = {[GATED_NORM_X_BTI] = {B, T, I}, [GATED_NORM_Z_BTI] = {B, T, I}, [GATED_NORM_WEIGHT_I] = {W}}

static const struct op_example examples[] = {
	{.name = "one group", .attr = &whole, SHAPES(2, 5, 17, 17)},
	{.name = "groups", .attr = &grouped, SHAPES(1, 4, 33, 33)},
	{.name = "gate last, shared weight", .attr = &heads, SHAPES(2, 3, 20, 5)},
	{.name = "wide, several parts", .attr = &whole, .no_gradient_check = true, SHAPES(2, 70, 600, 600)},
	{.name = "heads of eights, several parts", .attr = &heads, .no_gradient_check = true,
		SHAPES(1, 70, 256, 64)},
};

const struct op op_gated_norm = {
	.name = "gated_norm",
	.formula = "v = x SiLU(z);  y = v / sqrt(mean(v^2) + eps) weight, or with the gate last "
		"x / sqrt(mean(x^2) + eps) weight SiLU(z)",
	.semantics = 1,
	.n_in = GATED_NORM_N_IN,
	.n_out = GATED_NORM_N_OUT,
	.n_saved = GATED_NORM_N_SAVED,
	.in = {
		[GATED_NORM_X_BTI] = {"x_BTI", 0},
		[GATED_NORM_Z_BTI] = {"z_BTI", 0},
		[GATED_NORM_WEIGHT_I] = {"weight_I", IN_MASTER},
	},
	.out = {[GATED_NORM_Y_BTI] = {"y_BTI", REAL, false}},
	.shape = gated_norm_shape,
	.room = {[CPU] = room, [CUDA] = room},
	.cost = gated_norm_cost,
	.backward_reads_in = READS(GATED_NORM_N_IN) - 1,
	.d_in_takes = {[GATED_NORM_X_BTI] = TAKES(GATED_NORM_Y_BTI)},
	.forward = {[REF] = gated_norm_forward_ref, [CPU] = gated_norm_forward,
		[CUDA] = OP_CUDA(gated_norm_forward_cuda)},
	.backward = {[REF] = gated_norm_backward_ref, [CPU] = gated_norm_backward,
		[CUDA] = OP_CUDA(gated_norm_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
