#include "op/overflow.h"

#include "base/error.h"
#include "op/kit/host.h"
#include "op/kit/token.h"
#include "op/place_rule.h"
#include "op/trial.h"

static void overflow_shape(struct op_shapes *s)
{
	const struct overflow_attr *attr = s->attr;
	const struct tensor *expert = s->in[OVERFLOW_EXPERT_BTK], *score = s->in[OVERFLOW_S_BTE],
		*bias = s->in[OVERFLOW_BIAS_E], *share = s->in[OVERFLOW_SHARE];
	long tokens = tensor_rows(expert), E = tensor_width(score);

	CHECK(expert->n_dims == 3 && tensor_rows(score) == tokens);
	CHECK(attr->capacity > 0 && attr->group_tokens > 0 && tokens % attr->group_tokens == 0);
	CHECK(!bias || tensor_size(bias) == E);
	CHECK(!share || tensor_size(share) == 1);
	s->out[OVERFLOW_TAKEN_BTK] = tensor_of(INDEX, 3, expert->dims[0], expert->dims[1], expert->dims[2]);
	s->out[OVERFLOW_WANTED_E] = tensor_of(INDEX, 1, E);
	s->out[OVERFLOW_LOAD_E] = tensor_of(MASTER, 1, E);
}

static long groups_of(const struct tensor *expert, const struct overflow_attr *attr)
{
	return tensor_rows(expert) / attr->group_tokens;
}

/* Of each group and expert: places left. */
static void room_host(struct op_shapes *s)
{
	long groups = groups_of(s->in[OVERFLOW_EXPERT_BTK], s->attr);

	s->forward_workspace = (size_t)(groups * tensor_width(s->in[OVERFLOW_S_BTE])) * sizeof(long);
}

static void overflow_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = op_io_bytes(&op_overflow, s);
}

/* Score and bias, rounded as a GPU's sum is. */
static double biased(const struct op_run *r, long t, long e)
{
	const struct tensor *bias = r->in[OVERFLOW_BIAS_E];
	double v = host_get(r, r->in[OVERFLOW_S_BTE], t, e) + (bias ? host_get(r, bias, 0, e) : 0);

	return r->device->bytes[MASTER] == sizeof(double) ? v : (float)v;
}

/* Has token t named expert e, or does one of its first k choices have it already? */
static bool has(const struct op_run *r, long t, long k, int e)
{
	const int *named = row_int(r->in[OVERFLOW_EXPERT_BTK], t), *taken = row_int(r->out[OVERFLOW_TAKEN_BTK], t);
	bool any = false;

	for (long i = 0; i < tensor_width(r->in[OVERFLOW_EXPERT_BTK]); i++)
		any |= named[i] == e || (i < k && taken[i] == e);
	return any;
}

/* For choice k of token t; -1: none has room. */
static int next_best(const struct op_run *r, long t, long k, const long *left)
{
	double most = 0;
	int best = -1;

	for (int e = 0; e < tensor_width(r->in[OVERFLOW_S_BTE]); e++) {
		double v = biased(r, t, e);
		if (left[e] > 0 && v == v && (best < 0 || v > most) && !has(r, t, k, e)) {
			most = v;
			best = e;
		}
	}
	return best;
}

static void fill_group(const struct op_run *r, long g, long *left)
{
	const struct overflow_attr *attr = r->attr;
	const struct tensor *expert = r->in[OVERFLOW_EXPERT_BTK], *share = r->in[OVERFLOW_SHARE];

	for (long e = 0; e < tensor_width(r->in[OVERFLOW_S_BTE]); e++)
		left[e] = share ? place_capacity(host_get(r, share, 0, 0), attr->capacity) : attr->capacity;
	for (long t = g * attr->group_tokens; t < (g + 1) * attr->group_tokens; t++)
		for (long k = 0; k < tensor_width(expert); k++) {
			int e = row_int(expert, t)[k], next = e < 0 || left[e] > 0 ? e : next_best(r, t, k, left);
			row_int(r->out[OVERFLOW_TAKEN_BTK], t)[k] = next < 0 ? e : next;
			if (next >= 0)
				left[next]--;
		}
}

