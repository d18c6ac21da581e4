#include "op/turn.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/kit/gradient.h"
#include "op/trial.h"

struct turn {
	const struct op_run *run;
	const struct tensor *x, *weight, *bias, *phi;
	long rows, H, N, S, G;
	double eps;
};

static struct turn turn_of(const struct op_run *r, const struct tensor *const *in, const void *attr)
{
	const struct turn_attr *a = attr;
	long H = tensor_rows(in[TURN_BIAS_HN]);

	return (struct turn){r, in[TURN_X_BTN], in[TURN_WEIGHT_N], in[TURN_BIAS_HN], in[TURN_PHI_BTM],
		tensor_rows(in[TURN_X_BTN]), H, tensor_width(in[TURN_BIAS_HN]), tensor_width(in[TURN_PHI_BTM]) / H,
		a->n_groups, a->eps};
}

static void turn_shape(struct op_shapes *s)
{
	struct turn c = turn_of(NULL, s->in, s->attr);

	CHECK(c.x->n_dims == 3 && tensor_width(c.x) == c.G * c.N && tensor_size(c.weight) == c.N);
	CHECK(c.H % c.G == 0 && tensor_rows(c.phi) == c.rows && c.H * c.S == tensor_width(c.phi));
	CHECK(2 * c.S <= c.N && c.N <= TURN_MAX_STATES);
	s->out[TURN_Y_BTM] = tensor_of(REAL, 3, c.x->dims[0], c.x->dims[1], c.H * c.N);
	s->saved[TURN_SCALE_BTG] = tensor_of(MASTER, 3, c.x->dims[0], c.x->dims[1], c.G);
}

/* Parts of the gradients of weight and bias, and of the rows a of the tasks. */
static void room(struct op_shapes *s)
{
	struct turn c = turn_of(NULL, s->in, s->attr);

	s->backward_workspace = (size_t)(ceil_div(c.rows, TURN_PART_ROWS) * (c.H + 2) * c.N) * sizeof(float);
}

static void turn_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct turn k = turn_of(NULL, s->in, s->attr);
	double x = (double)(k.rows * k.G * k.N), y = (double)(k.rows * k.H * k.N), bytes = op_io_bytes(&op_turn, s);
	double pairs = (double)(k.rows * k.H * k.S);

	*c = (struct op_cost){.forward_flops = 4 * x + y + 8 * pairs, .backward_flops = 9 * x + 2 * y + 11 * pairs,
		.executed_flops = 13 * x + 4 * y + 27 * pairs, .forward_bytes = bytes, .backward_bytes = bytes};
}

/* ---- reference ------------------------------------------------------------------------------ */

static double scale_ref(const struct turn *c, long row, long g)
{
	const double *x = row_f64(c->x, row) + g * c->N;
	double square = 0;

	for (long n = 0; n < c->N; n++)
		square += x[n] * x[n] / (double)c->N;
	return 1 / sqrt(square + c->eps);
}

static double v_ref(const struct turn *c, long row, long h, long n)
{
	long g = h / (c->H / c->G);

	return row_f64(c->x, row)[g * c->N + n] * scale_ref(c, row, g) * row_f64(c->weight, 0)[n] +
		row_f64(c->bias, h)[n];
}

/* One column of (a, b), the pair of column n, turned by phi, or back. */
static double turned_ref(const struct turn *c, long row, long h, long n, double even, double odd, int sign)
{
	double phi = n < 2 * c->S ? row_f64(c->phi, row)[h * c->S + n / 2] : 0;

	return n % 2 ? even * sin(phi) * sign + odd * cos(phi) : even * cos(phi) - odd * sin(phi) * sign;
}

static double y_ref(const struct turn *c, long row, long h, long n)
{
	if (n >= 2 * c->S)
		return v_ref(c, row, h, n);
	return turned_ref(c, row, h, n, v_ref(c, row, h, n / 2 * 2), v_ref(c, row, h, n / 2 * 2 + 1), 1);
}

