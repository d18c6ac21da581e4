#include "op/mix.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/kit/gradient.h"
#include "op/kit/reduce.h"
#include "op/kit/vec.h"

enum { PART_ROWS = 64 };	/* of the CPU's partial sums */

static void mix_shape(struct op_shapes *s)
{
	const struct tensor *a = s->in[MIX_A_BTD], *alpha = s->in[MIX_ALPHA], *wa = s->in[MIX_WA_D],
		*wb = s->in[MIX_WB_D];

	CHECK(a->n_dims == 3 && tensor_same_shape(a, s->in[MIX_B_BTD]));
	CHECK(!alpha || tensor_size(alpha) == 1);
	CHECK(!wa == !wb && (!wa || (tensor_size(wa) == a->dims[2] && tensor_size(wb) == a->dims[2])));
	s->out[MIX_Y_BTD] = tensor_of(REAL, 3, a->dims[0], a->dims[1], a->dims[2]);
	s->out[MIX_SHARE] = tensor_of(MASTER, 1, 1L);
	s->saved[MIX_SCALE_BT2] = tensor_of(MASTER, 3, a->dims[0], a->dims[1], 2L);
}

/* Column sums of dy u and of dy v: of each part, and of all. */
static void room(struct op_shapes *s, long part_rows)
{
	const struct tensor *a = s->in[MIX_A_BTD];
	long parts = ceil_div(tensor_rows(a), part_rows);

	s->backward_workspace = (size_t)((parts + 1) * 2 * tensor_width(a)) * sizeof(float);
}

static void room_cpu(struct op_shapes *s)
{
	room(s, PART_ROWS);
}

static void room_cuda(struct op_shapes *s)
{
	room(s, MIX_PART_ROWS);
}

static void mix_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[MIX_A_BTD]), bytes = op_io_bytes(&op_mix, s);

	*c = (struct op_cost){.forward_flops = 9 * n, .backward_flops = 18 * n, .executed_flops = 27 * n,
		.forward_bytes = bytes, .backward_bytes = 5.0 / 3 * bytes};
}

/* ---- reference ------------------------------------------------------------------------------ */

static double share_ref(const struct op_run *r)
{
	return r->in[MIX_ALPHA] ? sigmoid_f64(*row_f64(r->in[MIX_ALPHA], 0)) : 0.5;
}

static double weight_ref(const struct op_run *r, int path, long i)
{
	const struct tensor *w = r->in[MIX_WA_D + path];

	return w ? row_f64(w, 0)[i] : 1;
}

/* u, of path 0, or v. */
static double normed_ref(const struct op_run *r, int path, long t, long i)
{
	return row_f64(r->in[MIX_A_BTD + path], t)[i] * row_f64(r->saved[MIX_SCALE_BT2], t)[path];
}

static void mix_forward_ref(const struct op_run *r)
{
	const struct mix_attr *attr = r->attr;
	const struct tensor *y = r->out[MIX_Y_BTD];
	double s = share_ref(r);
	long D = tensor_width(y);

	*row_f64(r->out[MIX_SHARE], 0) = s;
	for (long t = 0; t < tensor_rows(y); t++) {
		for (int path = 0; path < 2; path++) {
			double square = 0;
			for (long i = 0; i < D; i++)
				square += pow(row_f64(r->in[MIX_A_BTD + path], t)[i], 2) / (double)D;
			row_f64(r->saved[MIX_SCALE_BT2], t)[path] = 1 / sqrt(square + attr->eps);
		}
		for (long i = 0; i < D; i++)
			row_f64(y, t)[i] = s * weight_ref(r, 0, i) * normed_ref(r, 0, t, i) +
				(1 - s) * weight_ref(r, 1, i) * normed_ref(r, 1, t, i);
	}
}

/* The gradient of path's row t, of which `share` is in y. */
static void backward_row_ref(const struct op_run *r, int path, long t, double share)
{
	const double *dy = row_f64(r->d_out[MIX_Y_BTD], t);
	long D = tensor_width(r->d_out[MIX_Y_BTD]);
	double mean = 0;

	for (long i = 0; i < D; i++)
		mean += share * weight_ref(r, path, i) * dy[i] * normed_ref(r, path, t, i) / (double)D;
	for (long i = 0; i < D; i++)
		put_gradient(r, MIX_A_BTD + path, t, i, row_f64(r->saved[MIX_SCALE_BT2], t)[path] *
			(share * weight_ref(r, path, i) * dy[i] - normed_ref(r, path, t, i) * mean));
}

