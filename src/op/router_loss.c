#include "op/router_loss.h"

#include <math.h>

#include "base/error.h"
#include "op/cpu/router_loss.h"
#include "op/kit/gradient.h"
#include "op/trial.h"

static long groups_of(const struct op_shapes *s)
{
	const struct router_loss_attr *attr = s->attr;

	return tensor_rows(s->in[ROUTER_LOSS_S_BTE]) / attr->group_tokens;
}

static void router_loss_shape(struct op_shapes *s)
{
	const struct router_loss_attr *attr = s->attr;
	const struct tensor *logit = s->in[ROUTER_LOSS_LOGIT_BTE], *score = s->in[ROUTER_LOSS_S_BTE],
		*expert = s->in[ROUTER_LOSS_EXPERT_BTK], *mask = s->in[ROUTER_LOSS_MASK_BT];
	long E = tensor_width(score);

	CHECK(score->n_dims == 3 && (!logit || tensor_same_shape(logit, score)));
	CHECK(expert->n_dims == 3 && tensor_rows(expert) == tensor_rows(score));
	CHECK(!mask || tensor_size(mask) == tensor_rows(score));
	CHECK(attr->group_tokens > 0 && tensor_rows(score) % attr->group_tokens == 0);
	for (int i = 0; i < ROUTER_LOSS_N_OUT; i++)
		s->out[i] = tensor_of(MASTER, 1, 1L);
	s->saved[ROUTER_LOSS_F_GE] = tensor_of(MASTER, 2, groups_of(s), E);
	s->saved[ROUTER_LOSS_P_GE] = tensor_of(MASTER, 2, groups_of(s), E);
	s->saved[ROUTER_LOSS_SHARE_G] = tensor_of(MASTER, 1, groups_of(s));
}

static void router_loss_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[ROUTER_LOSS_S_BTE]);

	/* Of each score: exp and sum of logits, sums of p and of p log p; its gradient, exp again. */
	c->forward_flops = 6 * n;
	c->backward_flops = 8 * n;
	c->executed_flops = c->forward_flops + c->backward_flops;
	c->forward_bytes = op_io_bytes(&op_router_loss, s);
	c->backward_bytes = 2 * c->forward_bytes;
}

/* p of one token and expert. */
static double p_ref(const struct op_run *r, long t, long e)
{
	const struct router_loss_attr *attr = r->attr;
	const struct tensor *s = r->in[ROUTER_LOSS_S_BTE];
	double sum = 0;

	for (long j = 0; j < tensor_width(s); j++)
		sum += row_f64(s, t)[j];
	return row_f64(s, t)[e] / (attr->normalise ? sum : 1);
}

static double lse_ref(const struct op_run *r, long t)
{
	const struct tensor *logit = r->in[ROUTER_LOSS_LOGIT_BTE];
	double most = -INFINITY, sum = 0;

	for (long e = 0; e < tensor_width(logit); e++)
		most = fmax(most, row_f64(logit, t)[e]);
	for (long e = 0; e < tensor_width(logit); e++)
		sum += exp(row_f64(logit, t)[e] - most);
	return most + log(sum);
}

static double log_p(double p)
{
	return log(fmax(p, (double)ROUTER_LOSS_TINY));
}

/* f and P of group g; returns its number of valid tokens. */
static double means_ref(const struct op_run *r, long g, long size)
{
	const struct router_loss_attr *attr = r->attr;
	const struct tensor *expert = r->in[ROUTER_LOSS_EXPERT_BTK], *f = r->saved[ROUTER_LOSS_F_GE],
		*p = r->saved[ROUTER_LOSS_P_GE];
	double n = 0, choices = 0;

	for (long e = 0; e < tensor_width(f); e++)
		row_f64(f, g)[e] = row_f64(p, g)[e] = 0;
	for (long t = g * size; t < (g + 1) * size; t++) {
		if (!router_loss_valid(r, t))
			continue;
		n++;
		for (long e = 0; e < tensor_width(p); e++)
			row_f64(p, g)[e] += p_ref(r, t, e);
		for (long k = 0; k < tensor_width(expert); k++)
			if (row_int(expert, t)[k] >= 0) {
				row_f64(f, g)[row_int(expert, t)[k]]++;
				choices++;
			}
	}
	for (long e = 0; e < tensor_width(f); e++) {
		row_f64(f, g)[e] /= fmax(choices, 1);
		row_f64(f, g)[e] *= units_share(&attr->units, e);
		row_f64(p, g)[e] /= fmax(n, 1);
	}
	return n;
}