static void turn_forward_ref(const struct op_run *r)
{
	struct turn c = turn_of(r, r->in, r->attr);

	for (long row = 0; row < c.rows; row++) {
		for (long k = 0; k < c.H * c.N; k++)
			row_f64(r->out[TURN_Y_BTM], row)[k] = y_ref(&c, row, k / c.N, k % c.N);
		for (long g = 0; g < c.G; g++)
			row_f64(r->saved[TURN_SCALE_BTG], row)[g] = scale_ref(&c, row, g);
	}
}

static double dv_ref(const struct turn *c, long row, long h, long n)
{
	const double *dy = row_f64(c->run->d_out[TURN_Y_BTM], row) + h * c->N;

	return n >= 2 * c->S ? dy[n] : turned_ref(c, row, h, n, dy[n / 2 * 2], dy[n / 2 * 2 + 1], -1);
}

/* sum of dv over a group's heads */
static double a_ref(const struct turn *c, long row, long g, long n)
{
	double sum = 0;

	for (long h = g * (c->H / c->G); h < (g + 1) * (c->H / c->G); h++)
		sum += dv_ref(c, row, h, n);
	return sum;
}

static void group_backward_ref(const struct turn *c, long row, long g)
{
	const double *x = row_f64(c->x, row) + g * c->N, *w = row_f64(c->weight, 0);
	double scale = scale_ref(c, row, g), mean = 0;

	for (long n = 0; n < c->N; n++)
		mean += a_ref(c, row, g, n) * w[n] * x[n] * scale / (double)c->N;
	for (long n = 0; n < c->N; n++)
		put_gradient(c->run, TURN_X_BTN, row, g * c->N + n,
			(a_ref(c, row, g, n) * w[n] - x[n] * scale * mean) * scale);
}

static void turn_backward_ref(const struct op_run *r)
{
	struct turn c = turn_of(r, r->in, r->attr);
	const struct tensor *dy = r->d_out[TURN_Y_BTM];

	for (long row = 0; row < c.rows; row++) {
		for (long g = 0; g < c.G; g++)
			group_backward_ref(&c, row, g);
		for (long k = 0; k < c.H * c.S; k++) {
			long h = k / c.S, even = k % c.S * 2, at = h * c.N + even;
			put_gradient(r, TURN_PHI_BTM, row, k, row_f64(dy, row)[at + 1] * y_ref(&c, row, h, even) -
				row_f64(dy, row)[at] * y_ref(&c, row, h, even + 1));
		}
	}
	for (long k = 0; k < c.H * c.N; k++) {
		double sum = 0;
		for (long row = 0; row < c.rows; row++)
			sum += dv_ref(&c, row, k / c.N, k % c.N);
		put_gradient(r, TURN_BIAS_HN, k / c.N, k % c.N, sum);
	}
	for (long n = 0; n < c.N; n++) {
		double sum = 0;
		for (long i = 0; i < c.rows * c.G; i++)
			sum += a_ref(&c, i / c.G, i % c.G, n) * row_f64(c.x, i / c.G)[i % c.G * c.N + n] *
				scale_ref(&c, i / c.G, i % c.G);
		put_gradient(r, TURN_WEIGHT_N, 0, n, sum);
	}
}

/* ---- cpu: a task is TURN_PART_ROWS rows ----------------------------------------------------- */

