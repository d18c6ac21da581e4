#include "op/jitter.h"

#include "base/error.h"
#include "op/noise_rule.h"

static void jitter_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[JITTER_X_BTD]), bytes = op_io_bytes(&op_jitter, s);

	*c = (struct op_cost){.forward_flops = 3 * n, .backward_flops = 3 * n, .executed_flops = 6 * n,
		.forward_bytes = bytes, .backward_bytes = bytes};
}

/* The random numbers of channels i to i + 3 of token t. */
static struct rng_block block_of(const struct op_run *r, const struct tensor *x, long t, long i)
{
	const struct jitter_attr *attr = r->attr;
	long blocks = (tensor_width(x) + 3) / 4;

	return noise_block(r->state, attr->stream,
		(uint64_t)((r->state->micro * tensor_rows(x) + t) * blocks + i / 4));
}

static void jitter_ref(const struct op_run *r, const struct tensor *x, const struct tensor *y, bool add)
{
	const struct jitter_attr *attr = r->attr;

	for (long t = 0; t < tensor_rows(x); t++)
		for (long i = 0; i < tensor_width(x); i++) {
			double u = noise_symmetric(block_of(r, x, t, i), (int)(i % 4));
			row_f64(y, t)[i] = row_f64(x, t)[i] * (1 + attr->scale * u) +
				(add ? row_f64(y, t)[i] : 0);
		}
}

static void jitter_forward_ref(const struct op_run *r)
{
	jitter_ref(r, r->in[JITTER_X_BTD], r->out[JITTER_Y_BTD], false);
}

static void jitter_backward_ref(const struct op_run *r)
{
	jitter_ref(r, r->d_out[JITTER_Y_BTD], r->d_in[JITTER_X_BTD], op_adds(r, JITTER_X_BTD));
}

static void jitter_cpu(const struct op_run *r, const struct tensor *x, const struct tensor *y, bool add)
{
	const struct jitter_attr *attr = r->attr;
	float scale = (float)attr->scale;
	long D = tensor_width(x);

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(x); t++)
		for (long i = 0; i < D; i += 4) {
			struct rng_block b = block_of(r, x, t, i);
			const float *from = row_f32(x, t) + i;
			float *to = row_f32(y, t) + i;
			for (int k = 0; k < 4 && i + k < D; k++)
				to[k] = from[k] * (1 + scale * noise_symmetric(b, k)) + (add ? to[k] : 0);
		}
}

static void jitter_forward(const struct op_run *r)
{
	jitter_cpu(r, r->in[JITTER_X_BTD], r->out[JITTER_Y_BTD], false);
}

static void jitter_backward(const struct op_run *r)
{
	jitter_cpu(r, r->d_out[JITTER_Y_BTD], r->d_in[JITTER_X_BTD], op_adds(r, JITTER_X_BTD));
}

static const struct jitter_attr small = {0.01, 42}, large = {0.75, 43};

static const struct op_example examples[] = {
	{.name = "small", .attr = &small, .in = {{2, 5, 7}}},
	{.name = "large", .attr = &large, .in = {{3, 9, 72}}},
};

const struct op op_jitter = {
	.name = "jitter",
	.formula = "y = x (1 + scale u), u uniform in (-1, 1), of step, token and channel",
	.semantics = 1,
	.n_in = JITTER_N_IN,
	.n_out = JITTER_N_OUT,
	.in = {[JITTER_X_BTD] = {"x", 0}},
	.out = {[JITTER_Y_BTD] = {"y", REAL, false}},
	.shape = op_shape_same,
	.cost = jitter_cost,
	.d_in_takes = {[JITTER_X_BTD] = TAKES(JITTER_Y_BTD)},
	.forward = {[REF] = jitter_forward_ref, [CPU] = jitter_forward,
		[CUDA] = OP_CUDA(jitter_forward_cuda)},
	.backward = {[REF] = jitter_backward_ref, [CPU] = jitter_backward,
		[CUDA] = OP_CUDA(jitter_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