static void router_loss_forward_ref(const struct op_run *r)
{
	const struct router_loss_attr *attr = r->attr;
	const struct tensor *f = r->saved[ROUTER_LOSS_F_GE], *p = r->saved[ROUTER_LOSS_P_GE];
	long size = attr->group_tokens, G = tensor_rows(f), E = tensor_width(f);
	double *share = row_f64(r->saved[ROUTER_LOSS_SHARE_G], 0), M = 0;

	for (int i = 0; i < ROUTER_LOSS_N_OUT; i++)
		*row_f64(r->out[i], 0) = 0;
	for (long g = 0; g < G; g++) {
		share[g] = means_ref(r, g, size);
		M += share[g] > 0;
	}
	for (long g = 0; g < G; g++) {
		if (share[g] == 0)
			continue;
		share[g] = 1 / (share[g] * M);
		for (long e = 0; e < E; e++) {
			double f_e = row_f64(f, g)[e], p_e = row_f64(p, g)[e];
			*row_f64(r->out[ROUTER_LOSS_BALANCE], 0) += (double)E * f_e * p_e / M;
			*row_f64(r->out[ROUTER_LOSS_IMPORTANCE], 0) += (double)E *
				pow(p_e - 1 / (double)E, 2) / M;
			*row_f64(r->out[ROUTER_LOSS_H_MEAN], 0) -= p_e * log_p(p_e) / M;
		}
		for (long t = g * size; t < (g + 1) * size; t++) {
			if (!router_loss_valid(r, t))
				continue;
			if (r->in[ROUTER_LOSS_LOGIT_BTE])
				*row_f64(r->out[ROUTER_LOSS_Z], 0) += share[g] * pow(lse_ref(r, t), 2);
			for (long e = 0; e < E; e++)
				*row_f64(r->out[ROUTER_LOSS_H_TOKEN], 0) -= share[g] *
					p_ref(r, t, e) * log_p(p_ref(r, t, e));
		}
	}
}

static double d_ref(const struct op_run *r, int out)
{
	return r->d_out[out] ? *row_f64(r->d_out[out], 0) : 0;
}

/* dp of one token and expert, of group g. */
static double dp_ref(const struct op_run *r, long g, long t, long e)
{
	double E = (double)tensor_width(r->saved[ROUTER_LOSS_F_GE]),
		P = row_f64(r->saved[ROUTER_LOSS_P_GE], g)[e];

	return row_f64(r->saved[ROUTER_LOSS_SHARE_G], 0)[g] *
		(d_ref(r, ROUTER_LOSS_BALANCE) * E * row_f64(r->saved[ROUTER_LOSS_F_GE], g)[e] +
		d_ref(r, ROUTER_LOSS_IMPORTANCE) * 2 * (E * P - 1) -
		d_ref(r, ROUTER_LOSS_H_MEAN) * (1 + log_p(P)) -
		d_ref(r, ROUTER_LOSS_H_TOKEN) * (1 + log_p(p_ref(r, t, e))));
}

static double ds_ref(const struct op_run *r, long g, long t, long e)
{
	const struct router_loss_attr *attr = r->attr;
	const struct tensor *s = r->in[ROUTER_LOSS_S_BTE];
	double mean = 0, sum = 0;

	if (!router_loss_valid(r, t))
		return 0;
	if (!attr->normalise)
		return dp_ref(r, g, t, e);
	for (long j = 0; j < tensor_width(s); j++) {
		mean += p_ref(r, t, j) * dp_ref(r, g, t, j);
		sum += row_f64(s, t)[j];
	}
	return (dp_ref(r, g, t, e) - mean) / sum;
}

static double dlogit_ref(const struct op_run *r, long g, long t, long e)
{
	double lse = lse_ref(r, t), share = row_f64(r->saved[ROUTER_LOSS_SHARE_G], 0)[g];

	if (!router_loss_valid(r, t))
		return 0;
	return d_ref(r, ROUTER_LOSS_Z) * share * 2 * lse *
		exp(row_f64(r->in[ROUTER_LOSS_LOGIT_BTE], t)[e] - lse);
}

static void router_loss_backward_ref(const struct op_run *r)
{
	const struct router_loss_attr *attr = r->attr;
	const struct tensor *s = r->in[ROUTER_LOSS_S_BTE];

	for (long t = 0; t < tensor_rows(s); t++)
		for (long e = 0; e < tensor_width(s); e++) {
			long g = t / attr->group_tokens;
			put_gradient(r, ROUTER_LOSS_S_BTE, t, e, ds_ref(r, g, t, e));
			if (r->in[ROUTER_LOSS_LOGIT_BTE])
				put_gradient(r, ROUTER_LOSS_LOGIT_BTE, t, e, dlogit_ref(r, g, t, e));
		}
}

