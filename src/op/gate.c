#include "op/gate.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "op/kit/gradient.h"
#include "op/trial.h"

static void gate_shape(struct op_shapes *s)
{
	const struct tensor *score = s->in[GATE_S_BTE], *expert = s->in[GATE_EXPERT_BTK];

	CHECK(score->n_dims == 3 && expert->n_dims == 3);
	CHECK(tensor_rows(score) == tensor_rows(expert));
	CHECK(tensor_same_shape(expert, s->in[GATE_SLOT_BTK]));
	s->out[GATE_GATE_BTK] = tensor_of(MASTER, 3, expert->dims[0], expert->dims[1],
		expert->dims[2]);
}

static void gate_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[GATE_EXPERT_BTK]), bytes = op_io_bytes(&op_gate, s);

	*c = (struct op_cost){.forward_flops = 3 * n, .backward_flops = 5 * n,
		.executed_flops = 8 * n, .forward_bytes = bytes, .backward_bytes = bytes};
}

/* ---- reference ------------------------------------------------------------------------------ */

static double z_ref(const struct op_run *r, long t)
{
	const struct tensor *expert = r->in[GATE_EXPERT_BTK];
	double z = GATE_TINY;

	for (long k = 0; k < tensor_width(expert); k++)
		if (row_int(expert, t)[k] >= 0)
			z += row_f64(r->in[GATE_S_BTE], t)[row_int(expert, t)[k]];
	return z;
}

static void gate_forward_ref(const struct op_run *r)
{
	const struct gate_attr *attr = r->attr;
	const struct tensor *s = r->in[GATE_S_BTE], *expert = r->in[GATE_EXPERT_BTK],
		*slot = r->in[GATE_SLOT_BTK], *gate = r->out[GATE_GATE_BTK];

	for (long t = 0; t < tensor_rows(gate); t++)
		for (long k = 0; k < tensor_width(gate); k++) {
			int e = row_int(expert, t)[k];
			double w = 0;
			if (row_int(slot, t)[k] >= 0)
				w = attr->rule == GATE_RAW ? row_f64(s, t)[e]
					: attr->rule == GATE_RENORM ? row_f64(s, t)[e] / z_ref(r, t) : 1;
			row_f64(gate, t)[k] = attr->scale * w;
		}
}

static void gate_backward_ref(const struct op_run *r)
{
	const struct gate_attr *attr = r->attr;
	const struct tensor *s = r->in[GATE_S_BTE], *expert = r->in[GATE_EXPERT_BTK],
		*slot = r->in[GATE_SLOT_BTK], *a = r->d_out[GATE_GATE_BTK];

	clear_gradient(r, GATE_S_BTE);
	for (long t = 0; t < tensor_rows(s); t++) {
		double mean = 0, z = z_ref(r, t);
		for (long k = 0; k < tensor_width(a); k++)
			if (row_int(slot, t)[k] >= 0)
				mean += attr->scale * row_f64(s, t)[row_int(expert, t)[k]] / z *
					row_f64(a, t)[k];
		for (long k = 0; k < tensor_width(a) && attr->rule != GATE_ONE; k++) {
			int e = row_int(expert, t)[k];
			double own = row_int(slot, t)[k] >= 0 ? attr->scale * row_f64(a, t)[k] : 0;
			if (e >= 0)
				add_gradient(r, GATE_S_BTE, t, e, attr->rule == GATE_RENORM ? (own - mean) / z : own);
		}
	}
}

/* ---- CPU ------------------------------------------------------------------------------------ */

/* A token's choices. */
struct choices {
	const int *expert, *slot;
	long n;
	const float *s;
};

static struct choices choices_of(const struct op_run *r, long t)
{
	return (struct choices){row_int(r->in[GATE_EXPERT_BTK], t), row_int(r->in[GATE_SLOT_BTK], t),
		tensor_width(r->in[GATE_EXPERT_BTK]), row_f32(r->in[GATE_S_BTE], t)};
}

/* r / Z of the token where weights are normalised, else r. */
static float token_scale(const struct gate_attr *attr, const struct choices *c)
{
	float z = (float)GATE_TINY;

	if (attr->rule != GATE_RENORM)
		return (float)attr->scale;
	for (long k = 0; k < c->n; k++)
		z += c->expert[k] < 0 ? 0 : c->s[c->expert[k]];
	return (float)attr->scale / z;
}