static void row_forward(const struct turn *c, long row)
{
	const float *w = row_f32(c->weight, 0), *phi = row_f32(c->phi, row);
	float *scales = row_f32(c->run->saved[TURN_SCALE_BTG], row);
	long N = c->N;

	for (long g = 0; g < c->G; g++) {
		const float *x = row_f32(c->x, row) + g * N;
		float square = 0;
		#pragma omp simd reduction(+:square)
		for (long n = 0; n < N; n++)
			square += x[n] * x[n];
		scales[g] = 1 / sqrtf(square / (float)N + (float)c->eps);
	}
	for (long h = 0; h < c->H; h++) {
		long g = h / (c->H / c->G);
		const float *x = row_f32(c->x, row) + g * N, *bias = row_f32(c->bias, h);
		float *y = row_f32(c->run->out[TURN_Y_BTM], row) + h * N;
		#pragma omp simd
		for (long n = 0; n < N; n++)
			y[n] = x[n] * scales[g] * w[n] + bias[n];
		for (long i = 0; i < c->S; i++) {
			float co = cosf(phi[h * c->S + i]), si = sinf(phi[h * c->S + i]), even = y[2 * i];
			y[2 * i] = even * co - y[2 * i + 1] * si;
			y[2 * i + 1] = even * si + y[2 * i + 1] * co;
		}
	}
}

static void turn_forward(const struct op_run *r)
{
	struct turn c = turn_of(r, r->in, r->attr);

	#pragma omp parallel for schedule(static)
	for (long row = 0; row < c.rows; row++)
		row_forward(&c, row);
}

/* A head's dv is added to a [N] and its bias's part; dphi. */
static void head_backward(const struct turn *c, long row, long h, float *a, float *d_bias)
{
	const struct op_run *r = c->run;
	const float *dy = row_f32(r->d_out[TURN_Y_BTM], row) + h * c->N, *phi = row_f32(c->phi, row) + h * c->S;
	long g = h / (c->H / c->G);
	const float *x = row_f32(c->x, row) + g * c->N, *w = row_f32(c->weight, 0), *bias = row_f32(c->bias, h);
	float scale = row_f32(r->saved[TURN_SCALE_BTG], row)[g];
	float *dphi = r->d_in[TURN_PHI_BTM] ? row_f32(r->d_in[TURN_PHI_BTM], row) + h * c->S : NULL;

	for (long i = 0; i < c->S; i++) {
		float co = cosf(phi[i]), si = sinf(phi[i]), *at = a + 2 * i, *to = d_bias + 2 * i;
		float even = dy[2 * i] * co + dy[2 * i + 1] * si, odd = dy[2 * i + 1] * co - dy[2 * i] * si;
		float v0 = x[2 * i] * scale * w[2 * i] + bias[2 * i];
		float v1 = x[2 * i + 1] * scale * w[2 * i + 1] + bias[2 * i + 1];
		at[0] += even;
		at[1] += odd;
		to[0] += even;
		to[1] += odd;
		if (dphi)	/* dy[2i + 1] y[2i] - dy[2i] y[2i + 1], of both turned back */
			dphi[i] = odd * v0 - even * v1 + (op_adds(r, TURN_PHI_BTM) ? dphi[i] : 0);
	}
	#pragma omp simd
	for (long n = 2 * c->S; n < c->N; n++) {
		a[n] += dy[n];
		d_bias[n] += dy[n];
	}
}

static void group_backward(const struct turn *c, long row, long g, const float *a, float *d_weight)
{
	const struct op_run *r = c->run;
	const float *x = row_f32(c->x, row) + g * c->N, *w = row_f32(c->weight, 0);
	float *dx = r->d_in[TURN_X_BTN] ? row_f32(r->d_in[TURN_X_BTN], row) + g * c->N : NULL, mean = 0;
	float scale = row_f32(r->saved[TURN_SCALE_BTG], row)[g];

	#pragma omp simd reduction(+:mean)
	for (long n = 0; n < c->N; n++) {
		mean += a[n] * w[n] * x[n] * scale;
		d_weight[n] += a[n] * x[n] * scale;
	}
	mean /= (float)c->N;
	for (long n = 0; n < (dx ? c->N : 0); n++)
		dx[n] = (a[n] * w[n] - x[n] * scale * mean) * scale + (op_adds(r, TURN_X_BTN) ? dx[n] : 0);
}

