#include "op/cpu/cross_entropy.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "op/kit/gemm.h"
#include "op/kit/vec.h"

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

/* As mixture_ref(), by logarithms: neither probability need be a float. */
static struct mixture mixture_of(const struct op_run *r, long t, float nll_v)
{
	const struct tensor *gate = r->in[CROSS_ENTROPY_GATE_BT], *log_c = r->in[CROSS_ENTROPY_LOGC_BT];
	double c = row_f32(log_c, t / log_c->dims[1])[t % log_c->dims[1]], z = *row_f32(gate, t), own, copied, most;

	if (c > 0)
		return (struct mixture){nll_v, 1, 0, 1};
	own = -(fmax(-z, 0) + log1p(exp(-fabs(z)))) - nll_v;	/* log g, and of 1 - g */
	copied = -(fmax(z, 0) + log1p(exp(-fabs(z)))) + c;
	most = fmax(own, copied) + log1p(exp(-fabs(own - copied)));
	return (struct mixture){-most, 1 / (1 + exp(-z)), exp(c), exp(own - most)};
}

/* e: of logits, exp(logit - most), with this sum. */
static bool correct_of(const struct op_run *r, long t, const float *e, float sum, struct mixture m)
{
	const struct cross_entropy_attr *attr = r->attr;
	const struct tensor *mass = r->in[CROSS_ENTROPY_MASS_BTS], *token = r->in[CROSS_ENTROPY_TOKEN_BS];
	long target = target_at(r, t), n = attr->n_vocab, T = r->in[CROSS_ENTROPY_TARGET_BT]->dims[1];
	double p = mixture_p(&m, e[target] / sum, m.c);

	if (mixture_p(&m, largest(e, target) / sum, 0) >= p ||
		mixture_p(&m, largest(e + target + 1, n - target - 1) / sum, 0) > p)
		return false;
	for (long s = 0, end = mass ? tensor_width(mass) - T + t % T : 0; s < end; s++) {
		int v = row_int(token, t / T)[s + 1];
		double other = v == target ? 0 : mixture_p(&m, e[v] / sum, row_f32(mass, t)[s]);
		if (other > p || (other == p && v < target))
			return false;
	}
	return true;
}

static void keep(const struct op_run *r, long t, struct mixture m, float weight)
{
	const struct tensor *d_gate = r->saved[CROSS_ENTROPY_DGATE_BT], *d_log_c = r->saved[CROSS_ENTROPY_DLOGC_BT];

	if (!d_gate)
		return;
	row_f32(d_gate, t / d_gate->dims[1])[t % d_gate->dims[1]] = (float)(weight * (m.g - m.share));
	row_f32(d_log_c, t / d_gate->dims[1])[t % d_gate->dims[1]] = (float)(weight * (m.share - 1));
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
		keep(r, t, (struct mixture){0, 1, 0, 1}, 0);
		return;
	}
	float before = largest(logit, target), from = largest(logit + target, n - target);
	float own = logit[target], most = before > from ? before : from;
	float sum = exp_row(logit, n, most), scale;
	*nll_t = logf(sum) + most - own;
	*correct_t = own > before && own >= from;
	if (r->in[CROSS_ENTROPY_GATE_BT]) {
		struct mixture m = mixture_of(r, t, *nll_t);
		*nll_t = (float)m.nll;
		*correct_t = correct_of(r, t, logit, sum, m);
		keep(r, t, m, weight);
		weight *= (float)m.share;
	}
	if (!r->saved[CROSS_ENTROPY_DX_BTD])
		return;
	scale = weight / sum;
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
	long d = tensor_width(x), n = attr->n_vocab, ld = cross_entropy_ld_cpu(n);
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

void cross_entropy_forward_cpu(const struct op_run *r)
{
	const struct cross_entropy_attr *attr = r->attr;
	const struct tensor *dw = r->saved[CROSS_ENTROPY_DW_VD];
	long rows = tensor_rows(r->in[CROSS_ENTROPY_X_BTD]), n_valid = count_valid(r);
	long chunk = cross_entropy_chunk_cpu(rows, attr->n_vocab, tensor_width(r->in[CROSS_ENTROPY_X_BTD]));
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

void cross_entropy_backward_cpu(const struct op_run *r)
{
	const struct tensor *d_loss = r->d_out[CROSS_ENTROPY_LOSS];
	float factor = d_loss ? *row_f32(d_loss, 0) : 0;

	for (int i = 0; i < CROSS_ENTROPY_N_IN; i++) {
		const struct tensor *to = r->d_in[i], *from = r->saved[saved_of(i)];
		if (!to)
			continue;
		long width = tensor_width(to);	/* the gate's rows are one wide: its gradient's are contiguous */
		#pragma omp parallel for schedule(static)
		for (long t = 0; t < tensor_rows(to); t++)
			scale_row(row_f32(to, t), (float *)from->at + t * width, factor, width, op_adds(r, i));
	}
}
