/*
 * The derivative. Let token t of group g choose e; N valid tokens in g, M groups that have any, E
 * experts, n_gj tokens of g that chose j. What p_tj moves, with f held fixed:
 *   a_tj = [j = e and t kept] d_gate_t  +  d_balance E f_gj / (N M),   f_gj = n_gj / N
 * Through the softmax, and z through d lse / d logit_j = p_j:
 *   dlogit_tj = p_tj (a_tj - sum_k p_tk a_tk  +  d_z 2 lse_t / (N M));   masked tokens: 0
 *   dx_t = W^T dlogit_t;   dW = sum_t dlogit_t x_t^T
 */
#include "op/route.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "op/cpu/route.h"
#include "op/kit/gradient.h"
#include "op/kit/token.h"
#include "op/place.h"
#include "op/trial.h"

static void route_shape(struct op_shapes *s)
{
	const struct route_attr *attr = s->attr;
	const struct tensor *x = s->in[ROUTE_X_BTD], *w = s->in[ROUTE_W_ED],
		*mask = s->in[ROUTE_MASK_BT];

	CHECK(x->n_dims == 3 && w->n_dims == 2 && w->dims[1] == x->dims[2]);
	long B = x->dims[0], T = x->dims[1], E = w->dims[0];
	CHECK(!mask || (mask->n_dims == 2 && mask->dims[0] == B && mask->dims[1] == T));
	CHECK(attr->group_tokens > 0 && B * T % attr->group_tokens == 0 && attr->capacity >= 0);
	long group = attr->group_tokens,
		taken = attr->capacity && attr->capacity < group ? attr->capacity : group;
	s->out[ROUTE_GATE_BT] = tensor_of(MASTER, 2, B, T);
	s->out[ROUTE_BALANCE] = tensor_of(MASTER, 1, 1L);
	s->out[ROUTE_Z] = tensor_of(MASTER, 1, 1L);
	s->out[ROUTE_SLOT_BT] = tensor_of(INDEX, 2, B, T);
	s->out[ROUTE_FIRST_E1] = tensor_of(INDEX, 1, E + 1);
	s->out[ROUTE_TOKEN_S] = place_buffer(s->device, B * T, B * T / group, taken, E);
	s->out[ROUTE_COUNT_E] = tensor_of(INDEX, 1, E);
	s->out[ROUTE_EXPERT_BT] = tensor_of(INDEX, 2, B, T);
	s->out[ROUTE_LOAD_E] = tensor_of(MASTER, 1, E);
	s->out[ROUTE_DROPPED] = tensor_of(MASTER, 1, 2L);
	s->out[ROUTE_ENTROPY] = tensor_of(MASTER, 1, 1L);
	s->saved[ROUTE_P_EBT] = tensor_of(MASTER, 2, E, B * T);
	s->saved[ROUTE_COUNT_GE] = tensor_of(INDEX, 2, B * T / attr->group_tokens, E);
	s->saved[ROUTE_LSE_BT] = tensor_of(MASTER, 2, B, T);
}

static void route_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_rows(s->in[ROUTE_X_BTD]);
	double weights = (double)tensor_size(s->in[ROUTE_W_ED]);
	double choices = n * (double)s->in[ROUTE_W_ED]->dims[0];

	/* Per choice: maximum, exp, sum, scale, two means. */
	c->forward_flops = 2 * n * weights + 6 * choices;
	c->backward_flops = 4 * n * weights + 5 * choices;
	c->executed_flops = c->forward_flops + c->backward_flops;
	c->forward_bytes = op_io_bytes(&op_route, s);
	c->backward_bytes = 2 * c->forward_bytes;
}

/* Number of valid tokens of group g, and of groups that have any. */
static long valid_ref(const struct tensor *count_GE, long g)
{
	long n = 0;

	for (long e = 0; e < tensor_width(count_GE); e++)
		n += row_int(count_GE, g)[e];
	return n;
}

static long groups_ref(const struct tensor *count_GE)
{
	long n = 0;

	for (long g = 0; g < tensor_rows(count_GE); g++)
		n += valid_ref(count_GE, g) > 0;
	return n;
}

