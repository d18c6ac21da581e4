#include "op/delta_step.h"

#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/delta_kernels.h"
#include "op/document_start.h"
#include "op/kit/vec.h"
#include "op/trial.h"

enum { SPAN = 64 };	/* columns of a task */

/* Per token and element of a memory: decay, what k recalls, what k writes, what q reads. */
static void delta_step_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct delta_dims d = delta_dims(s->in, s->attr);
	double heads = (double)(d.B * d.T * d.H), K = (double)d.K, V = (double)d.V;

	*c = (struct op_cost){.forward_flops = heads * (7 * K * V + 6 * K + 3 * V),
		.forward_bytes = op_io_bytes(&op_delta_step, s)};
	c->executed_flops = c->forward_flops;
}

/* scale over the norm of K numbers */
static float scale_of(const float *x, long K, float scale)
{
	float square = (float)DELTA_EPS;

	#pragma omp simd reduction(+:square)
	for (long i = 0; i < K; i++)
		square += x[i] * x[i];
	return scale / sqrtf(square);
}

/* Columns of one head's memory. */
struct columns {
	const struct op_run *run;
	struct delta_dims dims;
	long b, h, first, n;
};

/* The memory erased at the place of k and written to with u; y read from it at q. */
static void write_and_read(const struct columns *c, const float *q, float q_scale, const float *k,
	float k_scale, const float *u, float keep, float *y)
{
	const struct tensor *S = c->run->in[DELTA_S_BKV];

	memset(y, 0, (size_t)c->n * sizeof *y);
	for (long i = 0; i < c->dims.K; i++) {
		float *row = row_f32(S, (c->b * c->dims.H + c->h) * c->dims.K + i) + c->first;
		#pragma omp simd
		for (long j = 0; j < c->n; j++) {
			row[j] = keep * row[j] + k_scale * k[i] * u[j];
			y[j] += q_scale * q[i] * row[j];
		}
	}
}

static void token(const struct columns *c, long t)
{
	const struct op_run *r = c->run;
	long K = c->dims.K, row = c->b * c->dims.T + t, at = c->h * c->dims.V + c->first;
	const float *k = row_f32(r->in[DELTA_K_BTK], row) + c->h * K, *q = row_f32(r->in[DELTA_Q_BTK], row) + c->h * K;
	const float *v = row_f32(r->in[DELTA_V_BTV], row) + at;
	float dt = vec_softplus(row_f32(r->in[DELTA_DTRAW_BTH], row)[c->h] + row_f32(r->in[DELTA_DTBIAS_H], 0)[c->h]);
	float keep = begins_document(r->in[DELTA_START_BT], c->b, t) ? 0
		: vec_exp(-dt * vec_exp(row_f32(r->in[DELTA_ALOG_H], 0)[c->h]));
	float beta = vec_sigmoid(row_f32(r->in[DELTA_BRAW_BTH], row)[c->h]);
	float k_scale = scale_of(k, K, 1), q_scale = scale_of(q, K, 1 / sqrtf((float)K)), u[SPAN] = {0};

	for (long i = 0; i < K; i++) {
		const float *S = row_f32(r->in[DELTA_S_BKV], (c->b * c->dims.H + c->h) * K + i) + c->first;
		#pragma omp simd
		for (long j = 0; j < c->n; j++)
			u[j] += S[j] * k_scale * k[i];
	}
	for (long j = 0; j < c->n; j++)
		u[j] = beta * (v[j] - keep * u[j]);
	write_and_read(c, q, q_scale, k, k_scale, u, keep, row_f32(r->out[DELTA_Y_BTV], row) + at);
}

static void delta_step_forward(const struct op_run *r)
{
	struct delta_dims d = delta_dims(r->in, r->attr);
	long spans = ceil_div(d.V, SPAN);

	#pragma omp parallel for schedule(static)
	for (long task = 0; task < d.B * d.H * spans; task++) {
		long head = task / spans, first = task % spans * SPAN;
		struct columns c = {r, d, head / d.H, head % d.H, first, d.V - first < SPAN ? d.V - first : SPAN};
		for (long t = 0; t < d.T; t++)
			token(&c, t);
	}
}

static const struct delta_attr usual = {DELTA_CHUNK};

#define SHAPES(B, T, H, K, V) DELTA_SHAPES(B, T, H, K, V), [DELTA_S_BKV] = {B, (H) * (K), V}

static const struct op_example examples[] = {
	{.name = "one token", .attr = &usual, .in = {SHAPES(2, 1, 3, 8, 70)}},
	{.name = "some", .attr = &usual, .in = {SHAPES(2, 7, 2, 5, 6)}},
	{.name = "documents", .attr = &usual, .prepare = prepare_carried,
		.in = {SHAPES(3, 21, 2, 4, 7), [DELTA_START_BT] = {3, 21}}},
};

const struct op op_delta_step = {
	.name = "delta_step",
	.formula = "delta, from the memories S that the call before has left",
	.semantics = 1,
	.n_in = DELTA_CARRIED_N_IN,
	.n_out = DELTA_N_OUT,
	.in = {DELTA_INPUTS(IN_OPTIONAL), [DELTA_S_BKV] = {"S_BKV", IN_MASTER | IN_UPDATED}},
	.out = {[DELTA_Y_BTV] = {"y_BTV", REAL, true}},
	.shape = delta_shape,
	.room = {[REF] = delta_room_ref},
	.cost = delta_step_cost,
	.forward = {[REF] = delta_forward_ref, [CPU] = delta_step_forward,
		[CUDA] = OP_CUDA(delta_step_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
