#include "op/noisy_load.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/kit/host.h"
#include "op/kit/token.h"
#include "op/trial.h"

enum { TILE = 64 };	/* tokens */

static long tiles_of_group(const struct noisy_load_attr *attr)
{
	return ceil_div(attr->group_tokens, TILE);
}

static long groups_of(const struct op_shapes *s)
{
	return tensor_rows(s->in[NOISY_LOAD_LOGIT_BTE]) / ((const struct noisy_load_attr *)s->attr)->group_tokens;
}

static void noisy_load_shape(struct op_shapes *s)
{
	const struct noisy_load_attr *attr = s->attr;
	const struct tensor *logit = s->in[NOISY_LOAD_LOGIT_BTE], *width = s->in[NOISY_LOAD_WIDTH_BTE],
		*mask = s->in[NOISY_LOAD_MASK_BT];

	CHECK(logit->n_dims == 3 && tensor_same_shape(logit, s->in[NOISY_LOAD_NOISY_BTE]));
	CHECK(!width || tensor_same_shape(logit, width));
	CHECK(!mask || tensor_size(mask) == tensor_rows(logit));
	CHECK(attr->k >= 1 && attr->k < tensor_width(logit) && attr->scale > 0);
	CHECK(attr->group_tokens > 0 && tensor_rows(logit) % attr->group_tokens == 0);
	s->out[NOISY_LOAD_LOSS] = tensor_of(MASTER, 1, 1L);
	s->saved[NOISY_LOAD_SLOPE_GE] = tensor_of(MASTER, 2, groups_of(s), tensor_width(logit));
}

/* Of each tile of a group the loads and the number of tokens. */
static void noisy_load_room_cpu(struct op_shapes *s)
{
	s->forward_workspace = (size_t)(groups_of(s) * tiles_of_group(s->attr)) *
		(size_t)(tensor_width(s->in[NOISY_LOAD_LOGIT_BTE]) + 1) * sizeof(double);
}

static void noisy_load_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct noisy_load_attr *attr = s->attr;
	double n = (double)tensor_size(s->in[NOISY_LOAD_LOGIT_BTE]);

	/* A comparison for each choice and one more; sigma, difference, quotient, Phi, sum; its gradient. */
	c->forward_flops = n * (double)(attr->k + 7);
	c->backward_flops = n * (double)(attr->k + 12);
	c->executed_flops = c->forward_flops + c->backward_flops;
	c->forward_bytes = op_io_bytes(&op_noisy_load, s);
	c->backward_bytes = 2 * c->forward_bytes;
}

/* ---- for all hosts, in float64 but for the kernels' inputs ----------------------------------- */

static void add_to(const struct op_run *r, const struct tensor *x, long t, long e, double v)
{
	if (r->device->bytes[MASTER] == sizeof(double))
		row_f64(x, t)[e] += v;
	else
		row_f32(x, t)[e] += (float)v;
}

static bool valid(const struct op_run *r, long t)
{
	return token_there(r->in[NOISY_LOAD_MASK_BT], t);
}

/* Is expert i ahead of j in the order of noisy logits? */
static bool ahead(const struct op_run *r, long t, long i, long j)
{
	double a = host_get(r, r->in[NOISY_LOAD_NOISY_BTE], t, i), b = host_get(r, r->in[NOISY_LOAD_NOISY_BTE], t, j);

	return a > b || (a == b && i < j);
}

/* The k-th of token t in that order and the one behind it; -1: logits are no numbers. */
static void find_bounds(const struct op_run *r, long t, long *in, long *out)
{
	const struct noisy_load_attr *attr = r->attr;
	long E = tensor_width(r->in[NOISY_LOAD_NOISY_BTE]);

	*in = *out = -1;
	for (long n = 0; n <= attr->k; n++) {
		long best = -1;
		for (long e = 0; e < E; e++)
			if ((n == 0 || ahead(r, t, *out, e)) && (best < 0 || ahead(r, t, e, best)))
				best = e;
		*in = *out;
		*out = best;
	}
	*in = *out < 0 ? -1 : *in;
}

static double sigma_of(const struct op_run *r, long t, long e)
{
	const struct noisy_load_attr *attr = r->attr;
	const struct tensor *width = r->in[NOISY_LOAD_WIDTH_BTE];
	double w = width ? host_get(r, width, t, e) : 0;

	return attr->scale * (!width ? 1 : w > 30 ? w : log1p(exp(w)));
}

/* What expert e of token t is held against: its place. */
static long bound_of(const struct op_run *r, long t, long e, long in, long out)
{
	return e == in || ahead(r, t, e, in) ? out : in;
}

