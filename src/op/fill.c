#include "op/fill.h"

#include <math.h>

#include "base/error.h"
#include "base/rng.h"

static const double smallest_dt = 1e-4;

static void fill_shape(struct op_shapes *s)
{
	const struct fill_attr *attr = s->attr;

	CHECK(attr->used_rows > 0 && attr->used_rows <= tensor_rows(s->in[FILL_W]));
	CHECK(attr->rule != FILL_NORMAL || (attr->a >= 0 && attr->b >= FILL_LEAST_CUT * attr->a));
	CHECK(attr->rule != FILL_DT_BIAS || (attr->a > 0 && attr->b >= attr->a));
	CHECK(attr->rule != FILL_LOG_UNIFORM || (attr->a > 0 && attr->b >= attr->a));
	s->out[FILL_DONE] = tensor_of(INDEX, 1, 1L);
}

static void fill_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = (double)tensor_size(s->in[FILL_W]) *
		(double)s->device->bytes[s->in[FILL_W]->kind];
}

static double uniform(const struct op_run *r, long k)
{
	const struct fill_attr *attr = r->attr;
	struct rng_key key = {r->state->seed, attr->stream, 0};

	return rng_uniform(rng_block(key, (uint64_t)k), 0);
}

/* Box and Muller 1958: two uniform numbers of a block give a normal one. */
static double truncated_normal(const struct op_run *r, long k)
{
	const struct fill_attr *attr = r->attr;
	struct rng_key key = {r->state->seed, attr->stream, 0};

	for (;; key.step++) {
		struct rng_block b = rng_block(key, (uint64_t)k);
		double x = attr->a * sqrt(-2 * log(rng_uniform(b, 0))) *
			cos(2 * M_PI * rng_uniform(b, 1));
		if (fabs(x) <= attr->b)
			return x;
	}
}

/* Solves log(1 + exp(bias)) = dt. */
static double dt_bias(const struct fill_attr *attr, double u)
{
	double dt = exp(log(attr->a) + u * (log(attr->b) - log(attr->a)));

	if (dt < smallest_dt)
		dt = smallest_dt;
	return dt + log(-expm1(-dt));
}

static double initial_value(const struct op_run *r, long row, long column)
{
	const struct fill_attr *attr = r->attr;
	long k = row * tensor_width(r->in[FILL_W]) + column;

	if (row >= attr->used_rows)
		return 0;
	switch (attr->rule) {
	case FILL_CONSTANT:
		return attr->a;
	case FILL_UNIFORM:
		return attr->a + (attr->b - attr->a) * uniform(r, k);
	case FILL_LOG_UNIFORM:
		return log(attr->a + (attr->b - attr->a) * uniform(r, k));
	case FILL_NORMAL:
		return truncated_normal(r, k);
	case FILL_A_LOG:
		return log((double)column + 1);
	case FILL_DT_BIAS:
		return dt_bias(attr, uniform(r, k));
	}
	BUG("fill rule %d", attr->rule);
}

static void fill_forward_ref(const struct op_run *r)
{
	const struct tensor *w = r->in[FILL_W];

	for (long row = 0; row < tensor_rows(w); row++)
		for (long i = 0; i < tensor_width(w); i++)
			row_f64(w, row)[i] = initial_value(r, row, i);
	row_int(r->out[FILL_DONE], 0)[0] = 0;
}

static void fill_forward(const struct op_run *r)
{
	const struct tensor *w = r->in[FILL_W];

	#pragma omp parallel for schedule(static)
	for (long row = 0; row < tensor_rows(w); row++)
		for (long i = 0; i < tensor_width(w); i++)
			row_f32(w, row)[i] = (float)initial_value(r, row, i);
	row_int(r->out[FILL_DONE], 0)[0] = 0;
}

static const struct fill_attr example_constant = {FILL_CONSTANT, 1.5, 0, 3, 11};
static const struct fill_attr example_uniform = {FILL_UNIFORM, -0.25, 0.5, 5, 12};
static const struct fill_attr example_normal = {FILL_NORMAL, 0.02, 0.04, 6, 13};
static const struct fill_attr example_a_log = {FILL_A_LOG, 0, 0, 4, 14};
static const struct fill_attr example_dt_bias = {FILL_DT_BIAS, 1e-3, 0.1, 1, 15};

static const struct fill_attr example_log_uniform = {FILL_LOG_UNIFORM, 1, 16, 1, 16};

static const struct op_example examples[] = {
	{.name = "constant", .attr = &example_constant, .in = {{3, 7}}},
	{.name = "uniform, padded", .attr = &example_uniform, .in = {{8, 33}}},
	{.name = "normal", .attr = &example_normal, .in = {{2, 3, 50}}},
	{.name = "A_log", .attr = &example_a_log, .in = {{4, 16}}},
	{.name = "dt bias", .attr = &example_dt_bias, .in = {{300}}},
	{.name = "log uniform", .attr = &example_log_uniform, .in = {{300}}},
};

const struct op op_fill = {
	.name = "fill",
	.formula = "initial values of a parameter",
	.semantics = 1,
	.n_in = FILL_N_IN,
	.n_out = FILL_N_OUT,
	.in = {[FILL_W] = {"w", IN_MASTER | IN_UPDATED}},
	.out = {[FILL_DONE] = {"done", INDEX, true}},
	.shape = fill_shape,
	.cost = fill_cost,
	.forward = {[REF] = fill_forward_ref, [CPU] = fill_forward},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
