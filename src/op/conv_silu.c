#include "op/conv_silu.h"

#include <math.h>

#include "base/error.h"
#include "base/num.h"
#include "op/document_start.h"
#include "op/kit/gradient.h"
#include "op/kit/lanes.h"
#include "op/kit/vec.h"
#include "op/trial.h"

enum {
	CHUNK = 64,	/* tokens of a tile */
	SPAN = 128,	/* channels of a tile */
};

struct conv {
	const struct op_run *run;
	const struct tensor *x, *start;
	long B, T, I, K, n_spans;
};

static struct conv conv_of(const struct op_run *r, const struct tensor *const *in)
{
	const struct tensor *x = in[CONV_SILU_X_BTI];

	return (struct conv){r, x, in[CONV_SILU_START_BT], x->dims[0], x->dims[1], x->dims[2],
		tensor_width(in[CONV_SILU_W_IK]), ceil_div(x->dims[2], SPAN)};
}

static void conv_silu_shape(struct op_shapes *s)
{
	const struct tensor *x = s->in[CONV_SILU_X_BTI], *w = s->in[CONV_SILU_W_IK];
	struct conv c = conv_of(NULL, s->in);

	CHECK(x->n_dims == 3 && tensor_rows(w) == c.I);
	CHECK(c.K <= CONV_SILU_MAX_TAPS);
	CHECK(!s->in[CONV_SILU_BIAS_I] || tensor_size(s->in[CONV_SILU_BIAS_I]) == c.I);
	op_shape_same(s);
}

static void room_cpu(struct op_shapes *s)
{
	struct conv c = conv_of(NULL, s->in);

	s->forward_workspace = (size_t)(c.K * c.I) * sizeof(float);
	s->backward_workspace = (size_t)((c.K + c.B * (c.K + 1)) * c.I) * sizeof(float);
}

static void room_cuda(struct op_shapes *s)
{
	struct conv c = conv_of(NULL, s->in);
	long n_chunks = ceil_div(c.T, CONV_SILU_CHUNK);

	s->backward_workspace = (size_t)(c.B * n_chunks * (c.K + 1) * c.I) * sizeof(float);
}

static void conv_silu_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[CONV_SILU_X_BTI]);
	double taps = (double)tensor_width(s->in[CONV_SILU_W_IK]);
	double bytes = op_io_bytes(&op_conv_silu, s);

	c->forward_flops = n * (2 * taps + 4);		/* silu: exp, add, divide, multiply */
	c->backward_flops = n * (4 * taps + 8);
	c->executed_flops = 2 * c->forward_flops + c->backward_flops;
	c->forward_bytes = bytes;
	c->backward_bytes = 1.5 * bytes;
}

/* --- reference -------------------------------------------------------------------------------- */

static double before_silu(const struct conv *c, long b, long t, long i)
{
	const double *w = row_f64(c->run->in[CONV_SILU_W_IK], i);
	const struct tensor *bias = c->run->in[CONV_SILU_BIAS_I];
	double s = bias ? row_f64(bias, 0)[i] : 0;

	for (long k = 0; k < c->K; k++)
		if (t - (c->K - 1) + k >= first_seen(c->start, b, t))
			s += w[k] * row_f64(c->x, b * c->T + t - (c->K - 1) + k)[i];
	return s;
}

static void conv_silu_forward_ref(const struct op_run *r)
{
	struct conv c = conv_of(r, r->in);

	for (long row = 0; row < c.B * c.T; row++)
		for (long i = 0; i < c.I; i++) {
			double s = before_silu(&c, row / c.T, row % c.T, i);
			row_f64(r->out[CONV_SILU_Y_BTI], row)[i] = s / (1 + exp(-s));
		}
}

/* ds = dy (g + s g (1 - g)), g = logistic(s); dbias = sum ds; dw_k = sum ds x; dx = sum_k w_k ds */
static void conv_silu_backward_ref(const struct op_run *r)
{
	struct conv c = conv_of(r, r->in);

	for (int i = 0; i < CONV_SILU_N_IN; i++)
		clear_gradient(r, i);
	for (long row = 0; row < c.B * c.T; row++)
		for (long i = 0; i < c.I; i++) {
			double s = before_silu(&c, row / c.T, row % c.T, i), g = sigmoid_f64(s);
			double dy = row_f64(r->d_out[CONV_SILU_Y_BTI], row)[i];
			double ds = dy * (g + s * g * (1 - g));
			add_gradient(r, CONV_SILU_BIAS_I, 0, i, ds);
			for (long k = 0; k < c.K; k++) {
				long back = c.K - 1 - k, t = row % c.T;
				if (t - back < first_seen(c.start, row / c.T, t))
					continue;
				add_gradient(r, CONV_SILU_W_IK, i, k,
					ds * row_f64(c.x, row - back)[i]);
				add_gradient(r, CONV_SILU_X_BTI, row - back, i,
					ds * row_f64(r->in[CONV_SILU_W_IK], i)[k]);
			}
		}
}

/* --- cpu: a task is one sequence and a span of channels --------------------------------------- */