/* part: [H, N] of the bias, [N] of the weight, and room for a. */
static void part_backward(const struct turn *c, long first, float *part)
{
	float *d_weight = part + c->H * c->N, *a = d_weight + c->N;
	long heads = c->H / c->G;

	memset(part, 0, (size_t)((c->H + 1) * c->N) * sizeof *part);
	for (long row = first; row < c->rows && row < first + TURN_PART_ROWS; row++)
		for (long g = 0; g < c->G; g++) {
			memset(a, 0, (size_t)c->N * sizeof *a);
			for (long h = g * heads; h < (g + 1) * heads; h++)
				head_backward(c, row, h, a, part + h * c->N);
			group_backward(c, row, g, a, d_weight);
		}
}

static void sum_parts(const struct turn *c, int input, const float *parts, long n_parts)
{
	const struct tensor *d = c->run->d_in[input];
	long size = (c->H + 2) * c->N;

	for (long k = 0; d && k < tensor_size(d); k++) {
		float *to = row_f32(d, k / tensor_width(d)) + k % tensor_width(d);
		float sum = op_adds(c->run, input) ? *to : 0;
		for (long i = 0; i < n_parts; i++)
			sum += parts[i * size + k];
		*to = sum;
	}
}

static void turn_backward(const struct op_run *r)
{
	struct turn c = turn_of(r, r->in, r->attr);
	long n_parts = ceil_div(c.rows, TURN_PART_ROWS);
	float *parts = r->workspace;

	#pragma omp parallel for schedule(static)
	for (long p = 0; p < n_parts; p++)
		part_backward(&c, p * TURN_PART_ROWS, parts + p * (c.H + 2) * c.N);
	sum_parts(&c, TURN_BIAS_HN, parts, n_parts);
	sum_parts(&c, TURN_WEIGHT_N, parts + c.H * c.N, n_parts);
}

static const struct turn_attr one_group = {1, 1e-5}, two_groups = {2, 1e-3};

#define SHAPES(B, T, G, H, N, S) .in = {[TURN_X_BTN] = {B, T, (G) * (N)}, [TURN_WEIGHT_N] = {N}, \
	[TURN_BIAS_HN] = {H, N}, [TURN_PHI_BTM] = {B, T, (H) * (S)}}

static const struct op_example examples[] = {
	{.name = "all pairs", .attr = &one_group, SHAPES(2, 3, 1, 2, 8, 4)},
	{.name = "groups, some pairs", .attr = &two_groups, SHAPES(1, 5, 2, 4, 7, 2)},
	{.name = "wide, several parts", .attr = &two_groups, .no_gradient_check = true, SHAPES(2, 70, 2, 4, 136, 34)},
};

const struct op op_turn = {
	.name = "turn",
	.formula = "v = x / sqrt(mean(x^2) + eps) weight + bias;  y: pairs of v turned by phi",
	.semantics = 1,
	.n_in = TURN_N_IN,
	.n_out = TURN_N_OUT,
	.n_saved = TURN_N_SAVED,
	.in = {
		[TURN_X_BTN] = {"x_BTN", 0},
		[TURN_WEIGHT_N] = {"weight_N", IN_MASTER},
		[TURN_BIAS_HN] = {"bias_HN", IN_MASTER},
		[TURN_PHI_BTM] = {"phi_BTM", IN_MASTER},
	},
	.out = {[TURN_Y_BTM] = {"y_BTM", REAL, false}},
	.shape = turn_shape,
	.room = {[CPU] = room, [CUDA] = room},
	.cost = turn_cost,
	.backward_reads_in = READS(TURN_N_IN) - 1,	/* all of them */
	.forward = {[REF] = turn_forward_ref, [CPU] = turn_forward, [CUDA] = OP_CUDA(turn_forward_cuda)},
	.backward = {[REF] = turn_backward_ref, [CPU] = turn_backward, [CUDA] = OP_CUDA(turn_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
