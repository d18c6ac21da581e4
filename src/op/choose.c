#include "op/choose.h"

#include "base/error.h"
#include "op/kit/host.h"
#include "op/kit/token.h"
#include "op/trial.h"

static void choose_shape(struct op_shapes *s)
{
	const struct choose_attr *attr = s->attr;
	const struct tensor *score = s->in[CHOOSE_S_BTE], *bias = s->in[CHOOSE_BIAS_E],
		*mask = s->in[CHOOSE_MASK_BT], *cut = s->in[CHOOSE_CUT_E];

	CHECK(score->n_dims == 3 && attr->k >= 1 && attr->k <= tensor_width(score));
	CHECK(attr->top_p >= 0);
	CHECK(!bias || tensor_size(bias) == tensor_width(score));
	CHECK(!mask || tensor_size(mask) == tensor_rows(score));
	CHECK(!cut || tensor_size(cut) == tensor_width(score));
	s->out[CHOOSE_EXPERT_BTK] = tensor_of(INDEX, 3, score->dims[0], score->dims[1], attr->k);
}

static void choose_cost(const struct op_shapes *s, struct op_cost *c)
{
	const struct choose_attr *attr = s->attr;

	/* A comparison for each expert and choice. */
	c->forward_flops = (double)tensor_size(s->in[CHOOSE_S_BTE]) * (double)attr->k;
	c->executed_flops = c->forward_flops;
	c->forward_bytes = op_io_bytes(&op_choose, s);
}

static double score_of(const struct op_run *r, long t, long e)
{
	return host_get(r, r->in[CHOOSE_S_BTE], t, e);
}

/* Score and bias in the device's precision, so that their sum rounds as a GPU's does. */
static double biased(const struct op_run *r, long t, long e)
{
	const struct tensor *bias = r->in[CHOOSE_BIAS_E];

	if (!bias)
		return score_of(r, t, e);
	if (r->device->bytes[MASTER] == sizeof(double))
		return score_of(r, t, e) + row_f64(bias, 0)[e];
	return (float)score_of(r, t, e) + row_f32(bias, 0)[e];
}

/* The best expert behind `last`, which has the score `bound`; last -1: of all. -1: there is none,
   for scores are no numbers. */
static int next_best(const struct op_run *r, long t, int last, double *bound)
{
	long E = tensor_width(r->in[CHOOSE_S_BTE]);
	double most = 0;
	int best = -1;

	for (int e = 0; e < E; e++) {
		double v = biased(r, t, e);
		bool behind = last < 0 ? v == v : v < *bound || (v == *bound && e > last);
		if (behind && (best < 0 || v > most)) {
			most = v;
			best = e;
		}
	}
	*bound = most;
	return best;
}

static bool is_cut(const struct op_run *r, long t, int e)
{
	const struct tensor *cut = r->in[CHOOSE_CUT_E];

	return cut && e >= 0 && score_of(r, t, e) < host_get(r, cut, 0, e);
}

/* The sum of scores is taken in the type of masters, as a GPU does. */
static void choose_for(const struct op_run *r, long t, bool there)
{
	const struct choose_attr *attr = r->attr;
	bool wide = r->device->bytes[MASTER] == sizeof(double);
	double bound = 0, sum = 0;
	int e = -1;

	for (long k = 0; k < attr->k; k++) {
		there = there && (attr->top_p == 0 || sum <= (wide ? attr->top_p : (float)attr->top_p));
		e = there ? next_best(r, t, e, &bound) : -1;
		there = e >= 0;
		row_int(r->out[CHOOSE_EXPERT_BTK], t)[k] = is_cut(r, t, e) ? -1 : e;
		sum += there ? score_of(r, t, e) : 0;
		sum = wide ? sum : (float)sum;
	}
}

/* For all devices of the host. */
static void choose_forward(const struct op_run *r)
{
	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(r->out[CHOOSE_EXPERT_BTK]); t++)
		choose_for(r, t, token_there(r->in[CHOOSE_MASK_BT], t));
}

/* Few values, so many are equal; every third token is masked where there is a mask. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *s = t->in[CHOOSE_S_BTE], *bias = t->in[CHOOSE_BIAS_E],
		*mask = t->in[CHOOSE_MASK_BT], *cut = t->in[CHOOSE_CUT_E];

	for (long i = 0; i < tensor_size(s); i++)
		op_trial_set(t, s, i, (double)(i * i % 11) / 8);
	for (long i = 0; cut && i < tensor_size(cut); i++)
		op_trial_set(t, cut, i, (double)(i % 5) / 8);
	for (long i = 0; bias && i < tensor_size(bias); i++)
		op_trial_set(t, bias, i, (double)(i % 3) / 4);
	for (long i = 0; mask && i < tensor_size(mask); i++)
		op_trial_set(t, mask, i, i % 3 == 2 ? -1 : 0);
}

static const struct choose_attr one = {.k = 1}, two = {.k = 2}, three = {.k = 3}, eight = {.k = 8},
	most = {.k = 5, .top_p = 1.3};

static const struct op_example examples[] = {
	{.name = "ties, bias, mask", .attr = &two, .prepare = prepare,
		.in = {[CHOOSE_S_BTE] = {2, 7, 5}, [CHOOSE_BIAS_E] = {5}, [CHOOSE_MASK_BT] = {2, 7}}},
	{.name = "all experts", .attr = &three, .in = {[CHOOSE_S_BTE] = {2, 5, 3}}},
	{.name = "one choice", .attr = &one, .in = {[CHOOSE_S_BTE] = {3, 5, 4}}},
	{.name = "ties, cut", .attr = &three, .prepare = prepare,
		.in = {[CHOOSE_S_BTE] = {2, 7, 5}, [CHOOSE_CUT_E] = {5}}},
	{.name = "many experts", .attr = &eight, .prepare = prepare,
		.in = {[CHOOSE_S_BTE] = {2, 20, 75}}},
	{.name = "many experts, bias", .attr = &eight,
		.in = {[CHOOSE_S_BTE] = {2, 20, 64}, [CHOOSE_BIAS_E] = {64}}},
	{.name = "up to a sum", .attr = &most, .prepare = prepare,
		.in = {[CHOOSE_S_BTE] = {2, 30, 40}, [CHOOSE_CUT_E] = {40}}},
};

const struct op op_choose = {
	.name = "choose",
	.formula = "the k greatest of s + bias, or as many as sum to top_p, that are not below their cut; ties to "
		"the lowest expert",
	.semantics = 1,
	.n_in = CHOOSE_N_IN,
	.n_out = CHOOSE_N_OUT,
	.in = {
		[CHOOSE_S_BTE] = {"s", IN_MASTER | IN_NO_GRADIENT},
		[CHOOSE_BIAS_E] = {"bias", IN_MASTER | IN_NO_GRADIENT | IN_OPTIONAL},
		[CHOOSE_MASK_BT] = {"mask", IN_INDEX | IN_OPTIONAL},
		[CHOOSE_CUT_E] = {"cut", IN_MASTER | IN_NO_GRADIENT | IN_OPTIONAL},
	},
	.out = {[CHOOSE_EXPERT_BTK] = {"expert", INDEX, true}},
	.shape = choose_shape,
	.cost = choose_cost,
	.forward = {[REF] = choose_forward, [CPU] = choose_forward,
		[CUDA] = OP_CUDA(choose_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
