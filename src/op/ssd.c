#include "op/ssd.h"

#include <math.h>

#include "base/error.h"
#include "base/num.h"
#include "op/cuda/chunk_steps.h"
#include "op/document_start.h"
#include "op/kit/gradient.h"
#include "op/kit/vec.h"
#include "op/ssd_kernels.h"
#include "op/trial.h"

struct ssd_dims ssd_dims(const struct tensor *const *in, const struct ssd_attr *attr, long longest)
{
	const struct tensor *x = in[SSD_X_BTI];
	long H = in[ssd_is_given(in) ? SSD_DECAY_BTH : SSD_DTRAW_BTH]->dims[2];
	long Q = min_long(attr->chunk, longest);

	return (struct ssd_dims){x->dims[0], x->dims[1], H, x->dims[2] / H, attr->n_groups,
		in[SSD_B_BTN]->dims[2] / attr->n_groups, Q, ceil_div(x->dims[1], Q)};
}

void ssd_shape(struct op_shapes *s)
{
	const struct ssd_attr *attr = s->attr;
	bool given = ssd_is_given(s->in);
	const struct tensor *x = s->in[SSD_X_BTI], *b = s->in[SSD_B_BTN], *h = s->in[SSD_H_BIN];
	const struct tensor *dt = s->in[given ? SSD_DECAY_BTH : SSD_DTRAW_BTH];
	struct ssd_dims d;

	CHECK(attr->n_groups > 0 && attr->chunk > 0 && attr->chunk <= SSD_MAX_CHUNK);
	CHECK(dt && x->n_dims == 3 && dt->n_dims == 3 && b->n_dims == 3);
	d = ssd_dims(s->in, attr, SSD_MAX_CHUNK);
	CHECK(dt->dims[0] == d.B && dt->dims[1] == d.T && b->dims[0] == d.B && b->dims[1] == d.T);
	CHECK(d.H * d.P == x->dims[2] && d.G * d.N == b->dims[2] && d.H % d.G == 0);
	CHECK(d.P <= SSD_MAX_HEAD && d.N <= SSD_MAX_STATES);
	CHECK(tensor_same_shape(b, s->in[SSD_C_BTN]));
	CHECK(tensor_size(s->in[SSD_D_H]) == d.H);
	CHECK(!h || (h->n_dims == 3 && h->dims[0] == d.B && h->dims[1] == d.H * d.P && h->dims[2] == d.N));
	if (given)
		CHECK(tensor_same_shape(dt, s->in[SSD_WEIGHT_BTH]) && tensor_same_shape(dt, s->in[SSD_OWN_BTH]));
	else
		CHECK(tensor_size(s->in[SSD_ALOG_H]) == d.H && tensor_size(s->in[SSD_DTBIAS_H]) == d.H);
	op_shape_same(s);
}

void ssd_room_ref(struct op_shapes *s)
{
	struct ssd_dims d = ssd_dims(s->in, s->attr, SSD_MAX_CHUNK);

	s->forward_workspace = (size_t)d.N * sizeof(double);
	s->backward_workspace = (size_t)((d.T + 2) * d.N) * sizeof(double);
	if (s->training && s->in[SSD_H_BIN])	/* which forward changes */
		s->saved[SSD_STATES] = tensor_of(MASTER, 3, d.B, d.H * d.P, d.N);
}

/* Per token, with Q tokens in a chunk: scores C.B of the (Q + 1) / 2 pairs, those pairs with x, the
   state read and written. Kernels take all pairs; backward recomputes the scores. */
void ssd_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct ssd_dims d = ssd_dims(s->in, s->attr, SSD_MAX_CHUNK);
	double tokens = (double)(d.B * d.T), Q = (double)(d.Q < d.T ? d.Q : d.T);
	double I = (double)(d.H * d.P), N = (double)d.N, groups = (double)d.G * N;
	double bytes = op_io_bytes(&op_ssd, s);

	c->forward_flops = tokens * ((Q + 1) * (groups + I) + 4 * I * N + 2 * I);
	c->backward_flops = tokens * ((Q + 1) * 2 * (groups + I) + 8 * I * N + 4 * I);
	c->executed_flops = tokens * (2 * Q * (4 * groups + 3 * I) + 14 * I * N + 6 * I);
	c->forward_bytes = bytes;
	c->backward_bytes = 2 * bytes;	/* all inputs and dy in, all gradients out */
}

