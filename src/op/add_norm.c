#include "op/add_norm.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/kit/gradient.h"
#include "op/kit/reduce.h"

enum {
	PARTS = 64,		/* at most: blocks of rows, each with sums for weight and bias */
	MIN_PART_ROWS = 16,
	PIECE = 256,		/* columns */
	N_TARGETS = 3,		/* x and its branches get the same gradient */
};

static const int targets[N_TARGETS] = {ADD_NORM_X_BTD, ADD_NORM_BRANCH1_BTD, ADD_NORM_BRANCH2_BTD};

static long part_rows(const struct tensor *r_BTD)
{
	long rows = ceil_div(tensor_rows(r_BTD), PARTS);

	return rows < MIN_PART_ROWS ? MIN_PART_ROWS : rows;
}

static long n_parts(const struct tensor *r_BTD)
{
	return ceil_div(tensor_rows(r_BTD), part_rows(r_BTD));
}

static void add_norm_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[ADD_NORM_X_BTD], *weight = s->in[ADD_NORM_WEIGHT_D],
		*bias = s->in[ADD_NORM_BIAS_D];

	CHECK(x->n_dims == 3);
	for (int i = 1; i < N_TARGETS; i++)
		CHECK(!s->in[targets[i]] || tensor_same_shape(s->in[targets[i]], x));
	CHECK(!weight || tensor_size(weight) == tensor_width(x));
	CHECK(!bias || (weight && tensor_size(bias) == tensor_width(x)));
	s->out[ADD_NORM_R_BTD] = tensor_of(REAL, 3, x->dims[0], x->dims[1], x->dims[2]);
	s->out[ADD_NORM_N_BTD] = weight ? s->out[ADD_NORM_R_BTD] : tensor_of(REAL, 1, 1L);
	if (!weight)
		return;
	s->saved[ADD_NORM_STATS_BT2] = tensor_of(MASTER, 3, x->dims[0], x->dims[1], 2L);
}

/* Sums for weight and bias of each part. */
static void room(struct op_shapes *s, long parts)
{
	if (s->in[ADD_NORM_WEIGHT_D])
		s->backward_workspace = (size_t)(parts * 2 * tensor_width(s->in[ADD_NORM_X_BTD])) *
			sizeof(float);
}

static void add_norm_room(struct op_shapes *s)
{
	room(s, n_parts(s->in[ADD_NORM_X_BTD]));
}

static void add_norm_room_cuda(struct op_shapes *s)
{
	long rows = tensor_rows(s->in[ADD_NORM_X_BTD]);

	room(s, ceil_div(rows, ADD_NORM_PART_ROWS));
}

static void add_norm_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct add_norm_attr *attr = s->attr;
	double n = (double)tensor_size(s->in[ADD_NORM_X_BTD]), bytes = op_io_bytes(&op_add_norm, s);
	double norm = !s->in[ADD_NORM_WEIGHT_D] ? 0 : attr->rms ? 4 : 7;

	for (int i = 1; i < N_TARGETS; i++)
		c->forward_flops += s->in[targets[i]] ? n : 0;
	c->forward_flops += norm * n;
	c->backward_flops = norm > 0 ? (2 * norm + 1) * n : 0;
	c->executed_flops = c->forward_flops + c->backward_flops;
	c->forward_bytes = bytes;
	c->backward_bytes = norm > 0 ? bytes : 0;
}

static void norm_row_ref(const struct op_run *r, long t)
{
	const struct add_norm_attr *attr = r->attr;
	const struct tensor *bias = r->in[ADD_NORM_BIAS_D];
	const double *x = row_f64(r->out[ADD_NORM_R_BTD], t);
	const double *w = row_f64(r->in[ADD_NORM_WEIGHT_D], 0);
	double *n = row_f64(r->out[ADD_NORM_N_BTD], t);
	double *stats = row_f64(r->saved[ADD_NORM_STATS_BT2], t);
	long D = tensor_width(r->out[ADD_NORM_R_BTD]);
	double mean = 0, variance = 0;

	for (long i = 0; i < D && !attr->rms; i++)
		mean += x[i] / (double)D;
	for (long i = 0; i < D; i++)
		variance += (x[i] - mean) * (x[i] - mean) / (double)D;
	stats[0] = mean;
	stats[1] = 1 / sqrt(variance + attr->eps);
	for (long i = 0; i < D; i++)
		n[i] = (x[i] - mean) * stats[1] * w[i] + (bias ? row_f64(bias, 0)[i] : 0);
}