/* Weights as w_KI, so that a tap's weights of neighbouring channels are neighbours. */
static void transpose_weights(const struct conv *c, float *w)
{
	#pragma omp parallel for schedule(static)
	for (long i = 0; i < c->I; i++)
		for (long k = 0; k < c->K; k++)
			w[k * c->I + i] = row_f32(c->run->in[CONV_SILU_W_IK], i)[k];
}

/* The first tap that meets a token of the sequence and document. */
static long first_tap(const struct conv *c, long b, long t)
{
	long past = t - first_seen(c->start, b, t);

	return past < c->K - 1 ? c->K - 1 - past : 0;
}

/* The first tap by which a token of the document sees token t: tap K - 1 - j of token t + j. */
static long first_tap_behind(const struct conv *c, long b, long t)
{
	long j = 0;

	if (!c->start)
		return 0;
	while (j < c->K - 1 && t + j + 1 < c->T && first_seen(c->start, b, t + j + 1) <= t)
		j++;
	return c->K - 1 - j;
}

/* s of token t for channels i to i + n; whole registers are written. */
static void before_silu_row(const struct conv *c, const float *w, long b, long t, long i, long n,
	float *s)
{
	const struct tensor *bias = c->run->in[CONV_SILU_BIAS_I];
	long first = b * c->T + t - (c->K - 1), tap = first_tap(c, b, t);

	for (long j = 0; j < n; j += LANES) {
		lanes sum = bias ? lanes_load_part(row_f32(bias, 0) + i + j, n - j) : (lanes){0};
		for (long k = tap; k < c->K; k++)
			sum += lanes_load_part(w + k * c->I + i + j, n - j) *
				lanes_load_part(row_f32(c->x, first + k) + i + j, n - j);
		lanes_store(s + j, sum);
	}
}

static void conv_silu_forward_cpu(const struct op_run *r)
{
	struct conv c = conv_of(r, r->in);
	float *w = r->workspace;

	transpose_weights(&c, w);
	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < c.B * c.n_spans; task++) {
		long b = task / c.n_spans, i = task % c.n_spans * SPAN;
		long n = min_long(c.I - i, SPAN);
		for (long t = 0; t < c.T; t++) {
			float *y = row_f32(r->out[CONV_SILU_Y_BTI], b * c.T + t) + i, s[SPAN];
			before_silu_row(&c, w, b, t, i, n, s);
			#pragma omp simd
			for (long j = 0; j < n; j++)
				y[j] = s[j] * vec_sigmoid(s[j]);
		}
	}
}

/* ds of tokens and, behind them, of the K - 1 tokens that follow: dx of a token needs those. */
typedef float ds_tile[CHUNK + CONV_SILU_MAX_TAPS - 1][SPAN];

/* ds_j of one token, and its share of dbias (part[K]) and dw (part[0 .. K-1]), both by channel. */
static void ds_row(const struct conv *c, const float *w, long b, long t, long i, long n, float *ds,
	float (*part)[SPAN])
{
	const float *dy = row_f32(c->run->d_out[CONV_SILU_Y_BTI], b * c->T + t) + i;
	long first = b * c->T + t - (c->K - 1), tap = first_tap(c, b, t);

	before_silu_row(c, w, b, t, i, n, ds);
	#pragma omp simd
	for (long j = 0; j < n; j++) {
		float s = ds[j], g = vec_sigmoid(s);
		ds[j] = dy[j] * g * (1.0f + s * (1.0f - g));
		part[c->K][j] += ds[j];
	}
	for (long j = 0; j < n; j += LANES) {
		lanes d = lanes_load(ds + j);
		for (long k = tap; k < c->K; k++)
			lanes_store(part[k] + j, lanes_load(part[k] + j) +
				d * lanes_load_part(row_f32(c->x, first + k) + i + j, n - j));
	}
}

/* dx of one token; `ds` are the rows from that token on. */
static void dx_row(const struct conv *c, const float *w, long b, long t, long i, long n,
	float (*ds)[SPAN])
{
	float *dx = row_f32(c->run->d_in[CONV_SILU_X_BTI], b * c->T + t) + i;
	long tap = first_tap_behind(c, b, t);
	bool add = op_adds(c->run, CONV_SILU_X_BTI);

	for (long j = 0; j < n; j += LANES) {
		lanes sum = add ? lanes_load_part(dx + j, n - j) : (lanes){0};
		for (long k = tap; k < c->K; k++)
			sum += lanes_load_part(w + k * c->I + i + j, n - j) *
				lanes_load(ds[c->K - 1 - k] + j);
		lanes_store_part(dx + j, sum, n - j);
	}
}