void ssd_room_cuda(struct op_shapes *s)
{
	struct ssd_dims d = ssd_dims(s->in, s->attr, SSD_CHUNK);
	long chunks = d.B * d.n_chunks;
	size_t steps = (size_t)(chunks * d.H) * sizeof(struct chunk_steps_cuda);
	size_t scores = (size_t)(chunks * d.G) * SSD_CHUNK * SSD_CHUNK * sizeof(float);
	size_t states = (size_t)(chunks * d.H * d.N * d.P) * sizeof(float);
	size_t parts = (size_t)(chunks * 3 * d.H) * sizeof(float);

	s->forward_workspace = steps + scores + (s->training ? 0 : states);
	s->backward_workspace = steps + scores + states + parts;
	if (s->training)
		s->saved[SSD_STATES] = tensor_of(MASTER, 4, d.B, d.n_chunks, d.H, d.N * d.P);
}

/* One channel of one sequence on the reference device, token by token; rows are tokens. */
struct channel {
	const struct op_run *run;
	struct ssd_dims dims;
	long b, i, head, first;	/* first: column of the head's B and C */
};

static struct channel channel_of(const struct op_run *r, long k)
{
	struct channel c = {.run = r, .dims = ssd_dims(r->in, r->attr, SSD_MAX_CHUNK)};
	long I = c.dims.H * c.dims.P;

	c.b = k / I;
	c.i = k % I;
	c.head = c.i / c.dims.P;
	c.first = c.head / (c.dims.H / c.dims.G) * c.dims.N;
	return c;
}

static long row_at(const struct channel *c, long t)
{
	return c->b * c->dims.T + t;
}

static double of_head(const struct channel *c, int input, long t)
{
	return row_f64(c->run->in[input], row_at(c, t))[c->head];
}

/* dt, or the weight that is given. */
static double step_size(const struct channel *c, long t)
{
	if (ssd_is_given(c->run->in))
		return of_head(c, SSD_WEIGHT_BTH, t);
	return softplus_f64(row_f64(c->run->in[SSD_DTRAW_BTH], row_at(c, t))[c->head] +
		row_f64(c->run->in[SSD_DTBIAS_H], 0)[c->head]);
}

/* -A */
static double rate(const struct channel *c)
{
	return exp(row_f64(c->run->in[SSD_ALOG_H], 0)[c->head]);
}

static double decay(const struct channel *c, long t, double dt)
{
	if (begins_document(c->run->in[SSD_START_BT], c->b, t))
		return 0;
	return exp(ssd_is_given(c->run->in) ? of_head(c, SSD_DECAY_BTH, t) : -dt * rate(c));
}

/* Weight of a token's share at itself; later tokens see dt of it. */
static double own_weight(const struct channel *c, long t, double dt)
{
	return ssd_is_given(c->run->in) ? of_head(c, SSD_OWN_BTH, t) : dt;
}

/* h at t from h at t - 1 (N states; they may be the same); returns y_t. */
static double step_forward(const struct channel *c, long t, const double *before, double *h)
{
	const double *B = row_f64(c->run->in[SSD_B_BTN], row_at(c, t)) + c->first;
	const double *C = row_f64(c->run->in[SSD_C_BTN], row_at(c, t)) + c->first;
	double x = row_f64(c->run->in[SSD_X_BTI], row_at(c, t))[c->i], dt = step_size(c, t);
	double y = row_f64(c->run->in[SSD_D_H], 0)[c->head] * x, e = decay(c, t, dt), own = own_weight(c, t, dt);

	for (long n = 0; n < c->dims.N; n++) {
		y += C[n] * (e * before[n] + own * B[n] * x);
		h[n] = e * before[n] + dt * B[n] * x;
	}
	return y;
}

