#include "op/cross_entropy.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/cuda/gemm.h"
#include "op/kit/gemm.h"
#include "op/trial.h"
#include "op/kit/vec.h"

/* Logits of a chunk fill about CHUNK_BYTES, but products want CHUNK_ROWS rows. On a GPU 8,192 rows
   of 50,304 logits in bf16 are as fast as more of them. */
enum { CHUNK_BYTES = 64 << 20, CHUNK_ROWS = 512, ROUND = 16 };
enum { CHUNK_BYTES_CUDA = 8192 * 50304 * 2, CHUNK_ROWS_CUDA = 1024, ROUND_CUDA = 64, NARROW = 64 };

/* Floats from row to row of a chunk's logits. */
static long logit_ld(long n_vocab)
{
	return (n_vocab + ROUND - 1) / ROUND * ROUND;
}

/* Rows of a chunk: a multiple of `round`, near `fitting`. x narrower than any model's makes both
   smaller, so that tests see several chunks in few rows. */
static long chunk_of(long rows, long fitting, long round, long d)
{
	if (d < NARROW) {
		fitting = fitting * d / NARROW * d / NARROW * d / NARROW;
		round = (round * d + NARROW - 1) / NARROW;
	}
	return min_long(rows, fitting > round ? fitting / round * round : round);
}

static long chunk_rows(long rows, long n_vocab, long d)
{
	return chunk_of(rows, CHUNK_BYTES / (long)sizeof(float) / logit_ld(n_vocab), CHUNK_ROWS, d);
}

long cross_entropy_ld_cuda(long n_columns)
{
	return (n_columns + ROUND_CUDA - 1) / ROUND_CUDA * ROUND_CUDA;
}

long cross_entropy_chunk_cuda(long rows, long n_columns, long d, size_t bytes)
{
	return chunk_of(rows, CHUNK_BYTES_CUDA / (long)bytes / cross_entropy_ld_cuda(n_columns),
		CHUNK_ROWS_CUDA, d);
}

static void cross_entropy_shape(struct op_shapes *s)
{
	const struct cross_entropy_attr *attr = s->attr;
	const struct tensor *x = s->in[CROSS_ENTROPY_X_BTD], *w = s->in[CROSS_ENTROPY_W_VD];
	const struct tensor *target = s->in[CROSS_ENTROPY_TARGET_BT];
	long d = tensor_width(x), n = attr->n_vocab;

	CHECK(x->n_dims == 3 && target->n_dims == 2);
	CHECK(target->dims[0] == x->dims[0] && target->dims[1] == x->dims[1]);
	CHECK(w->n_dims == 2 && w->dims[1] == d && n > 0 && n <= w->dims[0]);
	CHECK(!s->in[CROSS_ENTROPY_WEIGHT_BT] || tensor_same_shape(s->in[CROSS_ENTROPY_WEIGHT_BT], target));
	s->out[CROSS_ENTROPY_LOSS] = tensor_of(MASTER, 1, 1L);
	s->out[CROSS_ENTROPY_NLL_BT] = tensor_of(MASTER, 2, x->dims[0], x->dims[1]);
	s->out[CROSS_ENTROPY_CORRECT_BT] = tensor_of(INDEX, 2, x->dims[0], x->dims[1]);
	s->out[CROSS_ENTROPY_MEAN] = tensor_of(MASTER, 1, 1L);
	if (s->training) {
		s->saved[CROSS_ENTROPY_DX_BTD] = tensor_of(REAL, 3, x->dims[0], x->dims[1], d);
		s->saved[CROSS_ENTROPY_DW_VD] = tensor_of(MASTER, 2, w->dims[0], d);
	}
}

static void cross_entropy_room_ref(struct op_shapes *s)
{
	const struct cross_entropy_attr *attr = s->attr;

	s->forward_workspace = (size_t)attr->n_vocab * sizeof(double);
}

static void cross_entropy_room(struct op_shapes *s)
{
	const struct cross_entropy_attr *attr = s->attr;
	const struct tensor *x = s->in[CROSS_ENTROPY_X_BTD];

	s->forward_workspace = (size_t)(chunk_rows(tensor_rows(x), attr->n_vocab, tensor_width(x)) *
		logit_ld(attr->n_vocab)) * sizeof(float);
}

/* The number of valid tokens, the products' room, logits; three products of a chunk and of the
   last. */