static double z_of(const struct op_run *r, long t, long e, long bound)
{
	return (host_get(r, r->in[NOISY_LOAD_LOGIT_BTE], t, e) -
		host_get(r, r->in[NOISY_LOAD_NOISY_BTE], t, bound)) / sigma_of(r, t, e);
}

/* Loads of tokens from to end - 1; gives the number of valid ones. */
static double sum_loads(const struct op_run *r, long from, long end, double *load_E)
{
	long E = tensor_width(r->in[NOISY_LOAD_LOGIT_BTE]), in, out;
	double n = 0;

	for (long e = 0; e < E; e++)
		load_E[e] = 0;
	for (long t = from; t < end; t++) {
		if (!valid(r, t))
			continue;
		find_bounds(r, t, &in, &out);
		for (long e = 0; e < E; e++)
			load_E[e] += in < 0 ? (double)NAN :
				erfc(-z_of(r, t, e, bound_of(r, t, e, in, out)) / sqrt(2)) / 2;
		n++;
	}
	return n;
}

/* Slopes of group g, one of M; its part of LOSS. */
static double settle_group(const struct op_run *r, long g, const double *load_E, double M)
{
	const struct tensor *slope = r->saved[NOISY_LOAD_SLOPE_GE];
	long E = tensor_width(slope);
	double m = 0, V = 0;

	for (long e = 0; e < E; e++)
		m += load_E[e] / (double)E;
	for (long e = 0; e < E; e++)
		V += (load_E[e] - m) * (load_E[e] - m) / (double)E;
	for (long e = 0; e < E; e++)
		add_to(r, slope, g, e, 2 * (load_E[e] - m - V / m) / ((double)E * m * m * M));
	return V / (m * m * M);
}

static void clear(const struct op_run *r, const struct tensor *x)
{
	for (long row = 0; row < tensor_rows(x); row++)
		memset((char *)x->at + (size_t)(row * x->ld) * r->device->bytes[MASTER], 0,
			(size_t)tensor_width(x) * r->device->bytes[MASTER]);
}

/* All tiles of a group into its first, in order. */
static void add_tiles(double *load_TE, double *n_T, long tiles, long E)
{
	for (long i = 1; i < tiles; i++) {
		n_T[0] += n_T[i];
		for (long e = 0; e < E; e++)
			load_TE[e] += load_TE[i * E + e];
	}
}

static void noisy_load_forward(const struct op_run *r)
{
	const struct noisy_load_attr *attr = r->attr;
	const struct tensor *slope = r->saved[NOISY_LOAD_SLOPE_GE];
	long E = tensor_width(slope), G = tensor_rows(slope), of_group = tiles_of_group(attr);
	double *load_TE = r->workspace, *n_T = load_TE + G * of_group * E, loss = 0, M = 0;

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < G * of_group; i++) {
		long begin = i / of_group * attr->group_tokens, from = begin + i % of_group * TILE,
			end = begin + attr->group_tokens;
		n_T[i] = sum_loads(r, from, min_long(from + TILE, end), load_TE + i * E);
	}
	for (long g = 0; g < G; g++) {
		add_tiles(load_TE + g * of_group * E, n_T + g * of_group, of_group, E);
		M += n_T[g * of_group] > 0;
	}
	clear(r, slope);
	for (long g = 0; g < G; g++)
		loss += n_T[g * of_group] > 0 ? settle_group(r, g, load_TE + g * of_group * E, M) : 0;
	clear(r, r->out[NOISY_LOAD_LOSS]);
	add_to(r, r->out[NOISY_LOAD_LOSS], 0, 0, loss);
}

/* Gradients of one token, which are there already. */
static void token_gradient(const struct op_run *r, long t, double d)
{
	const struct noisy_load_attr *attr = r->attr;
	const struct tensor *slope = r->saved[NOISY_LOAD_SLOPE_GE], *width = r->in[NOISY_LOAD_WIDTH_BTE];
	long in, out;

	find_bounds(r, t, &in, &out);
	for (long e = 0; e < tensor_width(slope) && in >= 0; e++) {
		long bound = bound_of(r, t, e, in, out);
		double z = z_of(r, t, e, bound), sigma = sigma_of(r, t, e);
		double q = d * host_get(r, slope, t / attr->group_tokens, e) * exp(-z * z / 2) / sqrt(2 * M_PI) / sigma;
		if (r->d_in[NOISY_LOAD_LOGIT_BTE])
			add_to(r, r->d_in[NOISY_LOAD_LOGIT_BTE], t, e, q);
		if (r->d_in[NOISY_LOAD_NOISY_BTE])
			add_to(r, r->d_in[NOISY_LOAD_NOISY_BTE], t, bound, -q);
		if (r->d_in[NOISY_LOAD_WIDTH_BTE])
			add_to(r, r->d_in[NOISY_LOAD_WIDTH_BTE], t, e, -q * z * attr->scale /
				(1 + exp(-host_get(r, width, t, e))));
	}
}