void ssd_forward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[SSD_X_BTI], *h_BIN = r->in[SSD_H_BIN], *before = r->saved[SSD_STATES];

	for (long k = 0; k < x->dims[0] * x->dims[2]; k++) {
		struct channel c = channel_of(r, k);
		double *h = h_BIN ? row_f64(h_BIN, k) : r->workspace;
		for (long n = 0; n < c.dims.N && !h_BIN; n++)
			h[n] = 0;
		for (long n = 0; n < c.dims.N && before; n++)
			row_f64(before, k)[n] = h[n];
		for (long t = 0; t < c.dims.T; t++)
			row_f64(r->out[SSD_Y_BTI], row_at(&c, t))[c.i] = step_forward(&c, t, h, h);
	}
}

/* From the gradients of dt (or weight) at later tokens, of dt A (or decay), and of the own weight. */
static void step_size_backward(const struct channel *c, long t, double dt, double d_dt, double d_log, double d_own)
{
	const struct op_run *r = c->run;
	long row = row_at(c, t);
	double ddtraw;

	if (ssd_is_given(r->in)) {
		add_gradient(r, SSD_WEIGHT_BTH, row, c->head, d_dt);
		add_gradient(r, SSD_DECAY_BTH, row, c->head, d_log);
		add_gradient(r, SSD_OWN_BTH, row, c->head, d_own);
		return;
	}
	ddtraw = (d_dt + d_own - d_log * rate(c)) * (1 - exp(-dt));	/* logistic(v) = 1 - exp(-dt) */
	add_gradient(r, SSD_DTRAW_BTH, row, c->head, ddtraw);
	add_gradient(r, SSD_DTBIAS_H, 0, c->head, ddtraw);
	add_gradient(r, SSD_ALOG_H, 0, c->head, -dt * rate(c) * d_log);
}

/* One step back in time; g holds e_{t+1} g_{t+1} before and e_t g_t after. before: h_{t-1}. */
static void step_backward(const struct channel *c, long t, const double *before, double *g)
{
	const struct op_run *r = c->run;
	long row = row_at(c, t);
	const double *B = row_f64(r->in[SSD_B_BTN], row) + c->first;
	const double *C = row_f64(r->in[SSD_C_BTN], row) + c->first;
	double x = row_f64(r->in[SSD_X_BTI], row)[c->i], dy = row_f64(r->d_out[SSD_Y_BTI], row)[c->i];
	double dt = step_size(c, t), e = decay(c, t, dt), own = own_weight(c, t, dt), gB = 0, CB = 0, d_log = 0;

	for (long n = 0; n < c->dims.N; n++) {
		add_gradient(r, SSD_C_BTN, row, c->first + n, dy * (e * before[n] + own * B[n] * x));
		add_gradient(r, SSD_B_BTN, row, c->first + n, (g[n] * dt + dy * own * C[n]) * x);
		gB += g[n] * B[n];
		CB += C[n] * B[n];
		g[n] += dy * C[n];
		g[n] *= e;
		d_log += g[n] * before[n];	/* gradient of dt A */
	}
	add_gradient(r, SSD_X_BTI, row, c->i, dt * gB + (row_f64(r->in[SSD_D_H], 0)[c->head] + own * CB) * dy);
	add_gradient(r, SSD_D_H, 0, c->head, dy * x);
	step_size_backward(c, t, dt, x * gB, d_log, dy * CB * x);
}

void ssd_backward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[SSD_X_BTI], *before = r->saved[SSD_STATES];	/* NULL: it was 0 */

	for (int i = 0; i < SSD_N_IN; i++)
		clear_gradient(r, i);
	for (long k = 0; k < x->dims[0] * x->dims[2]; k++) {
		struct channel c = channel_of(r, k);
		long N = c.dims.N, T = c.dims.T;
		double *g = r->workspace, *h = g + N;
		for (long n = 0; n < N; n++)
			g[n] = 0, h[n] = before ? row_f64(before, k)[n] : 0;
		for (long t = 0; t < T - 1; t++)
			step_forward(&c, t, h + t * N, h + (t + 1) * N);
		for (long t = T - 1; t >= 0; t--)
			step_backward(&c, t, h + t * N, g);
	}
}

/* Steps that forget all, dt A = -100 or so, and steps that keep all, dt = 0, in turn with others. */
static void extremes(const struct op_trial *t)
{
	const struct tensor *dt = t->in[SSD_DTRAW_BTH];

	for (long k = 0; k < tensor_size(dt); k++)
		if (k % 5 < 2)
			op_trial_set(t, dt, k, k % 5 ? 100 : -200);
	prepare_documents(t);
}

