#include "op/ssd_step.h"

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/vec.h"
#include "op/ssd_kernels.h"
#include "op/trial.h"

static void ssd_step_shape(struct op_shapes *s)
{
	CHECK(!ssd_is_given(s->in));
	ssd_shape(s);
}

/* Per token and state: decay, dt B x, and C h; per channel D x. */
static void ssd_step_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct ssd_dims d = ssd_dims(s->in, s->attr, SSD_MAX_CHUNK);
	double channels = (double)(d.B * d.T * d.H * d.P);

	*c = (struct op_cost){.forward_flops = channels * (5 * (double)d.N + 2),
		.forward_bytes = op_io_bytes(&op_ssd_step, s)};
	c->executed_flops = c->forward_flops;
}

/* y_t of one channel, its states h going on by one token; keep: of the state before. */
static float step(float keep, bool fresh, float dt_x, const float *B, const float *C, long N, float *h)
{
	float sum = 0;

	#pragma omp simd reduction(+:sum)
	for (long n = 0; n < N; n++) {
		h[n] = (fresh ? 0.0f : keep * h[n]) + dt_x * B[n];
		sum += h[n] * C[n];
	}
	return sum;
}

static void channel(const struct op_run *r, struct ssd_dims d, long b, long i)
{
	long head = i / d.P, first = head / (d.H / d.G) * d.N;
	float *h = row_f32(r->in[SSD_H_BIN], b * d.H * d.P + i), D = row_f32(r->in[SSD_D_H], 0)[head];
	float rate = vec_exp(row_f32(r->in[SSD_ALOG_H], 0)[head]);
	float bias = row_f32(r->in[SSD_DTBIAS_H], 0)[head];

	for (long t = 0; t < d.T; t++) {
		long row = b * d.T + t;
		float x = row_f32(r->in[SSD_X_BTI], row)[i];
		float dt = vec_softplus(row_f32(r->in[SSD_DTRAW_BTH], row)[head] + bias);
		row_f32(r->out[SSD_Y_BTI], row)[i] = D * x + step(vec_exp(-dt * rate),
			begins_document(r->in[SSD_START_BT], b, t), dt * x,
			row_f32(r->in[SSD_B_BTN], row) + first, row_f32(r->in[SSD_C_BTN], row) + first, d.N, h);
	}
}

static void ssd_step_forward(const struct op_run *r)
{
	struct ssd_dims d = ssd_dims(r->in, r->attr, SSD_MAX_CHUNK);

	#pragma omp parallel for schedule(static)
	for (long k = 0; k < d.B * d.H * d.P; k++)
		channel(r, d, k / (d.H * d.P), k % (d.H * d.P));
}

static const struct ssd_attr one_group = {1, SSD_CHUNK}, two_groups = {2, SSD_CHUNK};

#define SHAPES(B, T, H, P, N, N_ALL) SSD_SHAPES(B, T, H, P, N_ALL), [SSD_H_BIN] = {B, (H) * (P), N}

static const struct op_example examples[] = {
	{.name = "one token", .attr = &two_groups, .in = {SHAPES(2, 1, 4, 9, 16, 32)}},
	{.name = "some", .attr = &one_group, .in = {SHAPES(2, 7, 3, 5, 6, 6)}},
	{.name = "documents", .attr = &two_groups, .prepare = prepare_carried,
		.in = {SHAPES(3, 21, 2, 4, 7, 14), [SSD_START_BT] = {3, 21}}},
};

const struct op op_ssd_step = {
	.name = "ssd_step",
	.formula = "ssd, from the states h that the call before has left",
	.semantics = 1,
	.n_in = SSD_CARRIED_N_IN,
	.n_out = SSD_N_OUT,
	.in = {SSD_INPUTS(IN_OPTIONAL), [SSD_H_BIN] = {"h_BIN", IN_MASTER | IN_UPDATED}},
	.out = {[SSD_Y_BTI] = {"y_BTI", REAL, true}},
	.shape = ssd_step_shape,
	.cost = ssd_step_cost,
	.forward = {[REF] = ssd_forward_ref, [CPU] = ssd_step_forward,
		[CUDA] = OP_CUDA(ssd_step_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