/* Scores are those of a sigmoid, which softmax's may be for this operator. No two choices of a token name
   the same expert, and one of the first token none. Every third token is masked where there is a
   mask. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *s = t->in[ROUTER_LOSS_S_BTE], *expert = t->in[ROUTER_LOSS_EXPERT_BTK],
		*mask = t->in[ROUTER_LOSS_MASK_BT];
	long K = tensor_width(expert), E = tensor_width(s);

	for (long i = 0; i < tensor_size(s); i++)
		op_trial_set(t, s, i, (float)(1 / (1 + exp(-op_trial_get(t, s, i)))));
	for (long i = 0; i < tensor_size(expert); i++)
		op_trial_set(t, expert, i, i == 1 ? -1 : (double)((i / K * (i / K) % 5 + i % K) % E));
	for (long i = 0; mask && i < tensor_size(mask); i++)
		op_trial_set(t, mask, i, i % 3 == 2 ? -1 : 0);
}

#define ATTR(tokens, normalised, ...) {.group_tokens = tokens, .normalise = normalised, __VA_ARGS__}
static const struct router_loss_attr one_group = ATTR(20, true), groups_of_7 = ATTR(7, false),
	groups_of_1 = ATTR(1, true), tiled = ATTR(150, true), groups_of_48 = ATTR(48, true),
	by_width = ATTR(20, false, .units = {2, {0, 3, 10}}),
	many_by_width = ATTR(48, true, .units = {3, {0, 8, 10, 30}});

static const struct op_example examples[] = {
	{.name = "normalised", .attr = &one_group, .prepare = prepare,
		.in = {{2, 10, 4}, {2, 10, 4}, {2, 10, 2}}},
	{.name = "as they are, mask, groups", .attr = &groups_of_7, .prepare = prepare,
		.in = {{3, 7, 5}, {3, 7, 5}, {3, 7, 3}, {3, 7}}},
	{.name = "groups without valid tokens", .attr = &groups_of_1, .prepare = prepare,
		.in = {{2, 150, 3}, {2, 150, 3}, {2, 150, 1}, {2, 150}}},
	{.name = "several tiles in a group", .attr = &tiled, .prepare = prepare,
		.in = {{3, 100, 6}, {3, 100, 6}, {3, 100, 2}, {3, 100}}},
	{.name = "no logits", .attr = &groups_of_7, .prepare = prepare,
		.in = {{0}, {3, 7, 5}, {3, 7, 3}, {3, 7}}},
	{.name = "many experts", .attr = &groups_of_48, .prepare = prepare,
		.in = {{2, 48, 75}, {2, 48, 75}, {2, 48, 8}}},
	{.name = "by width", .attr = &by_width, .prepare = prepare, .in = {{2, 10, 4}, {2, 10, 4}, {2, 10, 2}}},
	{.name = "many by width", .attr = &many_by_width, .prepare = prepare,
		.in = {{2, 48, 75}, {2, 48, 75}, {2, 48, 8}}},
};

const struct op op_router_loss = {
	.name = "router_loss",
	.formula = "balance = E sum_e f_e P_e;  z = mean (log sum exp logit)^2;  spread and entropies of P and p",
	.semantics = 1,
	.n_in = ROUTER_LOSS_N_IN,
	.n_out = ROUTER_LOSS_N_OUT,
	.n_saved = ROUTER_LOSS_N_SAVED,
	.in = {
		[ROUTER_LOSS_LOGIT_BTE] = {"logit", IN_MASTER | IN_OPTIONAL},
		[ROUTER_LOSS_S_BTE] = {"s", IN_MASTER},
		[ROUTER_LOSS_EXPERT_BTK] = {"expert", IN_INDEX},
		[ROUTER_LOSS_MASK_BT] = {"mask", IN_INDEX | IN_OPTIONAL},
	},
	.out = {
		[ROUTER_LOSS_BALANCE] = {"balance", MASTER, false},
		[ROUTER_LOSS_Z] = {"z", MASTER, false},
		[ROUTER_LOSS_IMPORTANCE] = {"importance", MASTER, false},
		[ROUTER_LOSS_H_MEAN] = {"h_mean", MASTER, false},
		[ROUTER_LOSS_H_TOKEN] = {"h_token", MASTER, false},
	},
	.shape = router_loss_shape,
	.room = {[CPU] = router_loss_room_cpu, [CUDA] = OP_CUDA(router_loss_room_cuda)},
	.cost = router_loss_cost,
	.backward_reads_in = READS(ROUTER_LOSS_LOGIT_BTE) | READS(ROUTER_LOSS_S_BTE) |
		READS(ROUTER_LOSS_MASK_BT),
	.forward = {[REF] = router_loss_forward_ref, [CPU] = router_loss_forward_cpu,
		[CUDA] = OP_CUDA(router_loss_forward_cuda)},
	.backward = {[REF] = router_loss_backward_ref, [CPU] = router_loss_backward_cpu,
		[CUDA] = OP_CUDA(router_loss_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
