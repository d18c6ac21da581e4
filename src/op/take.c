#include "op/take.h"

#include <math.h>

#include "base/error.h"
#include "op/kit/host.h"
#include "op/kit/token.h"
#include "op/take_rule.h"
#include "op/trial.h"

/* A column of scores of one group: tokens first, first + step, ... */
struct column {
	long expert, first, step;
};

static void take_shape(struct op_shapes *s)
{
	const struct take_attr *attr = s->attr;
	const struct tensor *score = s->in[TAKE_S_BTE], *mask = s->in[TAKE_MASK_BT];
	long B = score->dims[0], T = score->dims[1], E = score->dims[2];

	CHECK(score->n_dims == 3 && (!mask || tensor_size(mask) == B * T));
	CHECK(attr->members > 0 && (attr->across ? B : B * T) % attr->members == 0);
	CHECK(attr->factor > 0);
	s->out[TAKE_EXPERT_BTE] = tensor_of(INDEX, 3, B, T, E);
	s->out[TAKE_CUTOFF_E] = tensor_of(MASTER, 1, E);
	s->out[TAKE_LEFT] = tensor_of(MASTER, 1, 2L);
}

static long groups_of(const struct op_shapes *s)
{
	return tensor_rows(s->in[TAKE_S_BTE]) / ((const struct take_attr *)s->attr)->members;
}

/* Scores of each column, to be sorted; then the cutoff of each. */
static void room_host(struct op_shapes *s)
{
	long E = tensor_width(s->in[TAKE_S_BTE]);

	s->forward_workspace = (size_t)(tensor_size(s->in[TAKE_S_BTE]) + groups_of(s) * E) * sizeof(double);
}

static void take_cost(const struct op_shapes *s, struct op_cost *c)
{
	/* A comparison for each score. */
	c->forward_flops = (double)tensor_size(s->in[TAKE_S_BTE]);
	c->executed_flops = c->forward_flops;
	c->forward_bytes = op_io_bytes(&op_take, s);
}

static bool is_there(const struct op_run *r, long t)
{
	return token_there(r->in[TAKE_MASK_BT], t);
}

/* NAN: there is none. */
static double score(const struct op_run *r, long t, long e)
{
	return is_there(r, t) ? host_get(r, r->in[TAKE_S_BTE], t, e) : NAN;
}

/* The k-th greatest of n numbers, k from 1, which change their places (Hoare 1961). */
static double greatest(double *x, long n, long k)
{
	long from = 0, to = n - 1;

	while (from < to) {
		double pivot = x[from + (to - from) / 2];
		long i = from, j = to;
		while (i <= j) {
			while (x[i] > pivot)
				i++;
			while (x[j] < pivot)
				j--;
			if (i > j)
				break;
			double swap = x[i];
			x[i++] = x[j];
			x[j--] = swap;
		}
		if (k - 1 <= j)
			to = j;
		else if (k - 1 >= i)
			from = i;
		else
			break;
	}
	return x[k - 1];
}

/* The least score that is taken of a column; NAN: there are none. *ties: how many of those equal to it
   are. */
static double cutoff_of(const struct op_run *r, const struct column *c, double *sorted, long *ties)
{
	const struct take_attr *attr = r->attr;
	long n = 0, above = 0, capacity;
	double cutoff;

	for (long m = 0; m < attr->members; m++) {
		double v = score(r, c->first + m * c->step, c->expert);
		if (v == v)
			sorted[n++] = v;
	}
	if (n == 0)
		return NAN;
	capacity = take_capacity(attr->factor, tensor_width(r->in[TAKE_S_BTE]), n);
	cutoff = greatest(sorted, n, capacity);
	for (long m = 0; m < n; m++)
		above += sorted[m] > cutoff;
	*ties = capacity - above;
	return cutoff;
}

static void take_column(const struct op_run *r, const struct column *c, double *sorted, double *cutoff)
{
	const struct take_attr *attr = r->attr;
	long ties = 0;

	*cutoff = cutoff_of(r, c, sorted, &ties);
	for (long m = 0; m < attr->members; m++) {
		long t = c->first + m * c->step;
		double v = score(r, t, c->expert);
		bool taken = v > *cutoff || (v == *cutoff && ties-- > 0);
		row_int(r->out[TAKE_EXPERT_BTE], t)[c->expert] = taken ? (int)c->expert : -1;
	}
}