/* Chunks from the last to the first; partial sums of the parameters go to parts[K + 1, I]. */
static void span_backward(const struct conv *c, const float *w, long b, long i, float *parts)
{
	long n = min_long(c->I - i, SPAN), n_chunks = ceil_div(c->T, CHUNK);
	float part[CONV_SILU_MAX_TAPS + 1][SPAN] = {0};
	ds_tile ds;

	memset(ds, 0, sizeof ds);
	for (long chunk = n_chunks - 1; chunk >= 0; chunk--) {
		long t0 = chunk * CHUNK, n_tokens = min_long(c->T - t0, CHUNK);
		memmove(ds[n_tokens], ds[0], (size_t)(c->K - 1) * sizeof ds[0]);
		for (long t = 0; t < n_tokens; t++)
			ds_row(c, w, b, t0 + t, i, n, ds[t], part);
		for (long t = 0; c->run->d_in[CONV_SILU_X_BTI] && t < n_tokens; t++)
			dx_row(c, w, b, t0 + t, i, n, ds + t);
	}
	for (long k = 0; k <= c->K; k++)
		memcpy(parts + k * c->I + i, part[k], (size_t)n * sizeof *parts);
}

/* Element (row, column) of a parameter's gradient from the sequences' shares, in order. */
static void sum_sequences(const struct conv *c, int input, long row, long column,
	const float *parts)
{
	float sum = 0, *to;

	if (!c->run->d_in[input])
		return;
	for (long b = 0; b < c->B; b++)
		sum += parts[b * (c->K + 1) * c->I];
	to = row_f32(c->run->d_in[input], row) + column;
	*to = sum + (op_adds(c->run, input) ? *to : 0);
}

static void conv_silu_backward_cpu(const struct op_run *r)
{
	struct conv c = conv_of(r, r->in);
	float *w = r->workspace, *parts = w + c.K * c.I;

	transpose_weights(&c, w);
	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < c.B * c.n_spans; task++) {
		long b = task / c.n_spans;
		span_backward(&c, w, b, task % c.n_spans * SPAN, parts + b * (c.K + 1) * c.I);
	}
	#pragma omp parallel for schedule(static)
	for (long i = 0; i < c.I; i++) {
		for (long k = 0; k < c.K; k++)
			sum_sequences(&c, CONV_SILU_W_IK, i, k, parts + k * c.I + i);
		sum_sequences(&c, CONV_SILU_BIAS_I, 0, i, parts + c.K * c.I + i);
	}
}

/* Sizes that leave every tile with a remainder; "short" has fewer tokens than taps. */
static const struct op_example examples[] = {
	{.name = "mamba", .in = {[CONV_SILU_X_BTI] = {2, 6, 19}, [CONV_SILU_W_IK] = {19, 4},
		[CONV_SILU_BIAS_I] = {19}}},
	{.name = "short", .in = {[CONV_SILU_X_BTI] = {2, 2, 5}, [CONV_SILU_W_IK] = {5, 4},
		[CONV_SILU_BIAS_I] = {5}}},
	{.name = "one tap", .in = {[CONV_SILU_X_BTI] = {1, 3, 4}, [CONV_SILU_W_IK] = {4, 1},
		[CONV_SILU_BIAS_I] = {4}}},
	{.name = "long", .in = {[CONV_SILU_X_BTI] = {2, 131, 3}, [CONV_SILU_W_IK] = {3, 5},
		[CONV_SILU_BIAS_I] = {3}}},
	{.name = "wide", .no_gradient_check = true, .in = {[CONV_SILU_X_BTI] = {2, 66, 300},
		[CONV_SILU_W_IK] = {300, 4}, [CONV_SILU_BIAS_I] = {300}}},
	{.name = "aligned", .prepare = prepare_documents, .no_gradient_check = true,
		.in = {[CONV_SILU_X_BTI] = {2, 131, 24}, [CONV_SILU_W_IK] = {24, 4},
			[CONV_SILU_BIAS_I] = {24}, [CONV_SILU_START_BT] = {2, 131}}},
	{.name = "documents", .prepare = prepare_documents, .in = {[CONV_SILU_X_BTI] = {2, 131, 3},
		[CONV_SILU_W_IK] = {3, 5}, [CONV_SILU_BIAS_I] = {3},
		[CONV_SILU_START_BT] = {2, 131}}},
	{.name = "no bias", .prepare = prepare_documents, .in = {[CONV_SILU_X_BTI] = {2, 66, 8},
		[CONV_SILU_W_IK] = {8, 4}, [CONV_SILU_START_BT] = {2, 66}}},
};

const struct op op_conv_silu = {
	.name = "conv_silu",
	.formula = "y_t = SiLU(bias + sum_k w_k x_{t - (K - 1) + k})",
	.semantics = 1,
	.n_in = CONV_SILU_N_IN,
	.n_out = CONV_SILU_N_OUT,
	.in = {CONV_SILU_INPUTS},
	.out = {[CONV_SILU_Y_BTI] = {"y_BTI", REAL, false}},
	.shape = conv_silu_shape,
	.room = {[CPU] = room_cpu, [CUDA] = room_cuda},
	.cost = conv_silu_cost,
	.backward_reads_in = READS(CONV_SILU_N_IN) - 1,	/* all of them */
	.forward = {[REF] = conv_silu_forward_ref, [CPU] = conv_silu_forward_cpu,
		[CUDA] = OP_CUDA(conv_silu_forward_cuda)},
	.backward = {[REF] = conv_silu_backward_ref, [CPU] = conv_silu_backward_cpu,
		[CUDA] = OP_CUDA(conv_silu_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