/* p, lse and argmax of one token; returns its entropy. */
static double choose_ref(const struct op_run *r, long t)
{
	const struct tensor *x = r->in[ROUTE_X_BTD], *w = r->in[ROUTE_W_ED],
		*p = r->saved[ROUTE_P_EBT];
	long E = w->dims[0], best = 0;
	double sum = 0, entropy = 0;

	for (long e = 0; e < E; e++) {
		double logit = 0;
		for (long i = 0; i < tensor_width(x); i++)
			logit += row_f64(w, e)[i] * row_f64(x, t)[i];
		row_f64(p, e)[t] = logit;
		if (logit > row_f64(p, best)[t])
			best = e;
	}
	double most = row_f64(p, best)[t];
	for (long e = 0; e < E; e++)
		sum += exp(row_f64(p, e)[t] - most);
	double lse = most + log(sum);
	for (long e = 0; e < E; e++) {
		double logit = row_f64(p, e)[t];
		row_f64(p, e)[t] = exp(logit - lse);
		entropy += exp(logit - lse) * (lse - logit);
	}
	*f64_at(r->saved[ROUTE_LSE_BT], t) = lse;
	*int_at(r->out[ROUTE_EXPERT_BT], t) = (int)best;
	return entropy;
}

/* Slots in the order of expert, then token; gates; the number dropped. */
static long place_ref(const struct op_run *r)
{
	const struct route_attr *attr = r->attr;
	const struct tensor *first = r->out[ROUTE_FIRST_E1], *expert = r->out[ROUTE_EXPERT_BT];
	long n = tensor_size(expert), E = tensor_width(first) - 1, dropped = 0;
	int slot = 0, *token = row_int(r->out[ROUTE_TOKEN_S], 0);

	for (long s = 0; s < tensor_size(r->out[ROUTE_TOKEN_S]); s++)
		token[s] = -1;
	for (long t = 0; t < n; t++) {
		*int_at(r->out[ROUTE_SLOT_BT], t) = -1;
		*f64_at(r->out[ROUTE_GATE_BT], t) = 0;
	}
	for (long e = 0; e < E; e++) {
		long taken = 0;
		row_int(first, 0)[e] = slot;
		for (long t = 0; t < n; t++) {
			if (t % attr->group_tokens == 0)
				taken = 0;
			if (*int_at(expert, t) != e)
				continue;
			if (attr->capacity && taken == attr->capacity) {
				dropped++;
				continue;
			}
			taken++;
			token[slot] = (int)t;
			*int_at(r->out[ROUTE_SLOT_BT], t) = slot++;
			*f64_at(r->out[ROUTE_GATE_BT], t) = row_f64(r->saved[ROUTE_P_EBT], e)[t];
		}
		row_int(r->out[ROUTE_COUNT_E], 0)[e] = slot - row_int(first, 0)[e];
	}
	row_int(first, 0)[E] = slot;
	return dropped;
}

/* f_i, P_i of group g; returns E sum_i f_i P_i. */
static double balance_ref(const struct op_run *r, long g, long size)
{
	const struct tensor *count = r->saved[ROUTE_COUNT_GE], *expert = r->out[ROUTE_EXPERT_BT];
	double n = (double)valid_ref(count, g), sum = 0;

	for (long e = 0; e < tensor_width(count); e++) {
		double p = 0;
		for (long t = g * size; t < (g + 1) * size; t++)
			if (*int_at(expert, t) >= 0)
				p += row_f64(r->saved[ROUTE_P_EBT], e)[t];
		sum += row_int(count, g)[e] / n * p / n;
	}
	return (double)tensor_width(count) * sum;
}

static double z_ref(const struct op_run *r, long g, long size)
{
	double sum = 0;

	for (long t = g * size; t < (g + 1) * size; t++)
		if (*int_at(r->out[ROUTE_EXPERT_BT], t) >= 0)
			sum += pow(*f64_at(r->saved[ROUTE_LSE_BT], t), 2);
	return sum / (double)valid_ref(r->saved[ROUTE_COUNT_GE], g);
}

/* The expert of each token, how many chose which, the mean entropy; returns how many tokens are there. */
static double choose_all_ref(const struct op_run *r, long size)
{
	const struct tensor *mask = r->in[ROUTE_MASK_BT], *count = r->saved[ROUTE_COUNT_GE];
	double entropy = 0, valid = 0;

	for (long i = 0; i < tensor_size(count); i++)
		row_int(count, 0)[i] = 0;
	for (long t = 0; t < tensor_rows(r->in[ROUTE_X_BTD]); t++) {
		double h = choose_ref(r, t);
		int *e = int_at(r->out[ROUTE_EXPERT_BT], t);
		if (mask && *int_at(mask, t) < 0) {
			*e = -1;
			continue;
		}
		row_int(count, t / size)[*e]++;
		entropy += h;
		valid++;
	}
	*row_f64(r->out[ROUTE_ENTROPY], 0) = valid > 0 ? entropy / valid : 0;
	return valid;
}