static void cross_entropy_room_cuda(struct op_shapes *s)
{
	const struct tensor *x = s->in[CROSS_ENTROPY_X_BTD];
	long columns = s->in[CROSS_ENTROPY_W_VD]->dims[0];
	size_t bytes = s->device->bytes[s->training ? REAL : MASTER];
	long rows = cross_entropy_chunk_cuda(tensor_rows(x), columns, tensor_width(x), bytes);

	s->forward_workspace = CROSS_ENTROPY_ALIGN + GPU_GEMM_WORKSPACE +
		(size_t)(rows * cross_entropy_ld_cuda(columns)) * bytes;
	s->forward_plan = 6 * sizeof(struct gpu_gemm_plan);
}

/* Softmax: subtract, exp and add for each logit. In training forward makes the gradients too: two
   more products, and a multiplication for each logit. That backward scales them is no work of the
   model's. */
static void cross_entropy_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct cross_entropy_attr *attr = s->attr;
	double real = (double)s->device->bytes[REAL], n = (double)attr->n_vocab;
	double x = (double)tensor_size(s->in[CROSS_ENTROPY_X_BTD]);
	double w = (double)tensor_size(s->in[CROSS_ENTROPY_W_VD]);
	double logits = (double)tensor_rows(s->in[CROSS_ENTROPY_X_BTD]) * n;

	c->forward_flops = 2 * x * n + 3 * logits + (s->training ? 4 * x * n + logits : 0);
	c->executed_flops = c->forward_flops + (s->training ? x + w : 0);
	c->forward_bytes = op_io_bytes(&op_cross_entropy, s) + (s->training ? (x + w) * real : 0);
	c->backward_bytes = 2 * (x + w) * real;
}

static int *int_at(const struct tensor *a_BT, long t)
{
	return row_int(a_BT, t / a_BT->dims[1]) + t % a_BT->dims[1];
}

static int target_at(const struct op_run *r, long t)
{
	return *int_at(r->in[CROSS_ENTROPY_TARGET_BT], t);
}

static double weight_ref(const struct op_run *r, long t)
{
	const struct tensor *weight = r->in[CROSS_ENTROPY_WEIGHT_BT];

	return weight ? row_f64(weight, t / weight->dims[1])[t % weight->dims[1]] : 1;
}

static long count_valid(const struct op_run *r)
{
	long rows = tensor_rows(r->in[CROSS_ENTROPY_X_BTD]), n = 0;

	for (long t = 0; t < rows; t++)
		n += target_at(r, t) >= 0;
	return n;
}

/* ---- reference ------------------------------------------------------------------------------ */

/* Logits of token t; gives their log-sum-exp, and the first of the largest. */
static double logits_ref(const struct op_run *r, long t, double *logit, long *argmax)
{
	const struct cross_entropy_attr *attr = r->attr;
	const struct tensor *x = r->in[CROSS_ENTROPY_X_BTD], *w = r->in[CROSS_ENTROPY_W_VD];
	double sum = 0;

	*argmax = 0;
	for (long v = 0; v < attr->n_vocab; v++) {
		logit[v] = 0;
		for (long i = 0; i < tensor_width(x); i++)
			logit[v] += row_f64(w, v)[i] * row_f64(x, t)[i];
		if (logit[v] > logit[*argmax])
			*argmax = v;
	}
	for (long v = 0; v < attr->n_vocab; v++)
		sum += exp(logit[v] - logit[*argmax]);
	return logit[*argmax] + log(sum);
}

/* dlogit = (p - [target]) / n_valid;  dx = dlogit W;  dW = dlogit^T x */
static void gradients_ref(const struct op_run *r, long t, const double *logit, double lse,
	double weight)
{
	const struct cross_entropy_attr *attr = r->attr;
	const struct tensor *x = r->in[CROSS_ENTROPY_X_BTD], *w = r->in[CROSS_ENTROPY_W_VD];
	double *dx = row_f64(r->saved[CROSS_ENTROPY_DX_BTD], t);

	for (long v = 0; v < attr->n_vocab; v++) {
		double *dw = row_f64(r->saved[CROSS_ENTROPY_DW_VD], v);
		double dlogit = weight * (exp(logit[v] - lse) - (v == target_at(r, t)));
		for (long i = 0; i < tensor_width(x); i++) {
			dx[i] += dlogit * row_f64(w, v)[i];
			dw[i] += dlogit * row_f64(x, t)[i];
		}
	}
}

static void clear_f64(const struct tensor *a)
{
	memset(a->at, 0, (size_t)tensor_size(a) * sizeof(double));
}