static void add_norm_forward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[ADD_NORM_X_BTD], *sum = r->out[ADD_NORM_R_BTD];

	for (long t = 0; t < tensor_rows(x); t++) {
		for (long i = 0; i < tensor_width(x); i++) {
			double v = row_f64(x, t)[i];
			for (int k = 1; k < N_TARGETS; k++)
				if (r->in[targets[k]])
					v += row_f64(r->in[targets[k]], t)[i];
			row_f64(sum, t)[i] = v;
		}
		if (r->in[ADD_NORM_WEIGHT_D])
			norm_row_ref(r, t);
	}
	if (!r->in[ADD_NORM_WEIGHT_D])
		*row_f64(r->out[ADD_NORM_N_BTD], 0) = 0;
}

int add_norm_gradients(const struct op_run *r, int input[N_TARGETS])
{
	int n = 0;

	for (int k = 0; k < N_TARGETS; k++) {
		const struct tensor *d = r->d_in[targets[k]];
		bool seen = !d;
		for (int j = 0; j < n && !seen; j++)
			seen = r->d_in[input[j]]->at == d->at;
		if (!seen)
			input[n++] = targets[k];
	}
	return n;
}

/* m: what the norm made of element i of row t, before weight and bias. */
static double normed_ref(const struct op_run *r, long t, long i)
{
	const double *stats = row_f64(r->saved[ADD_NORM_STATS_BT2], t);

	return (row_f64(r->out[ADD_NORM_R_BTD], t)[i] - stats[0]) * stats[1];
}

static void backward_parameters_ref(const struct op_run *r)
{
	const struct tensor *dn = r->d_out[ADD_NORM_N_BTD];

	for (long i = 0; i < tensor_width(r->out[ADD_NORM_R_BTD]); i++) {
		double sum_dw = 0, sum_db = 0;
		for (long t = 0; dn && t < tensor_rows(dn); t++) {
			sum_dw += row_f64(dn, t)[i] * normed_ref(r, t, i);
			sum_db += row_f64(dn, t)[i];
		}
		put_gradient(r, ADD_NORM_WEIGHT_D, 0, i, sum_dw);
		put_gradient(r, ADD_NORM_BIAS_D, 0, i, sum_db);
	}
}

static void backward_row_ref(const struct op_run *r, long t, const int *input, int n_inputs)
{
	const struct add_norm_attr *attr = r->attr;
	const struct tensor *dr = r->d_out[ADD_NORM_R_BTD], *weight = r->in[ADD_NORM_WEIGHT_D],
		*dn = weight ? r->d_out[ADD_NORM_N_BTD] : NULL;
	long D = tensor_width(r->out[ADD_NORM_R_BTD]);
	double mean_a = 0, mean_am = 0;
	double scale = dn ? row_f64(r->saved[ADD_NORM_STATS_BT2], t)[1] : 0;

	for (long i = 0; dn && i < D; i++) {
		double a = row_f64(dn, t)[i] * row_f64(weight, 0)[i] / (double)D;
		mean_a += attr->rms ? 0 : a;
		mean_am += a * normed_ref(r, t, i);
	}
	for (long i = 0; i < D; i++) {
		double g = dr ? row_f64(dr, t)[i] : 0;
		if (dn)
			g += (row_f64(dn, t)[i] * row_f64(weight, 0)[i] - mean_a -
				mean_am * normed_ref(r, t, i)) * scale;
		for (int k = 0; k < n_inputs; k++)
			put_gradient(r, input[k], t, i, g);
	}
}