static void route_forward_ref(const struct op_run *r)
{
	const struct tensor *count = r->saved[ROUTE_COUNT_GE];
	long G = tensor_rows(count), size = tensor_rows(r->in[ROUTE_X_BTD]) / G;
	double balance = 0, z = 0, valid = choose_all_ref(r, size);
	long dropped = place_ref(r), groups = groups_ref(count);

	for (long g = 0; g < G; g++)
		if (valid_ref(count, g) > 0) {
			balance += balance_ref(r, g, size) / (double)groups;
			z += z_ref(r, g, size) / (double)groups;
		}
	for (long e = 0; e < tensor_width(count); e++) {
		double *load = &row_f64(r->out[ROUTE_LOAD_E], 0)[e];
		*load = 0;
		for (long g = 0; g < G && valid > 0; g++)
			*load += row_int(count, g)[e] / valid;
	}
	*row_f64(r->out[ROUTE_BALANCE], 0) = balance;
	*row_f64(r->out[ROUTE_Z], 0) = z;
	row_f64(r->out[ROUTE_DROPPED], 0)[0] = (double)dropped;
	row_f64(r->out[ROUTE_DROPPED], 0)[1] = valid;
}

static double scalar_ref(const struct tensor *d)
{
	return d ? *row_f64(d, 0) : 0;
}

static double dlogit_ref(const struct op_run *r, long t, long j)
{
	const struct tensor *p = r->saved[ROUTE_P_EBT], *count = r->saved[ROUTE_COUNT_GE],
		*d_gate = r->d_out[ROUTE_GATE_BT];
	long E = tensor_width(count), g = t / (tensor_width(p) / tensor_rows(count));
	double N = (double)valid_ref(count, g), M = (double)groups_ref(count);
	double d_balance = scalar_ref(r->d_out[ROUTE_BALANCE]), d_z = scalar_ref(r->d_out[ROUTE_Z]);
	int chosen = *int_at(r->out[ROUTE_EXPERT_BT], t);
	bool kept = *int_at(r->out[ROUTE_SLOT_BT], t) >= 0;
	double a_j = 0, mean = 0;

	if (chosen < 0)
		return 0;
	for (long k = 0; k < E; k++) {
		double a = d_balance * (double)E * row_int(count, g)[k] / N / (N * M);
		if (k == chosen && kept && d_gate)
			a += *f64_at(d_gate, t);
		mean += row_f64(p, k)[t] * a;
		if (k == j)
			a_j = a;
	}
	double z = d_z * 2 * *f64_at(r->saved[ROUTE_LSE_BT], t) / (N * M);
	return row_f64(p, j)[t] * (a_j - mean + z);
}

static void route_backward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[ROUTE_X_BTD], *w = r->in[ROUTE_W_ED];

	clear_gradient(r, ROUTE_X_BTD);
	clear_gradient(r, ROUTE_W_ED);
	for (long t = 0; t < tensor_rows(x); t++)
		for (long e = 0; e < w->dims[0]; e++) {
			double d = dlogit_ref(r, t, e);
			for (long i = 0; i < tensor_width(x); i++) {
				add_gradient(r, ROUTE_X_BTD, t, i, d * row_f64(w, e)[i]);
				add_gradient(r, ROUTE_W_ED, e, i, d * row_f64(x, t)[i]);
			}
		}
}

/* All elements of a tensor of the trial; the caller frees them. */
static double *elements(const struct op_trial *t, const struct tensor *a)
{
	double *list = xmalloc((size_t)tensor_size(a) * sizeof *list);

	for (long i = 0; i < tensor_size(a); i++)
		list[i] = op_trial_get(t, a, i);
	return list;
}

/* The two experts of the largest logits of a token; how far these are apart. */
static double two_best(const double *w_ED, const double *x_D, long E, long D, long order[2])
{
	double logit[2] = {-INFINITY, -INFINITY};

	for (long e = 0; e < E; e++) {
		double v = 0;
		for (long k = 0; k < D; k++)
			v += w_ED[e * D + k] * x_D[k];
		int place = v > logit[0] ? 0 : v > logit[1] ? 1 : 2;
		if (place == 0)
			logit[1] = logit[0], order[1] = order[0];
		if (place < 2)
			logit[place] = v, order[place] = e;
	}
	return logit[0] - logit[1];
}