static void cross_entropy_forward_ref(const struct op_run *r)
{
	const struct tensor *nll = r->out[CROSS_ENTROPY_NLL_BT];
	long rows = tensor_rows(r->in[CROSS_ENTROPY_X_BTD]), n_valid = count_valid(r), argmax;
	double *logit = r->workspace, loss = 0, mean = 0;

	if (r->saved[CROSS_ENTROPY_DX_BTD]) {
		clear_f64(r->saved[CROSS_ENTROPY_DX_BTD]);
		clear_f64(r->saved[CROSS_ENTROPY_DW_VD]);
	}
	for (long t = 0; t < rows; t++) {
		int target = target_at(r, t);
		double lse = logits_ref(r, t, logit, &argmax);
		double own = target < 0 ? lse : logit[target];
		row_f64(nll, t / nll->dims[1])[t % nll->dims[1]] = lse - own;
		*int_at(r->out[CROSS_ENTROPY_CORRECT_BT], t) = argmax == target;
		mean += (lse - own) / (double)n_valid;
		loss += weight_ref(r, t) * (lse - own) / (double)n_valid;
		if (r->saved[CROSS_ENTROPY_DX_BTD] && target >= 0)
			gradients_ref(r, t, logit, lse, weight_ref(r, t) / (double)n_valid);
	}
	*row_f64(r->out[CROSS_ENTROPY_LOSS], 0) = n_valid ? loss : 0;
	*row_f64(r->out[CROSS_ENTROPY_MEAN], 0) = n_valid ? mean : 0;
}

static void scale_ref(const struct tensor *to, const struct tensor *from, double factor, bool add)
{
	for (long t = 0; t < tensor_rows(to); t++)
		for (long i = 0; i < tensor_width(to); i++) {
			double g = factor * row_f64(from, t)[i];
			row_f64(to, t)[i] = g + (add ? row_f64(to, t)[i] : 0);
		}
}

static void cross_entropy_backward_ref(const struct op_run *r)
{
	const struct tensor *d_loss = r->d_out[CROSS_ENTROPY_LOSS];
	double factor = d_loss ? *row_f64(d_loss, 0) : 0;

	if (r->d_in[CROSS_ENTROPY_X_BTD])
		scale_ref(r->d_in[CROSS_ENTROPY_X_BTD], r->saved[CROSS_ENTROPY_DX_BTD], factor,
			op_adds(r, CROSS_ENTROPY_X_BTD));
	if (r->d_in[CROSS_ENTROPY_W_VD])
		scale_ref(r->d_in[CROSS_ENTROPY_W_VD], r->saved[CROSS_ENTROPY_DW_VD], factor,
			op_adds(r, CROSS_ENTROPY_W_VD));
}

/* ---- cpu ------------------------------------------------------------------------------------ */

static float largest(const float *a, long n)
{
	float most = -INFINITY;

	#pragma omp simd reduction(max : most)
	for (long i = 0; i < n; i++)
		most = a[i] > most ? a[i] : most;
	return most;
}

/* a = exp(a - most); gives the sum. */
static float exp_row(float *a, long n, float most)
{
	float sum = 0;

	#pragma omp simd reduction(+ : sum)
	for (long i = 0; i < n; i++) {
		a[i] = vec_exp(a[i] - most);
		sum += a[i];
	}
	return sum;
}

static float weight_of(const struct op_run *r, long t)
{
	const struct tensor *weight = r->in[CROSS_ENTROPY_WEIGHT_BT];

	return weight ? row_f32(weight, t / weight->dims[1])[t % weight->dims[1]] : 1;
}

/* Metrics of token t from its logits, which become weight (softmax - [target]) in training. */
static void token_forward(const struct op_run *r, long t, float *logit, float weight)
{
	const struct cross_entropy_attr *attr = r->attr;
	const struct tensor *nll = r->out[CROSS_ENTROPY_NLL_BT];
	float *nll_t = row_f32(nll, t / nll->dims[1]) + t % nll->dims[1];
	int *correct_t = int_at(r->out[CROSS_ENTROPY_CORRECT_BT], t);
	long n = attr->n_vocab, target = target_at(r, t);

	if (target < 0) {
		*nll_t = 0;
		*correct_t = 0;
		memset(logit, 0, (size_t)n * sizeof *logit);
		return;
	}
	float before = largest(logit, target), from = largest(logit + target, n - target);
	float own = logit[target], most = before > from ? before : from;
	float sum = exp_row(logit, n, most), scale = weight / sum;
	*nll_t = logf(sum) + most - own;
	*correct_t = own > before && own >= from;
	if (!r->saved[CROSS_ENTROPY_DX_BTD])
		return;
	#pragma omp simd
	for (long v = 0; v < n; v++)
		logit[v] *= scale;
	logit[target] -= weight;
}