/* Decays that are given, one of them to nothing; weights of either sign. */
static void given(const struct op_trial *t)
{
	const struct tensor *decay = t->in[SSD_DECAY_BTH];

	for (long k = 0; k < tensor_size(decay); k++)
		op_trial_set(t, decay, k, k % 17 == 9 ? -200 : -0.07 * (double)(k * k % 11));
	prepare_documents(t);
}

static const struct ssd_attr one_group = {1, SSD_CHUNK}, two_groups = {2, SSD_CHUNK}, short_chunks = {2, 16},
	steps = {1, 1}, longest_chunks = {1, SSD_MAX_CHUNK};

#define SHAPES_GIVEN(B, T, H, P, N_ALL) \
	[SSD_X_BTI] = {B, T, (H) * (P)}, [SSD_B_BTN] = {B, T, N_ALL}, [SSD_C_BTN] = {B, T, N_ALL}, \
	[SSD_D_H] = {H}, [SSD_START_BT] = {B, T}, [SSD_DECAY_BTH] = {B, T, H}, \
	[SSD_WEIGHT_BTH] = {B, T, H}, [SSD_OWN_BTH] = {B, T, H}

/* Lengths that no chunk divides; documents begin on, in front of and behind borders of chunks. */
static const struct op_example examples[] = {
	{.name = "plain", .attr = &one_group, .in = {SSD_SHAPES(1, 5, 2, 3, 4)}},
	{.name = "groups", .attr = &short_chunks, .in = {SSD_SHAPES(2, 37, 4, 5, 6)}},
	{.name = "each token a chunk", .attr = &steps, .prepare = prepare_documents,
		.in = {SSD_SHAPES(2, 6, 4, 3, 2), [SSD_START_BT] = {2, 6}}},
	{.name = "heads of one channel", .attr = &one_group, .in = {SSD_SHAPES(2, 70, 7, 1, 5)}},
	{.name = "wide", .attr = &two_groups, .no_gradient_check = true, .in = {SSD_SHAPES(1, 130, 4, 72, 144)}},
	{.name = "one chunk", .attr = &longest_chunks, .no_gradient_check = true,
		.in = {SSD_SHAPES(1, 100, 2, 64, 128)}},
	{.name = "extremes", .attr = &short_chunks, .prepare = extremes, .no_gradient_check = true,
		.in = {SSD_SHAPES(2, 70, 2, 8, 16), [SSD_START_BT] = {2, 70}}},
	{.name = "documents", .attr = &two_groups, .prepare = prepare_documents,
		.in = {SSD_SHAPES(2, 197, 2, 4, 10), [SSD_START_BT] = {2, 197}}},
	{.name = "given", .attr = &short_chunks, .prepare = given, .in = {SHAPES_GIVEN(2, 69, 4, 5, 8)}},
	{.name = "given, wide", .attr = &two_groups, .prepare = given, .no_gradient_check = true,
		.in = {SHAPES_GIVEN(1, 130, 2, 72, 80)}},
};

const struct op op_ssd = {
	.name = "ssd",
	.formula = "dt = softplus(dtraw + dt_bias);  h_t = exp(-dt exp(A_log)) h_{t-1} + dt x_t B_t^T;  "
		"y_t = h_t C_t + D x_t",
	.semantics = 1,
	.n_in = SSD_N_IN,
	.n_out = SSD_N_OUT,
	.n_saved = SSD_N_SAVED,
	.in = {SSD_INPUTS(IN_OPTIONAL)},
	.out = {[SSD_Y_BTI] = {"y_BTI", REAL, false}},
	.shape = ssd_shape,
	.room = {[REF] = ssd_room_ref, [CPU] = ssd_room_cpu, [CUDA] = ssd_room_cuda},
	.cost = ssd_cost,
	.backward_reads_in = READS(SSD_N_IN) - 1,	/* all of them */
	.forward = {[REF] = ssd_forward_ref, [CPU] = ssd_forward_cpu, [CUDA] = OP_CUDA(ssd_forward_cuda)},
	.backward = {[REF] = ssd_backward_ref, [CPU] = ssd_backward_cpu,
		[CUDA] = OP_CUDA(ssd_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