/* Differences must not carry a token over to another expert: where the first two logits are close,
   move x along the difference of their rows of W until they are apart. Every third token is masked
   where there is a mask, so the second example's last group of one holds none at all. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *x = t->in[ROUTE_X_BTD], *w = t->in[ROUTE_W_ED],
		*mask = t->in[ROUTE_MASK_BT];
	double *x_ND = elements(t, x), *w_ED = elements(t, w);
	long D = tensor_width(x), order[2] = {0, 0};

	for (long i = 0; i < tensor_rows(x); i++) {
		bool close = two_best(w_ED, x_ND + i * D, w->dims[0], D, order) < 0.1;
		for (long k = 0; close && k < D; k++)
			op_trial_set(t, x, i * D + k, x_ND[i * D + k] +
				0.2 * (w_ED[order[0] * D + k] - w_ED[order[1] * D + k]));
		if (mask)
			op_trial_set(t, mask, i, i % 3 == 2 ? -1 : 0);
	}
	free(x_ND);
	free(w_ED);
}

static const struct route_attr one_group = {20, 0}, groups_of_7 = {7, 2}, groups_of_1 = {1, 0},
	tight = {70, 5}, tiled = {150, 30}, groups_of_52 = {52, 0}, groups_of_48 = {48, 3},
	groups_of_260 = {260, 100}, groups_of_2 = {2, 1};

static const struct op_example examples[] = {
	{.name = "dropless", .attr = &one_group, .prepare = prepare,
		.in = {[ROUTE_X_BTD] = {2, 10, 5}, [ROUTE_W_ED] = {4, 5}}},
	{.name = "masked, groups of 7, drops", .attr = &groups_of_7, .prepare = prepare,
		.in = {[ROUTE_X_BTD] = {3, 7, 6}, [ROUTE_W_ED] = {3, 6}, [ROUTE_MASK_BT] = {3, 7}}},
	{.name = "groups without valid tokens", .attr = &groups_of_1, .prepare = prepare,
		.in = {[ROUTE_X_BTD] = {2, 6, 4}, [ROUTE_W_ED] = {3, 4}, [ROUTE_MASK_BT] = {2, 6}}},
	{.name = "one expert, drops", .attr = &tight, .prepare = prepare,
		.in = {[ROUTE_X_BTD] = {2, 35, 3}, [ROUTE_W_ED] = {1, 3}}},
	{.name = "several tiles in a group", .attr = &tiled, .prepare = prepare,
		.in = {[ROUTE_X_BTD] = {3, 100, 8}, [ROUTE_W_ED] = {6, 8}}},
	{.name = "segments of any length", .attr = &groups_of_52, .prepare = prepare,
		.in = {[ROUTE_X_BTD] = {3, 104, 24}, [ROUTE_W_ED] = {7, 24},
			[ROUTE_MASK_BT] = {3, 104}}},
	{.name = "many experts", .attr = &groups_of_48, .prepare = prepare,
		.in = {[ROUTE_X_BTD] = {2, 48, 40}, [ROUTE_W_ED] = {75, 40}}},
	{.name = "many groups", .attr = &groups_of_2, .prepare = prepare,
		.in = {[ROUTE_X_BTD] = {2, 40, 4}, [ROUTE_W_ED] = {3, 4}}},
	{.name = "several parts of a gradient", .attr = &groups_of_260, .prepare = prepare,
		.in = {[ROUTE_X_BTD] = {2, 520, 16}, [ROUTE_W_ED] = {3, 16}}},
};

const struct op op_route = {
	.name = "route",
	.formula = "p = softmax(W x);  e = argmax p;  gate = p[e];  balance = E sum_i f_i P_i",
	.semantics = 1,
	.n_in = ROUTE_N_IN,
	.n_out = ROUTE_N_OUT,
	.n_saved = ROUTE_N_SAVED,
	.in = {
		[ROUTE_X_BTD] = {"x", 0},
		[ROUTE_W_ED] = {"w", IN_MASTER},
		[ROUTE_MASK_BT] = {"mask", IN_OPTIONAL | IN_INDEX},
	},
	.out = {
		[ROUTE_GATE_BT] = {"gate", MASTER, false},
		[ROUTE_BALANCE] = {"balance", MASTER, false},
		[ROUTE_Z] = {"z", MASTER, false},
		[ROUTE_SLOT_BT] = {"slot", INDEX, true},
		[ROUTE_FIRST_E1] = {"first", INDEX, true},
		[ROUTE_TOKEN_S] = {"token", INDEX, true},
		[ROUTE_COUNT_E] = {"count", INDEX, true},
		[ROUTE_EXPERT_BT] = {"expert", INDEX, true},
		[ROUTE_LOAD_E] = {"load", MASTER, true},
		[ROUTE_DROPPED] = {"dropped", MASTER, true},
		[ROUTE_ENTROPY] = {"entropy", MASTER, true},
	},
	.shape = route_shape,
	.room = {[CPU] = route_room_cpu, [CUDA] = OP_CUDA(route_room_cuda)},
	.cost = route_cost,
	.backward_reads_in = READS(ROUTE_X_BTD) | READS(ROUTE_W_ED),
	.backward_reads_out = READS(ROUTE_SLOT_BT) | READS(ROUTE_EXPERT_BT),
	.forward = {[REF] = route_forward_ref, [CPU] = route_forward_cpu,
		[CUDA] = OP_CUDA(route_forward_cuda)},
	.backward = {[REF] = route_backward_ref, [CPU] = route_backward_cpu,
		[CUDA] = OP_CUDA(route_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