static void add_norm_backward_ref(const struct op_run *r)
{
	int input[N_TARGETS], n = add_norm_gradients(r, input);

	if (r->in[ADD_NORM_WEIGHT_D])
		backward_parameters_ref(r);
	for (long t = 0; t < tensor_rows(r->out[ADD_NORM_R_BTD]); t++)
		backward_row_ref(r, t, input, n);
}

/* r = x + b1 + b2; r may be x. */
static void sum_row(float *r, const float *x, const float *b1, const float *b2, long n)
{
	if (b1 && b2) {
		#pragma omp simd
		for (long i = 0; i < n; i++)
			r[i] = x[i] + b1[i] + b2[i];
	} else if (b1 || b2) {
		const float *b = b1 ? b1 : b2;
		#pragma omp simd
		for (long i = 0; i < n; i++)
			r[i] = x[i] + b[i];
	} else if (r != x) {
		memcpy(r, x, (size_t)n * sizeof *r);
	}
}

static void norm_row(const struct add_norm_attr *attr, float *n, float *stats, const float *r,
	const float *weight, const float *bias, long D)
{
	float mean = 0, variance = 0;

	#pragma omp simd reduction(+:mean)
	for (long i = 0; i < D; i++)
		mean += r[i];
	mean = attr->rms ? 0 : mean / (float)D;
	#pragma omp simd reduction(+:variance)
	for (long i = 0; i < D; i++)
		variance += (r[i] - mean) * (r[i] - mean);
	float scale = 1 / sqrtf(variance / (float)D + (float)attr->eps);
	if (bias) {
		#pragma omp simd
		for (long i = 0; i < D; i++)
			n[i] = (r[i] - mean) * scale * weight[i] + bias[i];
	} else {
		#pragma omp simd
		for (long i = 0; i < D; i++)
			n[i] = (r[i] - mean) * scale * weight[i];
	}
	stats[0] = mean;
	stats[1] = scale;
}

static float *optional_row(const struct tensor *t, long row)
{
	return t ? row_f32(t, row) : NULL;
}

static void add_norm_forward(const struct op_run *r)
{
	const struct tensor *x = r->in[ADD_NORM_X_BTD], *sum = r->out[ADD_NORM_R_BTD],
		*weight = r->in[ADD_NORM_WEIGHT_D];
	long D = tensor_width(x);

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(x); t++) {
		float *to = row_f32(sum, t);
		sum_row(to, row_f32(x, t), optional_row(r->in[ADD_NORM_BRANCH1_BTD], t),
			optional_row(r->in[ADD_NORM_BRANCH2_BTD], t), D);
		if (weight)
			norm_row(r->attr, row_f32(r->out[ADD_NORM_N_BTD], t),
				row_f32(r->saved[ADD_NORM_STATS_BT2], t), to, weight->at,
				optional_row(r->in[ADD_NORM_BIAS_D], 0), D);
	}
	if (!weight)
		*row_f32(r->out[ADD_NORM_N_BTD], 0) = 0;
}

/* What the gradient of one row of the norm needs; names as in the header. */
struct norm_gradient {
	const float *x, *dn, *weight;
	float mean, scale, mean_a, mean_am;
};

/* Means of row t; its share of dweight and dbias goes to the sums. */
static struct norm_gradient norm_gradient(const struct op_run *r, long t, float *dw, float *db)
{
	const struct add_norm_attr *attr = r->attr;
	const float *stats = row_f32(r->saved[ADD_NORM_STATS_BT2], t);
	struct norm_gradient g = {.x = row_f32(r->out[ADD_NORM_R_BTD], t), .mean = stats[0],
		.scale = stats[1], .dn = row_f32(r->d_out[ADD_NORM_N_BTD], t),
		.weight = r->in[ADD_NORM_WEIGHT_D]->at};
	long D = tensor_width(r->out[ADD_NORM_R_BTD]);
	float sum_a = 0, sum_am = 0;