static void count_wanted(const struct op_run *r)
{
	const struct tensor *expert = r->in[OVERFLOW_EXPERT_BTK];
	int *wanted = row_int(r->out[OVERFLOW_WANTED_E], 0);
	long E = tensor_width(r->in[OVERFLOW_S_BTE]);
	double all = 0;

	for (long e = 0; e < E; e++)
		wanted[e] = 0;
	for (long i = 0; i < tensor_size(expert); i++)
		if (*int_at(expert, i) >= 0) {
			wanted[*int_at(expert, i)]++;
			all++;
		}
	for (long e = 0; e < E; e++)
		host_put(r, r->out[OVERFLOW_LOAD_E], 0, e, wanted[e] / (all > 0 ? all : 1));
}

/* For all devices of the host: integers are the same on each. */
static void overflow_forward(const struct op_run *r)
{
	long *left = r->workspace;

	#pragma omp parallel for schedule(static)
	for (long g = 0; g < groups_of(r->in[OVERFLOW_EXPERT_BTK], r->attr); g++)
		fill_group(r, g, left + g * tensor_width(r->in[OVERFLOW_S_BTE]));
	count_wanted(r);
}

/* Experts in some order, no two of a token the same, low numbers more often; every seventh token names none. Few
   scores, so that many are equal. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *expert = t->in[OVERFLOW_EXPERT_BTK], *s = t->in[OVERFLOW_S_BTE],
		*bias = t->in[OVERFLOW_BIAS_E];
	long K = tensor_width(expert), E = tensor_width(s);

	for (long i = 0; i < tensor_size(s); i++)
		op_trial_set(t, s, i, (double)(i * i % 11) / 16);
	for (long e = 0; bias && e < E; e++)
		op_trial_set(t, bias, e, (double)(e % 3) / 4);
	if (t->in[OVERFLOW_SHARE])
		op_trial_set(t, t->in[OVERFLOW_SHARE], 0, 0.625);
	for (long i = 0; i < tensor_size(expert); i++) {
		long token = i / K, first = token * token % 5 < 3 ? 0 : token % E;
		op_trial_set(t, expert, i, token % 7 == 3 ? -1 : (double)((first + i % K) % E));
	}
}

static const struct overflow_attr tight = {7, 1}, exact = {35, 7}, long_group = {150, 40}, several = {50, 19};

static const struct op_example examples[] = {
	{.name = "groups of 7, some have no place", .attr = &tight, .prepare = prepare, .in = {{3, 7, 2}, {3, 7, 4}}},
	{.name = "one choice, a place for each", .attr = &exact, .prepare = prepare, .in = {{2, 35, 1}, {2, 35, 5}}},
	{.name = "more tokens than lanes, bias", .attr = &long_group, .prepare = prepare,
		.in = {{3, 100, 1}, {3, 100, 6}, {6}}},
	{.name = "three choices, many experts, a share of the capacity", .attr = &several, .prepare = prepare,
		.in = {{2, 50, 3}, {2, 50, 40}, {0}, {1}}},
};

const struct op op_overflow = {
	.name = "overflow",
	.formula = "its expert, or where that is full the best of s + bias that has room",
	.semantics = 1,
	.n_in = OVERFLOW_N_IN,
	.n_out = OVERFLOW_N_OUT,
	.in = {
		[OVERFLOW_EXPERT_BTK] = {"expert", IN_INDEX},
		[OVERFLOW_S_BTE] = {"s", IN_MASTER | IN_NO_GRADIENT},
		[OVERFLOW_BIAS_E] = {"bias", IN_MASTER | IN_NO_GRADIENT | IN_OPTIONAL},
		[OVERFLOW_SHARE] = {"share", IN_MASTER | IN_NO_GRADIENT | IN_OPTIONAL},
	},
	.out = {
		[OVERFLOW_TAKEN_BTK] = {"taken", INDEX, true},
		[OVERFLOW_WANTED_E] = {"wanted", INDEX, true},
		[OVERFLOW_LOAD_E] = {"load", MASTER, true},
	},
	.shape = overflow_shape,
	.room = {[REF] = room_host, [CPU] = room_host, [CUDA] = OP_CUDA(overflow_room_cuda)},
	.cost = overflow_cost,
	.forward = {[REF] = overflow_forward, [CPU] = overflow_forward, [CUDA] = OP_CUDA(overflow_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