static void noisy_load_backward(const struct op_run *r)
{
	double d = host_get(r, r->d_out[NOISY_LOAD_LOSS], 0, 0);

	for (int i = NOISY_LOAD_LOGIT_BTE; i <= NOISY_LOAD_WIDTH_BTE; i++)
		if (r->d_in[i] && !op_adds(r, i))
			clear(r, r->d_in[i]);
	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(r->in[NOISY_LOAD_LOGIT_BTE]); t++)
		if (valid(r, t))
			token_gradient(r, t, d);
}

/* Noise that moves some choices; every third token is masked where there is a mask. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *logit = t->in[NOISY_LOAD_LOGIT_BTE], *noisy = t->in[NOISY_LOAD_NOISY_BTE],
		*mask = t->in[NOISY_LOAD_MASK_BT];

	for (long i = 0; i < tensor_size(noisy); i++)
		op_trial_set(t, noisy, i, (float)(op_trial_get(t, logit, i) + 0.5 * sin(12.9898 * (double)(i + 1))));
	for (long i = 0; mask && i < tensor_size(mask); i++)
		op_trial_set(t, mask, i, i % 3 == 2 ? -1 : 0);
}

static const struct noisy_load_attr one = {1, 0.7, 20}, two = {2, 1, 7}, four = {4, 0.5, 150}, all = {2, 1, 6},
	single = {1, 1, 1};

static const struct op_example examples[] = {
	{.name = "one choice", .attr = &one, .prepare = prepare, .in = {{2, 10, 4}, {2, 10, 4}}},
	{.name = "width, mask, groups", .attr = &two, .prepare = prepare,
		.in = {{3, 7, 5}, {3, 7, 5}, {3, 7, 5}, {3, 7}}},
	{.name = "several tiles in a group", .attr = &four, .prepare = prepare,
		.in = {{3, 100, 40}, {3, 100, 40}, {3, 100, 40}}},
	{.name = "all but one", .attr = &all, .prepare = prepare, .in = {{2, 6, 3}, {2, 6, 3}}},
	{.name = "groups without valid tokens", .attr = &single, .prepare = prepare,
		.in = {[NOISY_LOAD_LOGIT_BTE] = {2, 6, 3}, [NOISY_LOAD_NOISY_BTE] = {2, 6, 3},
			[NOISY_LOAD_MASK_BT] = {2, 6}}},
};

const struct op op_noisy_load = {
	.name = "noisy_load",
	.formula = "CV^2 of L, L_j = sum_t Phi((logit_tj - k-th noisy logit of the others) / sigma_tj)",
	.semantics = 1,
	.n_in = NOISY_LOAD_N_IN,
	.n_out = NOISY_LOAD_N_OUT,
	.n_saved = NOISY_LOAD_N_SAVED,
	.in = {
		[NOISY_LOAD_LOGIT_BTE] = {"logit", IN_MASTER},
		[NOISY_LOAD_NOISY_BTE] = {"noisy", IN_MASTER},
		[NOISY_LOAD_WIDTH_BTE] = {"width", IN_MASTER | IN_OPTIONAL},
		[NOISY_LOAD_MASK_BT] = {"mask", IN_INDEX | IN_OPTIONAL},
	},
	.out = {[NOISY_LOAD_LOSS] = {"loss", MASTER, false}},
	.shape = noisy_load_shape,
	.room = {[REF] = noisy_load_room_cpu, [CPU] = noisy_load_room_cpu, [CUDA] = OP_CUDA(noisy_load_room_cuda)},
	.cost = noisy_load_cost,
	.backward_reads_in = READS(NOISY_LOAD_LOGIT_BTE) | READS(NOISY_LOAD_NOISY_BTE) | READS(NOISY_LOAD_WIDTH_BTE) |
		READS(NOISY_LOAD_MASK_BT),
	.forward = {[REF] = noisy_load_forward, [CPU] = noisy_load_forward,
		[CUDA] = OP_CUDA(noisy_load_forward_cuda)},
	.backward = {[REF] = noisy_load_backward, [CPU] = noisy_load_backward,
		[CUDA] = OP_CUDA(noisy_load_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