	#pragma omp simd reduction(+:sum_a, sum_am)
	for (long i = 0; i < D; i++) {
		float m = (g.x[i] - g.mean) * g.scale, a = g.dn[i] * g.weight[i];
		sum_a += a;
		sum_am += a * m;
		dw[i] += g.dn[i] * m;
		db[i] += g.dn[i];
	}
	g.mean_a = attr->rms ? 0 : sum_a / (float)D;
	g.mean_am = sum_am / (float)D;
	return g;
}

/* Columns at to at + n of d of the norm's input, by pieces because several tensors may want it. */
static void gradient_piece(float *to, const struct norm_gradient *g, const float *dr, long at,
	long n)
{
	for (long i = 0; i < n; i++)
		to[i] = dr ? dr[at + i] : 0;
	if (!g)
		return;
	#pragma omp simd
	for (long i = 0; i < n; i++) {
		float m = (g->x[at + i] - g->mean) * g->scale;
		float a = g->dn[at + i] * g->weight[at + i];
		to[i] += (a - g->mean_a - m * g->mean_am) * g->scale;
	}
}

static void backward_row(const struct op_run *r, long t, const struct norm_gradient *g,
	const int *input, int n_inputs)
{
	const float *dr = optional_row(r->d_out[ADD_NORM_R_BTD], t);
	long D = tensor_width(r->out[ADD_NORM_R_BTD]);
	float piece[PIECE];

	for (long at = 0; at < D; at += PIECE) {
		long n = min_long(D - at, PIECE);
		gradient_piece(piece, g, dr, at, n);
		for (int k = 0; k < n_inputs; k++) {
			float *to = row_f32(r->d_in[input[k]], t) + at;
			if (!op_adds(r, input[k]))
				memcpy(to, piece, (size_t)n * sizeof *to);
			else
				for (long i = 0; i < n; i++)
					to[i] += piece[i];
		}
	}
}

static void add_norm_backward(const struct op_run *r)
{
	const struct tensor *out = r->out[ADD_NORM_R_BTD], *weight = r->in[ADD_NORM_WEIGHT_D],
		*dw = r->d_in[ADD_NORM_WEIGHT_D], *db = r->d_in[ADD_NORM_BIAS_D];
	bool norm = weight && r->d_out[ADD_NORM_N_BTD];
	long D = tensor_width(out), rows = part_rows(out), parts = n_parts(out);
	int input[N_TARGETS], n_inputs = add_norm_gradients(r, input);
	float *part_dw = r->workspace, *part_db = part_dw + parts * D;

	#pragma omp parallel for schedule(static)
	for (long p = 0; p < parts; p++) {
		long end = (p + 1) * rows < tensor_rows(out) ? (p + 1) * rows : tensor_rows(out);
		if (weight) {
			memset(part_dw + p * D, 0, (size_t)D * sizeof *part_dw);
			memset(part_db + p * D, 0, (size_t)D * sizeof *part_db);
		}
		for (long t = p * rows; t < end; t++) {
			struct norm_gradient g;
			if (norm)
				g = norm_gradient(r, t, part_dw + p * D, part_db + p * D);
			backward_row(r, t, norm ? &g : NULL, input, n_inputs);
		}
	}
	if (dw)
		reduce_parts(dw->at, part_dw, parts, D, op_adds(r, ADD_NORM_WEIGHT_D));
	if (db)
		reduce_parts(db->at, part_db, parts, D, op_adds(r, ADD_NORM_BIAS_D));
}

static const struct add_norm_attr layer_norm = {false, 1e-5}, rms_norm = {true, 1e-3};