static void gate_forward(const struct op_run *r)
{
	const struct gate_attr *attr = r->attr;
	const struct tensor *gate = r->out[GATE_GATE_BTK];
	bool by_score = attr->rule == GATE_RAW || attr->rule == GATE_RENORM;

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(gate); t++) {
		struct choices c = choices_of(r, t);
		float scale = token_scale(attr, &c), *to = row_f32(gate, t);
		for (long k = 0; k < c.n; k++)
			to[k] = c.slot[k] < 0 ? 0 : by_score ? scale * c.s[c.expert[k]] : scale;
	}
}

static void token_gradient(const struct gate_attr *attr, const struct choices *c, const float *a,
	float *ds)
{
	float scale = token_scale(attr, c), mean = 0;

	for (long k = 0; k < c->n && attr->rule == GATE_RENORM; k++)
		mean += c->slot[k] < 0 ? 0 : c->s[c->expert[k]] * scale * a[k];
	mean *= scale / (float)attr->scale;
	for (long k = 0; k < c->n; k++)
		if (c->expert[k] >= 0)
			ds[c->expert[k]] += (c->slot[k] < 0 ? 0 : scale * a[k]) - mean;
}

static void gate_backward(const struct op_run *r)
{
	const struct gate_attr *attr = r->attr;
	const struct tensor *ds = r->d_in[GATE_S_BTE], *a = r->d_out[GATE_GATE_BTK];
	size_t bytes = (size_t)tensor_width(ds) * sizeof(float);

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(ds); t++) {
		struct choices c = choices_of(r, t);
		if (!op_adds(r, GATE_S_BTE))
			memset(row_f32(ds, t), 0, bytes);
		if (attr->rule != GATE_ONE)
			token_gradient(attr, &c, row_f32(a, t), row_f32(ds, t));
	}
}

/* Scores as those of a sigmoid. No two choices of a token name the same expert; every fifth choice is
   dropped, and every seventh token names no expert. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *s = t->in[GATE_S_BTE], *expert = t->in[GATE_EXPERT_BTK];
	long K = tensor_width(expert), E = tensor_width(s);

	for (long i = 0; i < tensor_size(s); i++)
		op_trial_set(t, s, i, (float)(1 / (1 + exp(-op_trial_get(t, s, i)))));
	for (long i = 0; i < tensor_size(expert); i++) {
		long token = i / K, e = token % 7 == 3 ? -1 : (token * 5 + i % K) % E;
		op_trial_set(t, expert, i, (double)e);
		op_trial_set(t, t->in[GATE_SLOT_BTK], i, e < 0 || i % 5 == 1 ? -1 : (double)i);
	}
}

static const struct gate_attr raw = {GATE_RAW, 1}, renorm = {GATE_RENORM, 2.5}, one = {GATE_ONE, 1},
	straight = {GATE_STRAIGHT_THROUGH, 0.5};

static const struct op_example examples[] = {
	{.name = "raw", .attr = &raw, .prepare = prepare, .in = {{2, 9, 5}, {2, 9, 2}, {2, 9, 2}}},
	{.name = "renorm", .attr = &renorm, .prepare = prepare,
		.in = {{3, 5, 6}, {3, 5, 4}, {3, 5, 4}}},
	{.name = "renorm, many experts", .attr = &renorm, .prepare = prepare,
		.in = {{2, 30, 70}, {2, 30, 8}, {2, 30, 8}}},
	{.name = "one", .attr = &one, .prepare = prepare, .in = {{2, 4, 3}, {2, 4, 2}, {2, 4, 2}}},
	/* What flows back is not the derivative: tests/op/test_choices.c. */
	{.name = "straight-through", .attr = &straight, .prepare = prepare, .no_gradient_check = true,
		.in = {{2, 9, 5}, {2, 9, 2}, {2, 9, 2}}},
};

const struct op op_gate = {
	.name = "gate",
	.formula = "gate = r s[expert], or its share of the chosen, or r; 0 for dropped choices",
	.semantics = 1,
	.n_in = GATE_N_IN,
	.n_out = GATE_N_OUT,
	.in = {
		[GATE_S_BTE] = {"s", IN_MASTER},
		[GATE_EXPERT_BTK] = {"expert", IN_INDEX},
		[GATE_SLOT_BTK] = {"slot", IN_INDEX},
	},
	.out = {[GATE_GATE_BTK] = {"gate", MASTER, false}},
	.shape = gate_shape,
	.cost = gate_cost,
	.backward_reads_in = READS(GATE_S_BTE) | READS(GATE_EXPERT_BTK) | READS(GATE_SLOT_BTK),
	.forward = {[REF] = gate_forward_ref, [CPU] = gate_forward,
		[CUDA] = OP_CUDA(gate_forward_cuda)},
	.backward = {[REF] = gate_backward_ref, [CPU] = gate_backward,
		[CUDA] = OP_CUDA(gate_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
