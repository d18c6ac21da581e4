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
	CHECK(!alpha || tensor_size(alpha) == 1 || tensor_size(alpha) == a->dims[2]);
	CHECK(!wa == !wb && (!wa || (tensor_size(wa) == a->dims[2] && tensor_size(wb) == a->dims[2])));
	s->out[MIX_Y_BTD] = tensor_of(REAL, 3, a->dims[0], a->dims[1], a->dims[2]);
	s->out[MIX_SHARE] = tensor_of(MASTER, 1, mix_of_channels(alpha) ? 2L : 1L);
	s->saved[MIX_SCALE_BT2] = tensor_of(MASTER, 3, a->dims[0], a->dims[1], 2L);
}

/* Column sums of dy u and of dy v: of each part, and of all. Forward, the weights of channels. */
static void room(struct op_shapes *s, long part_rows)
{
	const struct tensor *a = s->in[MIX_A_BTD];
	long parts = ceil_div(tensor_rows(a), part_rows);

	if (mix_of_channels(s->in[MIX_ALPHA]))
		s->saved[MIX_WEIGHT_2D] = tensor_of(MASTER, 2, 2L, a->dims[2]);
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

/* s of channel i. */
static double share_ref(const struct op_run *r, long i)
{
	const struct tensor *alpha = r->in[MIX_ALPHA];

	return alpha ? sigmoid_f64(row_f64(alpha, 0)[mix_of_channels(alpha) ? i : 0]) : 0.5;
}

/* Of path 0, s; of path 1 the rest. */
static double part_ref(const struct op_run *r, int path, long i)
{
	return path ? 1 - share_ref(r, i) : share_ref(r, i);
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

static void tell_share_ref(const struct op_run *r)
{
	double *share = row_f64(r->out[MIX_SHARE], 0), n = (double)tensor_width(r->out[MIX_Y_BTD]), square = 0;

	share[0] = 0;
	for (long i = 0; i < (long)n; i++)
		share[0] += share_ref(r, i) / n;
	if (!mix_of_channels(r->in[MIX_ALPHA]))
		return;
	for (long i = 0; i < (long)n; i++)
		square += pow(share_ref(r, i) - share[0], 2) / n;
	share[1] = sqrt(square);
}

static void mix_forward_ref(const struct op_run *r)
{
	const struct mix_attr *attr = r->attr;
	const struct tensor *y = r->out[MIX_Y_BTD];
	long D = tensor_width(y);

	tell_share_ref(r);
	for (long t = 0; t < tensor_rows(y); t++) {
		for (int path = 0; path < 2; path++) {
			double square = 0;
			for (long i = 0; i < D; i++)
				square += pow(row_f64(r->in[MIX_A_BTD + path], t)[i], 2) / (double)D;
			row_f64(r->saved[MIX_SCALE_BT2], t)[path] = 1 / sqrt(square + attr->eps);
		}
		for (long i = 0; i < D; i++)
			row_f64(y, t)[i] = part_ref(r, 0, i) * weight_ref(r, 0, i) * normed_ref(r, 0, t, i) +
				part_ref(r, 1, i) * weight_ref(r, 1, i) * normed_ref(r, 1, t, i);
	}
}

static void backward_row_ref(const struct op_run *r, int path, long t)
{
	const double *dy = row_f64(r->d_out[MIX_Y_BTD], t);
	long D = tensor_width(r->d_out[MIX_Y_BTD]);
	double mean = 0;

	for (long i = 0; i < D; i++)
		mean += part_ref(r, path, i) * weight_ref(r, path, i) * dy[i] * normed_ref(r, path, t, i) / (double)D;
	for (long i = 0; i < D; i++)
		put_gradient(r, MIX_A_BTD + path, t, i, row_f64(r->saved[MIX_SCALE_BT2], t)[path] *
			(part_ref(r, path, i) * weight_ref(r, path, i) * dy[i] - normed_ref(r, path, t, i) * mean));
}

/* Of weights and alpha, by what path contributes. */
static void backward_parameters_ref(const struct op_run *r, int path)
{
	const struct tensor *dy = r->d_out[MIX_Y_BTD];
	bool of_channels = mix_of_channels(r->in[MIX_ALPHA]);

	for (long i = 0; i < tensor_width(dy); i++) {
		double s = share_ref(r, i), sum = 0;
		for (long t = 0; t < tensor_rows(dy); t++)
			sum += row_f64(dy, t)[i] * normed_ref(r, path, t, i);
		put_gradient(r, MIX_WA_D + path, 0, i, part_ref(r, path, i) * sum);
		add_gradient(r, MIX_ALPHA, 0, of_channels ? i : 0,
			s * (1 - s) * (path ? -1 : 1) * weight_ref(r, path, i) * sum);
	}
}

static void mix_backward_ref(const struct op_run *r)
{
	clear_gradient(r, MIX_ALPHA);
	for (int path = 0; path < 2; path++) {
		backward_parameters_ref(r, path);
		for (long t = 0; t < tensor_rows(r->d_out[MIX_Y_BTD]); t++)
			backward_row_ref(r, path, t);
	}
}

/* ---- CPU ------------------------------------------------------------------------------------ */

static float logistic(float x)
{
	return 1 / (1 + expf(-x));
}

/* What all channels have in common: s, or half of the weights that hold it. */
static float share_of(const struct op_run *r)
{
	const struct tensor *alpha = r->in[MIX_ALPHA];

	return alpha && !mix_of_channels(alpha) ? logistic(*row_f32(alpha, 0)) : 0.5f;
}

static float inverse_rms(const float *x, long n, double eps)
{
	float square = 0;

	#pragma omp simd reduction(+:square)
	for (long i = 0; i < n; i++)
		square += x[i] * x[i];
	return 1 / sqrtf(square / (float)n + (float)eps);
}

/* wa or wb, NULL: 1. */
static const float *given_weight(const struct op_run *r, int path)
{
	const struct tensor *w = r->in[MIX_WA_D + path];

	return w ? w->at : NULL;
}

static const float *weight_of(const struct op_run *r, int path)
{
	return mix_of_channels(r->in[MIX_ALPHA]) ? row_f32(r->saved[MIX_WEIGHT_2D], path) : given_weight(r, path);
}

/* Of an alpha of channels: Wa and Wb, mean and standard deviation of s. */
static void weigh_channels(const struct op_run *r)
{
	const float *alpha = row_f32(r->in[MIX_ALPHA], 0), *wa = given_weight(r, 0), *wb = given_weight(r, 1);
	float *to[2] = {row_f32(r->saved[MIX_WEIGHT_2D], 0), row_f32(r->saved[MIX_WEIGHT_2D], 1)};
	float *share = row_f32(r->out[MIX_SHARE], 0);
	long D = tensor_width(r->out[MIX_Y_BTD]);
	double sum = 0, square = 0;

	for (long i = 0; i < D; i++) {
		float s = logistic(alpha[i]);
		to[0][i] = 2 * s * (wa ? wa[i] : 1);
		to[1][i] = 2 * (1 - s) * (wb ? wb[i] : 1);
		sum += s;
	}
	for (long i = 0; i < D; i++) {
		double off = logistic(alpha[i]) - sum / (double)D;
		square += off * off;
	}
	share[0] = (float)(sum / (double)D);
	share[1] = (float)sqrt(square / (double)D);
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

	if (mix_of_channels(r->in[MIX_ALPHA]))
		weigh_channels(r);
	else
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

/* The same where each channel has its alpha. */
static void backward_channels(const struct op_run *r, const float *sums)
{
	long D = tensor_width(r->d_out[MIX_Y_BTD]);
	const float *alpha = row_f32(r->in[MIX_ALPHA], 0), *wa = given_weight(r, 0), *wb = given_weight(r, 1);

	for (long i = 0; i < D; i++) {
		float s = logistic(alpha[i]), a = sums[i], b = sums[D + i];
		put_gradient_f32(r, MIX_WA_D, 0, i, s * a);
		put_gradient_f32(r, MIX_WB_D, 0, i, (1 - s) * b);
		put_gradient_f32(r, MIX_ALPHA, 0, i, s * (1 - s) * ((wa ? wa[i] : 1) * a - (wb ? wb[i] : 1) * b));
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
	if (mix_of_channels(r->in[MIX_ALPHA]))
		backward_channels(r, sums);
	else
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
	{.name = "alpha of channels", .attr = &usual, .in = {[MIX_A_BTD] = {2, 5, 7}, [MIX_B_BTD] = {2, 5, 7},
		[MIX_ALPHA] = {7}}},
	{.name = "weights and alpha of channels, parts", .attr = &usual, .in = {[MIX_A_BTD] = {2, 75, 8},
		[MIX_B_BTD] = {2, 75, 8}, [MIX_ALPHA] = {8}, [MIX_WA_D] = {8}, [MIX_WB_D] = {8}}},
	{.name = "wide, alpha of channels", .attr = &usual, .no_gradient_check = true, .in = {[MIX_A_BTD] = {2, 133, 328},
		[MIX_B_BTD] = {2, 133, 328}, [MIX_ALPHA] = {328}}},
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