/* Tokens [from, from + rows): logits, metrics, and in training gradients; dW sums over chunks. */
static void chunk_forward(const struct op_run *r, long from, long rows, float weight)
{
	const struct cross_entropy_attr *attr = r->attr;
	const struct tensor *x = r->in[CROSS_ENTROPY_X_BTD], *w = r->in[CROSS_ENTROPY_W_VD];
	const struct tensor *dx = r->saved[CROSS_ENTROPY_DX_BTD];
	const struct tensor *dw = r->saved[CROSS_ENTROPY_DW_VD];
	long d = tensor_width(x), n = attr->n_vocab, ld = logit_ld(n);
	float *logit = r->workspace;

	gemm_tiled(GEMM_N, GEMM_T, rows, n, d, 1, row_f32(x, from), x->ld, w->at, w->ld, 0, logit,
		ld);
	#pragma omp parallel for schedule(static)
	for (long t = 0; t < rows; t++)
		token_forward(r, from + t, logit + t * ld, weight * weight_of(r, from + t));
	if (!dx)
		return;
	gemm_tiled(GEMM_N, GEMM_N, rows, d, n, 1, logit, ld, w->at, w->ld, 0, row_f32(dx, from), d);
	gemm_tiled(GEMM_T, GEMM_N, n, d, rows, 1, logit, ld, row_f32(x, from), x->ld, from > 0,
		dw->at, d);
}

/* Means over valid tokens; the rest have nll 0. */
static void mean_losses(const struct op_run *r, long n_valid)
{
	const struct tensor *nll = r->out[CROSS_ENTROPY_NLL_BT];
	double sum = 0, weighted = 0, n = n_valid ? (double)n_valid : 1;

	for (long t = 0; t < tensor_size(nll); t++) {
		float nll_t = row_f32(nll, t / nll->dims[1])[t % nll->dims[1]];
		sum += nll_t;
		weighted += (double)weight_of(r, t) * nll_t;
	}
	*row_f32(r->out[CROSS_ENTROPY_MEAN], 0) = (float)(sum / n);
	*row_f32(r->out[CROSS_ENTROPY_LOSS], 0) = (float)(weighted / n);
}

static void cross_entropy_forward(const struct op_run *r)
{
	const struct cross_entropy_attr *attr = r->attr;
	const struct tensor *dw = r->saved[CROSS_ENTROPY_DW_VD];
	long rows = tensor_rows(r->in[CROSS_ENTROPY_X_BTD]), n_valid = count_valid(r);
	long chunk = chunk_rows(rows, attr->n_vocab, tensor_width(r->in[CROSS_ENTROPY_X_BTD]));
	float weight = n_valid ? 1 / (float)n_valid : 0;

	for (long from = 0; from < rows; from += chunk)
		chunk_forward(r, from, min_long(chunk, rows - from), weight);
	if (dw)
		memset(row_f32(dw, attr->n_vocab), 0, (size_t)((tensor_rows(dw) - attr->n_vocab) *
			dw->ld) * sizeof(float));
	mean_losses(r, n_valid);
}

static void scale_row(float *restrict to, const float *restrict from, float factor, long n,
	bool add)
{
	if (add) {
		#pragma omp simd
		for (long i = 0; i < n; i++)
			to[i] += factor * from[i];
	} else {
		#pragma omp simd
		for (long i = 0; i < n; i++)
			to[i] = factor * from[i];
	}
}

static void cross_entropy_backward(const struct op_run *r)
{
	static const int saved[] = {[CROSS_ENTROPY_X_BTD] = CROSS_ENTROPY_DX_BTD,
		[CROSS_ENTROPY_W_VD] = CROSS_ENTROPY_DW_VD};
	const struct tensor *d_loss = r->d_out[CROSS_ENTROPY_LOSS];
	float factor = d_loss ? *row_f32(d_loss, 0) : 0;

	for (int i = 0; i < (int)ARRAY_SIZE(saved); i++) {
		const struct tensor *to = r->d_in[i], *from = r->saved[saved[i]];
		if (!to)
			continue;
		#pragma omp parallel for schedule(static)
		for (long t = 0; t < tensor_rows(to); t++)
			scale_row(row_f32(to, t), row_f32(from, t), factor, tensor_width(to),
				op_adds(r, i));
	}
}

