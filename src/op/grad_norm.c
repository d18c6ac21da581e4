#include "op/grad_norm.h"

#include <math.h>

#include "base/error.h"

void grad_norm_check_segments(const struct grad_norm_segment *s, int n, int n_groups, long size)
{
	long at = 0;

	for (int i = 0; i < n; i++) {
		CHECK(s[i].begin == at && s[i].end > at);
		CHECK(s[i].group >= 0 && s[i].group < n_groups);
		at = s[i].end;
	}
	CHECK(at == size);
}

double grad_norm_sum_blocks(const double *part, long n_blocks, int n_groups, float *out)
{
	double total = 0;

	for (int group = 0; group < n_groups; group++) {
		double sum = 0;
		for (long b = 0; b < n_blocks; b++)
			sum += part[b * n_groups + group];
		out[group] = (float)sum;
		total += sum;
	}
	return total;
}

static void grad_norm_shape(struct op_shapes *s)
{
	const struct grad_norm_attr *attr = s->attr;
	const struct tensor *g = s->in[GRAD_NORM_G_N];

	CHECK(g->n_dims == 1);
	grad_norm_check_segments(attr->segments, attr->n_segments, attr->n_groups, tensor_size(g));
	s->out[GRAD_NORM_NORM] = tensor_of(MASTER, 1, 1L);
	s->out[GRAD_NORM_SUMSQ_G] = tensor_of(MASTER, 1, (long)attr->n_groups);
}

/* Partial sums of each block, and the sums. */
static void grad_norm_room(struct op_shapes *s)
{
	const struct grad_norm_attr *attr = s->attr;
	long blocks = grad_norm_blocks(tensor_size(s->in[GRAD_NORM_G_N]));

	s->forward_workspace = (size_t)((blocks + 1) * attr->n_groups) * sizeof(double);
}

static void grad_norm_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_flops = c->executed_flops = 2 * (double)tensor_size(s->in[GRAD_NORM_G_N]);
	c->forward_bytes = op_io_bytes(&op_grad_norm, s);
}

static void grad_norm_forward_ref(const struct op_run *r)
{
	const struct grad_norm_attr *attr = r->attr;
	const double *g = row_f64(r->in[GRAD_NORM_G_N], 0);
	double *sumsq = row_f64(r->out[GRAD_NORM_SUMSQ_G], 0), total = 0;

	for (int group = 0; group < attr->n_groups; group++)
		sumsq[group] = 0;
	for (int i = 0; i < attr->n_segments; i++) {
		const struct grad_norm_segment *s = &attr->segments[i];
		for (long k = s->begin; k < s->end; k++)
			sumsq[s->group] += g[k] * g[k];
	}
	for (int group = 0; group < attr->n_groups; group++)
		total += sumsq[group];
	*row_f64(r->out[GRAD_NORM_NORM], 0) = sqrt(total);
}

static double sum_of_squares(const float *g, long n)
{
	double sum = 0;

	#pragma omp simd reduction(+ : sum)
	for (long k = 0; k < n; k++)
		sum += (double)g[k] * g[k];
	return sum;
}

/* Partial sums of one block, by group. */
static void block_sums(const struct grad_norm_attr *attr, const float *g, long begin, long end,
	double *sum)
{
	struct grad_norm_segment piece;

	for (int group = 0; group < attr->n_groups; group++)
		sum[group] = 0;
	for (long at = begin; at < end; at = piece.end) {
		piece = grad_norm_piece(attr->segments, at, end);
		sum[piece.group] += sum_of_squares(g + at, piece.end - at);
	}
}

static void grad_norm_forward(const struct op_run *r)
{
	const struct grad_norm_attr *attr = r->attr;
	const float *g = row_f32(r->in[GRAD_NORM_G_N], 0);
	long size = tensor_size(r->in[GRAD_NORM_G_N]), n_blocks = grad_norm_blocks(size);
	double *part = r->workspace;

	#pragma omp parallel for schedule(static)
	for (long b = 0; b < n_blocks; b++)
		block_sums(attr, g, b * GRAD_NORM_BLOCK, grad_norm_block_end(b, size),
			part + b * attr->n_groups);
	*row_f32(r->out[GRAD_NORM_NORM], 0) = (float)sqrt(grad_norm_sum_blocks(part, n_blocks,
		attr->n_groups, row_f32(r->out[GRAD_NORM_SUMSQ_G], 0)));
}

static const struct grad_norm_segment few[] = {{0, 7, 0, true}, {7, 16, 1, false}};
static const struct grad_norm_segment many[] = {{0, 1000, 1, true}, {1000, 17003, 0, false},
	{17003, 17008, 2, false}, {17008, 40000, 1, true}};

/* More segments than a CUDA launch takes, and a block that two launches share. */
#define SEGMENT(i) {(i) * 7, (i) * 7 + 7, (i) % 3, true}
#define FIVE(i) SEGMENT(i), SEGMENT((i) + 1), SEGMENT((i) + 2), SEGMENT((i) + 3), SEGMENT((i) + 4)
#define TEN(i) FIVE(i), FIVE((i) + 5)
static const struct grad_norm_segment tiny[] = {TEN(0), TEN(10), TEN(20), TEN(30), TEN(40), TEN(50),
	TEN(60), TEN(70), TEN(80), TEN(90), TEN(100), TEN(110), TEN(120), TEN(130), TEN(140),
	TEN(150), TEN(160), {1190, 20000, 1, true}};

static const struct grad_norm_attr example_few = {few, ARRAY_SIZE(few), 2},
	example_many = {many, ARRAY_SIZE(many), 4}, example_tiny = {tiny, ARRAY_SIZE(tiny), 3};

static const struct op_example examples[] = {
	{.name = "one block", .attr = &example_few, .in = {{16}}},
	{.name = "tiny segments", .attr = &example_tiny, .in = {{20000}}},
	{.name = "cut by segments, a group empty", .attr = &example_many, .in = {{40000}}},
};

const struct op op_grad_norm = {
	.name = "grad_norm",
	.formula = "square root of the sum of squares",
	.semantics = 1,
	.n_in = GRAD_NORM_N_IN,
	.n_out = GRAD_NORM_N_OUT,
	.in = {[GRAD_NORM_G_N] = {"g_N", IN_MASTER | IN_NO_GRADIENT}},
	.out = {
		[GRAD_NORM_NORM] = {"norm", MASTER, true},
		[GRAD_NORM_SUMSQ_G] = {"sumsq_G", MASTER, true},
	},
	.shape = grad_norm_shape,
	.room = {[CPU] = grad_norm_room, [CUDA] = grad_norm_room},
	.cost = grad_norm_cost,
	.forward = {[REF] = grad_norm_forward_ref, [CPU] = grad_norm_forward,
		[CUDA] = OP_CUDA(grad_norm_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