static void mix_backward_ref(const struct op_run *r)
{
	const struct tensor *dy = r->d_out[MIX_Y_BTD];
	double s = share_ref(r), d_alpha = 0;

	for (int path = 0; path < 2; path++) {
		double share = path ? 1 - s : s;
		for (long i = 0; i < tensor_width(dy); i++) {
			double sum = 0;
			for (long t = 0; t < tensor_rows(dy); t++)
				sum += row_f64(dy, t)[i] * normed_ref(r, path, t, i);
			put_gradient(r, MIX_WA_D + path, 0, i, share * sum);
			d_alpha += s * (1 - s) * (path ? -1 : 1) * weight_ref(r, path, i) * sum;
		}
		for (long t = 0; t < tensor_rows(dy); t++)
			backward_row_ref(r, path, t, share);
	}
	put_gradient(r, MIX_ALPHA, 0, 0, d_alpha);
}

/* ---- CPU ------------------------------------------------------------------------------------ */

static float share_of(const struct op_run *r)
{
	return r->in[MIX_ALPHA] ? 1 / (1 + expf(-*row_f32(r->in[MIX_ALPHA], 0))) : 0.5f;
}

static float inverse_rms(const float *x, long n, double eps)
{
	float square = 0;

	#pragma omp simd reduction(+:square)
	for (long i = 0; i < n; i++)
		square += x[i] * x[i];
	return 1 / sqrtf(square / (float)n + (float)eps);
}

static const float *weight_of(const struct op_run *r, int path)
{
	const struct tensor *w = r->in[MIX_WA_D + path];

	return w ? w->at : NULL;
}

static void mix_row(float *y, const float *a, const float *b, const float *wa, const float *wb, float in_a,
	float in_b, long n)
{
	if (wa) {
		#pragma omp simd
		for (long i = 0; i < n; i++)
			y[i] = in_a * wa[i] * a[i] + in_b * wb[i] * b[i];
	} else {
		#pragma omp simd
		for (long i = 0; i < n; i++)
			y[i] = in_a * a[i] + in_b * b[i];
	}
}

static void mix_forward(const struct op_run *r)
{
	const struct mix_attr *attr = r->attr;
	const struct tensor *y = r->out[MIX_Y_BTD];
	const float *wa = weight_of(r, 0), *wb = weight_of(r, 1);
	float s = share_of(r);
	long D = tensor_width(y);

	*row_f32(r->out[MIX_SHARE], 0) = s;
	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(y); t++) {
		const float *a = row_f32(r->in[MIX_A_BTD], t), *b = row_f32(r->in[MIX_B_BTD], t);
		float *scale = row_f32(r->saved[MIX_SCALE_BT2], t);
		scale[0] = inverse_rms(a, D, attr->eps);
		scale[1] = inverse_rms(b, D, attr->eps);
		mix_row(row_f32(y, t), a, b, wa, wb, s * scale[0], (1 - s) * scale[1], D);
	}
}

/* Row t of path: its share of the column sums of dy u, and its gradient. */
static void backward_row(const struct op_run *r, int path, long t, float share, float *sums)
{
	const float *dy = row_f32(r->d_out[MIX_Y_BTD], t), *x = row_f32(r->in[MIX_A_BTD + path], t);
	const float *w = weight_of(r, path);
	const struct tensor *d = r->d_in[MIX_A_BTD + path];
	float scale = row_f32(r->saved[MIX_SCALE_BT2], t)[path], sum = 0;
	long D = tensor_width(r->d_out[MIX_Y_BTD]);

	#pragma omp simd reduction(+:sum)
	for (long i = 0; i < D; i++) {
		float g = dy[i] * x[i] * scale;
		sums[i] += g;
		sum += g * (w ? w[i] : 1);
	}
	if (!d)
		return;
	float *to = row_f32(d, t), mean = sum / (float)D;
	bool add = op_adds(r, MIX_A_BTD + path);
	for (long i = 0; i < D; i++) {
		float g = share * scale * (dy[i] * (w ? w[i] : 1) - x[i] * scale * mean);
		to[i] = add ? to[i] + g : g;
	}
}