/* Logits near N(0, 1), as those of a model: the softmax of much larger ones underflows, which is
   slow. Targets all over the vocabulary, but every nth masked; nth 0: none. */
static void set_inputs(const struct op_trial *t, long nth)
{
	const struct cross_entropy_attr *a = t->run.attr;
	const struct tensor *target = t->in[CROSS_ENTROPY_TARGET_BT],
		*x = t->in[CROSS_ENTROPY_X_BTD];
	double scale = 1 / sqrt((double)tensor_width(x));

	for (long i = 0; i < tensor_size(x); i++)
		op_trial_set(t, x, i, scale * op_trial_get(t, x, i));
	for (long i = 0; i < tensor_size(target); i++)
		op_trial_set(t, target, i,
			nth && i % nth == 0 ? -1 : (double)(i * 1013 % a->n_vocab));
}

static void prepare(const struct op_trial *t)
{
	set_inputs(t, 0);
}

/* Weights 0 to 2, every fifth token masked. */
static void prepare_weighted(const struct op_trial *t)
{
	const struct tensor *weight = t->in[CROSS_ENTROPY_WEIGHT_BT];

	set_inputs(t, 5);
	for (long i = 0; i < tensor_size(weight); i++)
		op_trial_set(t, weight, i, (double)(i * 7 % 5) / 2);
}

static void prepare_masked(const struct op_trial *t)
{
	set_inputs(t, 3);
}

static void prepare_all_masked(const struct op_trial *t)
{
	set_inputs(t, 1);
}

static const struct cross_entropy_attr example_whole = {.n_vocab = 32},
	example_padded = {.n_vocab = 37}, example_chunks = {.n_vocab = 1001};

static const struct op_example examples[] = {
	{.name = "whole vocabulary", .attr = &example_whole, .prepare = prepare,
		.in = {{2, 5, 12}, {32, 12}, {2, 5}}},
	{.name = "padded, masked", .attr = &example_padded, .prepare = prepare_masked,
		.in = {{3, 7, 21}, {48, 21}, {3, 7}}},
	{.name = "all masked", .attr = &example_padded, .prepare = prepare_all_masked,
		.in = {{1, 4, 8}, {48, 8}, {1, 4}}},
	{.name = "weighted", .attr = &example_padded, .prepare = prepare_weighted,
		.in = {{3, 7, 21}, {48, 21}, {3, 7}, {3, 7}}},
	{.name = "chunks", .attr = &example_chunks, .prepare = prepare_masked,
		.in = {{2, 45, 4}, {1032, 4}, {2, 45}}, .no_gradient_check = true},
};

const struct op op_cross_entropy = {
	.name = "cross_entropy",
	.formula = "logit = W x;  nll = log sum exp logit - logit[target];  loss = mean nll",
	.semantics = 1,
	.n_in = CROSS_ENTROPY_N_IN,
	.n_out = CROSS_ENTROPY_N_OUT,
	.n_saved = CROSS_ENTROPY_N_SAVED,
	.in = {
		[CROSS_ENTROPY_X_BTD] = {"x_BTD", 0},
		[CROSS_ENTROPY_W_VD] = {"w_VD", IN_WEIGHT},
		[CROSS_ENTROPY_TARGET_BT] = {"target_BT", IN_INDEX},
		[CROSS_ENTROPY_WEIGHT_BT] = {"weight_BT", IN_OPTIONAL | IN_MASTER | IN_NO_GRADIENT},
	},
	.out = {
		[CROSS_ENTROPY_LOSS] = {"loss", MASTER, false},
		[CROSS_ENTROPY_NLL_BT] = {"nll_BT", MASTER, true},
		[CROSS_ENTROPY_CORRECT_BT] = {"correct_BT", INDEX, true},
		[CROSS_ENTROPY_MEAN] = {"mean", MASTER, true},
	},
	.shape = cross_entropy_shape,
	.room = {[REF] = cross_entropy_room_ref, [CPU] = cross_entropy_room,
		[CUDA] = cross_entropy_room_cuda},
	.cost = cross_entropy_cost,
	.forward = {[REF] = cross_entropy_forward_ref, [CPU] = cross_entropy_forward,
		[CUDA] = OP_CUDA(cross_entropy_forward_cuda)},
	.backward = {[REF] = cross_entropy_backward_ref, [CPU] = cross_entropy_backward,
		[CUDA] = OP_CUDA(cross_entropy_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
