#include "op/noise.h"

#include "base/error.h"
#include "op/kit/gradient.h"
#include "op/noise_rule.h"

static void noise_shape(struct op_shapes *s)
{
	const struct tensor *logit = s->in[NOISE_LOGIT_BTE], *width = s->in[NOISE_WIDTH_BTE];

	CHECK(logit->n_dims == 3 && (!width || tensor_same_shape(logit, width)));
	s->out[NOISE_Y_BTE] = tensor_of(MASTER, 3, logit->dims[0], logit->dims[1], logit->dims[2]);
}

static void noise_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[NOISE_LOGIT_BTE]), bytes = op_io_bytes(&op_noise, s);
	bool learned = s->in[NOISE_WIDTH_BTE];

	/* Logarithm, root and cosine, or two logarithms; product, sum. */
	*c = (struct op_cost){.forward_flops = (learned ? 8 : 5) * n, .backward_flops = learned ? 6 * n : 0,
		.executed_flops = (learned ? 17 : 5) * n, .forward_bytes = bytes, .backward_bytes = bytes};
}

/* n of token t, expert e, of a [B, T, E] tensor. */
static double draw(const struct op_run *r, const struct tensor *y, long t, long e)
{
	const struct noise_attr *attr = r->attr;

	return noise_draw(attr, r->state, (r->state->micro * tensor_rows(y) + t) * tensor_width(y) + e);
}

static void noise_forward_ref(const struct op_run *r)
{
	const struct noise_attr *attr = r->attr;
	const struct tensor *logit = r->in[NOISE_LOGIT_BTE], *width = r->in[NOISE_WIDTH_BTE],
		*y = r->out[NOISE_Y_BTE];

	for (long t = 0; t < tensor_rows(y); t++)
		for (long e = 0; e < tensor_width(y); e++)
			row_f64(y, t)[e] = row_f64(logit, t)[e] + draw(r, y, t, e) *
				(width ? attr->scale * log1p(exp(row_f64(width, t)[e])) : attr->scale);
}

static void noise_backward_ref(const struct op_run *r)
{
	const struct noise_attr *attr = r->attr;
	const struct tensor *width = r->in[NOISE_WIDTH_BTE], *dy = r->d_out[NOISE_Y_BTE];

	for (long t = 0; t < tensor_rows(dy); t++)
		for (long e = 0; e < tensor_width(dy); e++) {
			double d = row_f64(dy, t)[e];
			if (width)
				put_gradient(r, NOISE_WIDTH_BTE, t, e, attr->scale * draw(r, dy, t, e) * d /
					(1 + exp(-row_f64(width, t)[e])));
			put_gradient(r, NOISE_LOGIT_BTE, t, e, d);
		}
}

static void noise_forward(const struct op_run *r)
{
	const struct noise_attr *attr = r->attr;
	const struct tensor *logit = r->in[NOISE_LOGIT_BTE], *width = r->in[NOISE_WIDTH_BTE],
		*y = r->out[NOISE_Y_BTE];

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(y); t++)
		for (long e = 0; e < tensor_width(y); e++) {
			float *to = row_f32(y, t);
			double sigma = noise_sigma(attr, width ? row_f32(width, t) + e : NULL);
			to[e] = (float)(row_f32(logit, t)[e] + sigma * draw(r, y, t, e));
		}
}

static void noise_backward(const struct op_run *r)
{
	const struct noise_attr *attr = r->attr;
	const struct tensor *dlogit = r->d_in[NOISE_LOGIT_BTE], *dwidth = r->d_in[NOISE_WIDTH_BTE],
		*width = r->in[NOISE_WIDTH_BTE], *dy = r->d_out[NOISE_Y_BTE];

	#pragma omp parallel for schedule(static)
	for (long t = 0; t < tensor_rows(dy); t++)
		for (long e = 0; e < tensor_width(dy); e++) {
			float d = row_f32(dy, t)[e];
			if (dwidth) {
				double by = draw(r, dy, t, e) * noise_slope(attr, row_f32(width, t)[e]);
				row_f32(dwidth, t)[e] = (float)(by * d) +
					(op_adds(r, NOISE_WIDTH_BTE) ? row_f32(dwidth, t)[e] : 0);
			}
			if (dlogit)
				row_f32(dlogit, t)[e] = d +
					(op_adds(r, NOISE_LOGIT_BTE) ? row_f32(dlogit, t)[e] : 0);
		}
}

static const struct noise_attr normal = {NOISE_NORMAL, 0.7, 42}, gumbel = {NOISE_GUMBEL, 1, 43},
	learned = {NOISE_NORMAL, 1.5, 44}, learned_gumbel = {NOISE_GUMBEL, 0.5, 45};

static const struct op_example examples[] = {
	{.name = "normal", .attr = &normal, .in = {{2, 5, 7}}},
	{.name = "Gumbel", .attr = &gumbel, .in = {{1, 9, 40}}},
	{.name = "normal, learned", .attr = &learned, .in = {{3, 5, 6}, {3, 5, 6}}},
	{.name = "Gumbel, learned", .attr = &learned_gumbel, .in = {{2, 30, 33}, {2, 30, 33}}},
};

const struct op op_noise = {
	.name = "noise",
	.formula = "y = logit + sigma n, n normal or Gumbel, of step, token and expert",
	.semantics = 1,
	.n_in = NOISE_N_IN,
	.n_out = NOISE_N_OUT,
	.in = {
		[NOISE_LOGIT_BTE] = {"logit", IN_MASTER},
		[NOISE_WIDTH_BTE] = {"width", IN_MASTER | IN_OPTIONAL},
	},
	.out = {[NOISE_Y_BTE] = {"y", MASTER, false}},
	.shape = noise_shape,
	.cost = noise_cost,
	.backward_reads_in = READS(NOISE_WIDTH_BTE),
	.d_in_takes = {[NOISE_LOGIT_BTE] = TAKES(NOISE_Y_BTE)},
	.forward = {[REF] = noise_forward_ref, [CPU] = noise_forward, [CUDA] = OP_CUDA(noise_forward_cuda)},
	.backward = {[REF] = noise_backward_ref, [CPU] = noise_backward,
		[CUDA] = OP_CUDA(noise_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
