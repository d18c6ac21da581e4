#include "op/cross_entropy.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/cpu/cross_entropy.h"
#include "op/cuda/gemm.h"
#include "op/kit/vec.h"
#include "op/trial.h"

/* Logits of a chunk fill about CHUNK_BYTES, but products want CHUNK_ROWS rows. On a GPU 8,192 rows
   of 50,304 logits in bf16 are as fast as more of them. */
enum { CHUNK_BYTES = 64 << 20, CHUNK_ROWS = 512, ROUND = 16 };
enum { CHUNK_BYTES_CUDA = 8192 * 50304 * 2, CHUNK_ROWS_CUDA = 1024, ROUND_CUDA = 64, NARROW = 64 };

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

long cross_entropy_ld_cpu(long n_vocab)
{
	return ceil_div(n_vocab, ROUND) * ROUND;
}

long cross_entropy_chunk_cpu(long rows, long n_vocab, long d)
{
	return chunk_of(rows, CHUNK_BYTES / (long)sizeof(float) / cross_entropy_ld_cpu(n_vocab), CHUNK_ROWS, d);
}

long cross_entropy_ld_cuda(long n_columns)
{
	return ceil_div(n_columns, ROUND_CUDA) * ROUND_CUDA;
}

long cross_entropy_chunk_cuda(long rows, long n_columns, long d, size_t bytes)
{
	return chunk_of(rows, CHUNK_BYTES_CUDA / (long)bytes / cross_entropy_ld_cuda(n_columns),
		CHUNK_ROWS_CUDA, d);
}