static void count_left(const struct op_run *r)
{
	const struct tensor *expert = r->out[TAKE_EXPERT_BTE];
	long left = 0, all = 0;

	for (long t = 0; t < tensor_rows(expert); t++) {
		bool taken = false;
		for (long e = 0; e < tensor_width(expert); e++)
			taken |= row_int(expert, t)[e] >= 0;
		all += is_there(r, t);
		left += is_there(r, t) && !taken;
	}
	host_put(r, r->out[TAKE_LEFT], 0, 0, (double)left);
	host_put(r, r->out[TAKE_LEFT], 0, 1, (double)all);
}

/* For all devices of the host. */
static void take_forward(const struct op_run *r)
{
	const struct take_attr *attr = r->attr;
	const struct tensor *s = r->in[TAKE_S_BTE];
	long E = tensor_width(s), T = s->dims[1], G = tensor_rows(s) / attr->members, n = attr->members;
	double *sorted = r->workspace, *cutoff_GE = sorted + tensor_size(s);

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < G * E; i++) {
		long g = i / E, first = attr->across ? g / T * n * T + g % T : g * n;
		take_column(r, &(struct column){i % E, first, attr->across ? T : 1}, sorted + i * n,
			cutoff_GE + i);
	}
	for (long e = 0; e < E; e++) {
		double sum = 0, groups = 0;
		for (long i = e; i < G * E; i += E) {
			bool any = cutoff_GE[i] == cutoff_GE[i];
			sum += any ? cutoff_GE[i] : 0;
			groups += any;
		}
		host_put(r, r->out[TAKE_CUTOFF_E], 0, e, sum / fmax(groups, 1));
	}
	count_left(r);
}

/* Few values, so many are equal; every third token is masked where there is a mask. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *s = t->in[TAKE_S_BTE], *mask = t->in[TAKE_MASK_BT];

	for (long i = 0; i < tensor_size(s); i++)
		op_trial_set(t, s, i, (double)(i * i % 11) / 8 - 0.5);
	for (long i = 0; mask && i < tensor_size(mask); i++)
		op_trial_set(t, mask, i, i % 3 == 2 ? -1 : 0);
}

static const struct take_attr sequence = {7, 2.2, false}, most = {14, 5, false}, batch = {3, 1.4, true},
	halves = {2, 3, true}, whole = {4, 1.5, true}, large = {600, 9, false}, three = {600, 0.75, false},
	alone = {1, 1, false};

static const struct op_example examples[] = {
	{.name = "in time, ties, mask", .attr = &sequence, .prepare = prepare, .in = {{2, 7, 5}, {2, 7}}},
	{.name = "more than there are", .attr = &most, .prepare = prepare, .in = {{2, 7, 4}, {2, 7}}},
	{.name = "over the batch", .attr = &batch, .in = {{3, 9, 4}}},
	{.name = "over halves of the batch, mask", .attr = &halves, .prepare = prepare,
		.in = {{4, 5, 3}, {4, 5}}},
	{.name = "fewer where fewer are there", .attr = &whole, .prepare = prepare, .in = {{4, 5, 3}, {4, 5}}},
	{.name = "large groups", .attr = &large, .in = {{3, 400, 35}}},
	{.name = "large groups, ties", .attr = &three, .prepare = prepare, .in = {{3, 400, 3}, {3, 400}}},
	{.name = "groups of one", .attr = &alone, .in = {{2, 40, 3}}},
};

const struct op op_take = {
	.name = "take",
	.formula = "expert e takes the capacity greatest of s[., e] in each group, ties to the earlier token",
	.semantics = 2,
	.n_in = TAKE_N_IN,
	.n_out = TAKE_N_OUT,
	.in = {
		[TAKE_S_BTE] = {"s", IN_MASTER | IN_NO_GRADIENT},
		[TAKE_MASK_BT] = {"mask", IN_INDEX | IN_OPTIONAL},
	},
	.out = {
		[TAKE_EXPERT_BTE] = {"expert", INDEX, true},
		[TAKE_CUTOFF_E] = {"cutoff", MASTER, true},
		[TAKE_LEFT] = {"left", MASTER, true},
	},
	.shape = take_shape,
	.room = {[REF] = room_host, [CPU] = room_host, [CUDA] = OP_CUDA(take_room_cuda)},
	.cost = take_cost,
	.forward = {[REF] = take_forward, [CPU] = take_forward, [CUDA] = OP_CUDA(take_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