/* From the column sums of dy u and dy v to the gradients of weights and alpha. */
static void backward_parameters(const struct op_run *r, const float *sums, float s)
{
	long D = tensor_width(r->d_out[MIX_Y_BTD]);
	double total = 0;

	for (int path = 0; path < 2; path++) {
		const float *w = weight_of(r, path);
		const struct tensor *dw = r->d_in[MIX_WA_D + path];
		for (long i = 0; i < D; i++) {
			float g = sums[path * D + i];
			total += (path ? -1 : 1) * (w ? w[i] : 1) * g;
			if (dw)
				row_f32(dw, 0)[i] = (path ? 1 - s : s) * g +
					(op_adds(r, MIX_WA_D + path) ? row_f32(dw, 0)[i] : 0);
		}
	}
	if (r->d_in[MIX_ALPHA]) {
		float *to = row_f32(r->d_in[MIX_ALPHA], 0);
		*to = s * (1 - s) * (float)total + (op_adds(r, MIX_ALPHA) ? *to : 0);
	}
}

static void mix_backward(const struct op_run *r)
{
	const struct tensor *dy = r->d_out[MIX_Y_BTD];
	long D = tensor_width(dy), rows = tensor_rows(dy), parts = ceil_div(rows, PART_ROWS);
	float *part = r->workspace, *sums = part + parts * 2 * D, s = share_of(r);

	#pragma omp parallel for schedule(static)
	for (long p = 0; p < parts; p++) {
		float *own = part + p * 2 * D;
		memset(own, 0, (size_t)(2 * D) * sizeof *own);
		for (long t = p * PART_ROWS; t < rows && t < (p + 1) * PART_ROWS; t++) {
			backward_row(r, 0, t, s, own);
			backward_row(r, 1, t, 1 - s, own + D);
		}
	}
	reduce_parts(sums, part, parts, 2 * D, false);
	backward_parameters(r, sums, s);
}

static const struct mix_attr usual = {1e-5}, large_eps = {0.1};

static const struct op_example examples[] = {
	{.name = "alpha", .attr = &usual, .in = {[MIX_A_BTD] = {2, 5, 7}, [MIX_B_BTD] = {2, 5, 7},
		[MIX_ALPHA] = {1}}},
	{.name = "half of each", .attr = &large_eps, .in = {[MIX_A_BTD] = {2, 3, 9}, [MIX_B_BTD] = {2, 3, 9}}},
	{.name = "weights", .attr = &usual, .in = {[MIX_A_BTD] = {1, 9, 11}, [MIX_B_BTD] = {1, 9, 11},
		[MIX_WA_D] = {11}, [MIX_WB_D] = {11}}},
	{.name = "weights and alpha, parts", .attr = &usual, .in = {[MIX_A_BTD] = {2, 75, 8},
		[MIX_B_BTD] = {2, 75, 8}, [MIX_ALPHA] = {1}, [MIX_WA_D] = {8}, [MIX_WB_D] = {8}}},
	{.name = "wide", .attr = &usual, .no_gradient_check = true, .in = {[MIX_A_BTD] = {2, 133, 328},
		[MIX_B_BTD] = {2, 133, 328}, [MIX_ALPHA] = {1}}},
};

const struct op op_mix = {
	.name = "mix",
	.formula = "y = s wa a / rms(a) + (1 - s) wb b / rms(b),  s = logistic(alpha)",
	.semantics = 1,
	.n_in = MIX_N_IN,
	.n_out = MIX_N_OUT,
	.n_saved = MIX_N_SAVED,
	.in = {
		[MIX_A_BTD] = {"a", 0},
		[MIX_B_BTD] = {"b", 0},
		[MIX_ALPHA] = {"alpha", IN_OPTIONAL | IN_MASTER},
		[MIX_WA_D] = {"wa", IN_OPTIONAL | IN_MASTER},
		[MIX_WB_D] = {"wb", IN_OPTIONAL | IN_MASTER},
	},
	.out = {[MIX_Y_BTD] = {"y", REAL, false}, [MIX_SHARE] = {"share", MASTER, true}},
	.shape = mix_shape,
	.room = {[CPU] = room_cpu, [CUDA] = room_cuda},
	.cost = mix_cost,
	.backward_reads_in = READS(MIX_A_BTD) | READS(MIX_B_BTD) | READS(MIX_ALPHA) | READS(MIX_WA_D) |
		READS(MIX_WB_D),
	.forward = {[REF] = mix_forward_ref, [CPU] = mix_forward, [CUDA] = OP_CUDA(mix_forward_cuda)},
	.backward = {[REF] = mix_backward_ref, [CPU] = mix_backward, [CUDA] = OP_CUDA(mix_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