static const struct op_example examples[] = {
	{.name = "layer norm, first layer", .attr = &layer_norm,
		.in = {[ADD_NORM_X_BTD] = {2, 5, 17}, [ADD_NORM_WEIGHT_D] = {17},
			[ADD_NORM_BIAS_D] = {17}}},
	{.name = "layer norm, one branch", .attr = &layer_norm,
		.in = {[ADD_NORM_X_BTD] = {2, 50, 7}, [ADD_NORM_BRANCH1_BTD] = {2, 50, 7},
			[ADD_NORM_WEIGHT_D] = {7}, [ADD_NORM_BIAS_D] = {7}}},
	{.name = "layer norm, second branch alone, no bias", .attr = &layer_norm,
		.in = {[ADD_NORM_X_BTD] = {2, 3, 9}, [ADD_NORM_BRANCH2_BTD] = {2, 3, 9},
			[ADD_NORM_WEIGHT_D] = {9}}},
	{.name = "rms norm, two branches, wide", .attr = &rms_norm,
		.in = {[ADD_NORM_X_BTD] = {1, 3, 300}, [ADD_NORM_BRANCH1_BTD] = {1, 3, 300},
			[ADD_NORM_BRANCH2_BTD] = {1, 3, 300}, [ADD_NORM_WEIGHT_D] = {300}}},
	{.name = "layer norm, eights", .attr = &layer_norm, .no_gradient_check = true,
		.in = {[ADD_NORM_X_BTD] = {1, 131, 264}, [ADD_NORM_BRANCH1_BTD] = {1, 131, 264},
			[ADD_NORM_WEIGHT_D] = {264}, [ADD_NORM_BIAS_D] = {264}}},
	{.name = "rms norm, widest eights", .attr = &rms_norm, .no_gradient_check = true,
		.in = {[ADD_NORM_X_BTD] = {1, 11, 1024}, [ADD_NORM_WEIGHT_D] = {1024}}},
	{.name = "no norm, two branches", .attr = &rms_norm, .in = {[ADD_NORM_X_BTD] = {2, 4, 11},
		[ADD_NORM_BRANCH1_BTD] = {2, 4, 11}, [ADD_NORM_BRANCH2_BTD] = {2, 4, 11}}},
	{.name = "no norm, no branch", .attr = &rms_norm, .in = {[ADD_NORM_X_BTD] = {2, 4, 11}}},
};

const struct op op_add_norm = {
	.name = "add_norm",
	.formula = "r = x + branch1 + branch2;  n = norm(r) * weight + bias",
	.semantics = 1,
	.n_in = ADD_NORM_N_IN,
	.n_out = ADD_NORM_N_OUT,
	.n_saved = ADD_NORM_N_SAVED,
	.in = {
		[ADD_NORM_X_BTD] = {"x", 0},
		[ADD_NORM_BRANCH1_BTD] = {"branch1", IN_OPTIONAL},
		[ADD_NORM_BRANCH2_BTD] = {"branch2", IN_OPTIONAL},
		[ADD_NORM_WEIGHT_D] = {"weight", IN_OPTIONAL | IN_MASTER},
		[ADD_NORM_BIAS_D] = {"bias", IN_OPTIONAL | IN_MASTER},
	},
	.out = {
		[ADD_NORM_R_BTD] = {"r", REAL, false},
		[ADD_NORM_N_BTD] = {"n", REAL, false},
	},
	.shape = add_norm_shape,
	.room = {[CPU] = add_norm_room, [CUDA] = add_norm_room_cuda},
	.cost = add_norm_cost,
	.backward_reads_in = READS(ADD_NORM_WEIGHT_D),
	.backward_reads_out = READS(ADD_NORM_R_BTD),
	.out_takes = {[ADD_NORM_R_BTD] = TAKES(ADD_NORM_X_BTD)},
	.d_in_takes = {[ADD_NORM_X_BTD] = TAKES(ADD_NORM_R_BTD)},
	.d_in_equals = {
		[ADD_NORM_BRANCH1_BTD] = TAKES(ADD_NORM_X_BTD),
		[ADD_NORM_BRANCH2_BTD] = TAKES(ADD_NORM_X_BTD),
	},
	.forward = {[REF] = add_norm_forward_ref, [CPU] = add_norm_forward,
		[CUDA] = OP_CUDA(add_norm_forward_cuda)},
	.backward = {[REF] = add_norm_backward_ref, [CPU] = add_norm_backward,
		[CUDA] = OP_CUDA(add_norm_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