static void check_copies(const struct op_shapes *s)
{
	const struct tensor *target = s->in[CROSS_ENTROPY_TARGET_BT], *gate = s->in[CROSS_ENTROPY_GATE_BT];
	const struct tensor *log_c = s->in[CROSS_ENTROPY_LOGC_BT], *mass = s->in[CROSS_ENTROPY_MASS_BTS];
	const struct tensor *token = s->in[CROSS_ENTROPY_TOKEN_BS];

	CHECK(!gate == !log_c && (gate || !mass) && !mass == !token);
	CHECK(!gate || (tensor_size(gate) == tensor_size(target) && tensor_width(gate) == 1));
	CHECK(!gate || tensor_same_shape(log_c, target));
	CHECK(!mass || (tensor_rows(mass) == tensor_size(target) && tensor_width(mass) >= target->dims[1]));
	CHECK(!mass || (token->dims[0] == target->dims[0] && token->dims[1] == tensor_width(mass)));
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
	check_copies(s);
	s->out[CROSS_ENTROPY_LOSS] = tensor_of(MASTER, 1, 1L);
	s->out[CROSS_ENTROPY_NLL_BT] = tensor_of(MASTER, 2, x->dims[0], x->dims[1]);
	s->out[CROSS_ENTROPY_CORRECT_BT] = tensor_of(INDEX, 2, x->dims[0], x->dims[1]);
	s->out[CROSS_ENTROPY_MEAN] = tensor_of(MASTER, 1, 1L);
	if (s->training) {
		s->saved[CROSS_ENTROPY_DX_BTD] = tensor_of(REAL, 3, x->dims[0], x->dims[1], d);
		s->saved[CROSS_ENTROPY_DW_VD] = tensor_of(MASTER, 2, w->dims[0], d);
	}
	if (s->training && s->in[CROSS_ENTROPY_GATE_BT])
		s->saved[CROSS_ENTROPY_DGATE_BT] = s->saved[CROSS_ENTROPY_DLOGC_BT] =
			tensor_of(MASTER, 2, x->dims[0], x->dims[1]);
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

	s->forward_workspace = (size_t)(cross_entropy_chunk_cpu(tensor_rows(x), attr->n_vocab, tensor_width(x)) *
		cross_entropy_ld_cpu(attr->n_vocab)) * sizeof(float);
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

static double weight_ref(const struct op_run *r, long t)
{
	const struct tensor *weight = r->in[CROSS_ENTROPY_WEIGHT_BT];

	return weight ? row_f64(weight, t / weight->dims[1])[t % weight->dims[1]] : 1;
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

/* nll_v: by the vocabulary alone */
static struct mixture mixture_ref(const struct op_run *r, long t, double nll_v)
{
	const struct tensor *gate = r->in[CROSS_ENTROPY_GATE_BT], *log_c = r->in[CROSS_ENTROPY_LOGC_BT];
	double own, copied, c = gate ? row_f64(log_c, t / log_c->dims[1])[t % log_c->dims[1]] : 1, g, nll;

	if (c > 0)
		return (struct mixture){nll_v, 1, 0, 1};
	g = sigmoid_f64(row_f64(gate, t)[0]);
	own = g * exp(-nll_v);
	copied = (1 - g) * exp(c);
	nll = -log(own + copied);
	return (struct mixture){nll, g, exp(c), own / (own + copied)};
}

/* Is no other token as probable as the target (a later one: more)? Mass is summed up on the way to the last
   place of a token, so the largest counts. */
static bool correct_ref(const struct op_run *r, long t, const double *logit, double lse, struct mixture m)
{
	const struct cross_entropy_attr *attr = r->attr;
	const struct tensor *mass = r->in[CROSS_ENTROPY_MASS_BTS];
	long target = target_at(r, t), T = r->in[CROSS_ENTROPY_TARGET_BT]->dims[1];
	double own = target < 0 ? 0 : mixture_p(&m, exp(logit[target] - lse), m.c);

	for (long v = 0; v < attr->n_vocab; v++) {
		double copied = 0, p;
		for (long s = 0, n = mass ? tensor_width(mass) - T : 0; mass && s < n + t % T; s++)
			if (row_int(r->in[CROSS_ENTROPY_TOKEN_BS], t / T)[s + 1] == v)
				copied = fmax(copied, row_f64(mass, t)[s]);
		p = mixture_p(&m, exp(logit[v] - lse), copied);
		if (v != target && (p > own || (p == own && v < target)))
			return false;
	}
	return target >= 0;
}

static void keep_ref(const struct op_run *r, long t, struct mixture m, double weight)
{
	const struct tensor *d_gate = r->saved[CROSS_ENTROPY_DGATE_BT], *d_log_c = r->saved[CROSS_ENTROPY_DLOGC_BT];

	if (!d_gate)
		return;
	row_f64(d_gate, t / d_gate->dims[1])[t % d_gate->dims[1]] = weight * (m.g - m.share);
	row_f64(d_log_c, t / d_gate->dims[1])[t % d_gate->dims[1]] = weight * (m.share - 1);
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
		double weight = target < 0 ? 0 : weight_ref(r, t) / (double)n_valid;
		struct mixture m = {0, 1, 0, 1};
		if (target >= 0)
			m = mixture_ref(r, t, lse - logit[target]);
		row_f64(nll, t / nll->dims[1])[t % nll->dims[1]] = m.nll;
		*int_at(r->out[CROSS_ENTROPY_CORRECT_BT], t) = r->in[CROSS_ENTROPY_GATE_BT]
			? correct_ref(r, t, logit, lse, m) : argmax == target;
		mean += target < 0 ? 0 : m.nll / (double)n_valid;
		loss += weight * m.nll;
		keep_ref(r, t, m, weight);
		if (r->saved[CROSS_ENTROPY_DX_BTD] && target >= 0)
			gradients_ref(r, t, logit, lse, weight * m.share);
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
	for (int i = CROSS_ENTROPY_GATE_BT; i <= CROSS_ENTROPY_LOGC_BT; i++) {
		const struct tensor *to = r->d_in[i], *from = r->saved[saved_of(i)];
		for (long t = 0; to && t < tensor_size(to); t++) {
			double *at = row_f64(to, t / tensor_width(to)) + t % tensor_width(to);
			double d = factor * row_f64(from, t / tensor_width(from))[t % tensor_width(from)];
			*at = d + (op_adds(r, i) ? *at : 0);
		}
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

/* Gates near 0 and far from it; of the copied shares some are 0, some tokens have nothing to copy from. */
static void prepare_copies(const struct op_trial *t)
{
	const struct tensor *log_c = t->in[CROSS_ENTROPY_LOGC_BT], *mass = t->in[CROSS_ENTROPY_MASS_BTS];

	set_inputs(t, 5);
	for (long i = 0; i < tensor_size(log_c); i++) {
		op_trial_set(t, log_c, i, i % 7 == 3 ? 1 : i % 7 == 5 ? -60 : -0.1 - (double)(i % 4));
		op_trial_set(t, t->in[CROSS_ENTROPY_GATE_BT], i, (double)(i % 3) * 2 - 2.5);
	}
	for (long i = 0; mass && i < tensor_size(mass); i++)
		op_trial_set(t, mass, i, (double)(i * 13 % 17) / 17);
	for (long i = 0; mass && i < tensor_size(t->in[CROSS_ENTROPY_TOKEN_BS]); i++)
		op_trial_set(t, t->in[CROSS_ENTROPY_TOKEN_BS], i, (double)(i * 5 % 31));
}

static void prepare_copies_weighted(const struct op_trial *t)
{
	prepare_copies(t);
	prepare_weighted(t);
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
	{.name = "copies", .attr = &example_padded, .prepare = prepare_copies,
		.in = {{3, 7, 21}, {48, 21}, {3, 7}, {0}, {3, 7, 1}, {3, 7}}},
	{.name = "copies, weighted", .attr = &example_padded, .prepare = prepare_copies_weighted,
		.in = {{3, 7, 21}, {48, 21}, {3, 7}, {3, 7}, {3, 7, 1}, {3, 7}, {3, 7, 7}, {3, 7}}},
	{.name = "copies of a window", .attr = &example_padded, .prepare = prepare_copies,
		.in = {{3, 7, 21}, {48, 21}, {3, 7}, {0}, {3, 7, 1}, {3, 7}, {3, 7, 12}, {3, 12}}},
	{.name = "chunks, copies", .attr = &example_chunks, .prepare = prepare_copies,
		.in = {{2, 45, 4}, {1032, 4}, {2, 45}, {0}, {2, 45, 1}, {2, 45}, {2, 45, 45}, {2, 45}},
		.no_gradient_check = true},
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
		[CROSS_ENTROPY_GATE_BT] = {"gate_BT", IN_OPTIONAL},
		[CROSS_ENTROPY_LOGC_BT] = {"log_c_BT", IN_OPTIONAL | IN_MASTER},
		[CROSS_ENTROPY_MASS_BTS] = {"mass_BTS", IN_OPTIONAL | IN_MASTER | IN_NO_GRADIENT},
		[CROSS_ENTROPY_TOKEN_BS] = {"token_BS", IN_OPTIONAL | IN_INDEX},
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
	.forward = {[REF] = cross_entropy_forward_ref, [CPU] = cross_entropy_forward_cpu,
		[CUDA] = OP_CUDA(cross_entropy_forward_cuda)},
	.backward = {[REF] = cross_entropy_backward_ref, [CPU] = cross_entropy_backward_cpu,
		[CUDA] = OP_CUDA(cross_entropy_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
