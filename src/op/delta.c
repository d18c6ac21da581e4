#include "op/delta.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/cuda/chunk_steps.h"
#include "op/delta_kernels.h"
#include "op/document_start.h"
#include "op/kit/gradient.h"
#include "op/kit/vec.h"
#include "op/trial.h"

struct delta_dims delta_dims(const struct tensor *const *in, const struct delta_attr *attr)
{
	const struct tensor *q = in[DELTA_Q_BTK], *v = in[DELTA_V_BTV];
	long H = in[DELTA_BRAW_BTH]->dims[2];

	return (struct delta_dims){q->dims[0], q->dims[1], H, q->dims[2] / H, v->dims[2] / H, attr->chunk,
		ceil_div(q->dims[1], attr->chunk)};
}

void delta_shape(struct op_shapes *s)
{
	const struct delta_attr *attr = s->attr;
	const struct tensor *q = s->in[DELTA_Q_BTK], *v = s->in[DELTA_V_BTV], *b = s->in[DELTA_BRAW_BTH];
	const struct tensor *S = s->in[DELTA_S_BKV];
	struct delta_dims d;

	CHECK(attr->chunk > 0 && attr->chunk <= DELTA_CHUNK);
	CHECK(q->n_dims == 3 && v->n_dims == 3 && b->n_dims == 3);
	CHECK(tensor_same_shape(q, s->in[DELTA_K_BTK]) && tensor_same_shape(b, s->in[DELTA_DTRAW_BTH]));
	d = delta_dims(s->in, attr);
	CHECK(v->dims[0] == d.B && v->dims[1] == d.T && b->dims[0] == d.B && b->dims[1] == d.T);
	CHECK(d.H * d.K == q->dims[2] && d.H * d.V == v->dims[2]);
	CHECK(d.K <= DELTA_MAX_KEY && d.V <= DELTA_MAX_VALUE);
	CHECK(tensor_size(s->in[DELTA_ALOG_H]) == d.H && tensor_size(s->in[DELTA_DTBIAS_H]) == d.H);
	CHECK(!S || (S->n_dims == 3 && S->dims[0] == d.B && S->dims[1] == d.H * d.K && S->dims[2] == d.V));
	s->out[DELTA_Y_BTV] = tensor_of(REAL, 3, d.B, d.T, v->dims[2]);
}

/* Places in the reference's workspace, of one head. */
struct scratch {
	double *q, *k, *u, *v;		/* of the token: q and k normed; u; what v - ... is in u / beta */
	double *dq, *dk, *du;
	double *d_memory;		/* [K, V] */
	double *memory;			/* [T + 1][K, V], the first 0 */
};

void delta_room_ref(struct op_shapes *s)
{
	struct delta_dims d = delta_dims(s->in, s->attr);

	s->forward_workspace = s->backward_workspace =
		(size_t)(4 * d.K + 3 * d.V + (d.T + 2) * d.K * d.V) * sizeof(double);
	if (s->training && s->in[DELTA_S_BKV])	/* which forward changes */
		s->saved[DELTA_STATES] = tensor_of(MASTER, 3, d.B, d.H * d.K, d.V);
}

static struct scratch scratch_of(const struct delta_dims *d, double *at)
{
	double *u = at + 4 * d->K, *d_memory = u + 3 * d->V;

	return (struct scratch){.q = at, .k = at + d->K, .dq = at + 2 * d->K, .dk = at + 3 * d->K, .u = u,
		.v = u + d->V, .du = u + 2 * d->V, .d_memory = d_memory, .memory = d_memory + d->K * d->V};
}

void delta_room_cuda(struct op_shapes *s)
{
	struct delta_dims d = delta_dims(s->in, s->attr);
	size_t heads = (size_t)(d.B * d.n_chunks * d.H), tokens = (size_t)(d.B * d.T * d.H), K = (size_t)d.K;
	size_t V = (size_t)d.V, pairs = 2 * heads * CHUNK_TOKENS * CHUNK_TOKENS, states = heads * K * V;
	size_t steps = heads * sizeof(struct chunk_steps_cuda);

	s->forward_workspace = steps + (pairs + 2 * tokens + (s->training ? 0 : states)) * sizeof(float);
	s->backward_workspace = steps + (pairs + 2 * tokens + states + 2 * tokens * (K + V) + 2 * heads) *
		sizeof(float);
	if (s->training)
		s->saved[DELTA_STATES] = tensor_of(MASTER, 4, d.B, d.n_chunks, d.H, d.K * d.V);
}

/* Per token of a head, with Q tokens in a chunk: products k.k and q.k of the (Q + 1) / 2 pairs, those of
   pairs with u in the system and in y, the memory read twice and written once. Kernels take all pairs;
   backward makes forward's once more. */
void delta_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct delta_dims d = delta_dims(s->in, s->attr);
	double heads = (double)(d.B * d.T * d.H), Q = (double)(d.Q < d.T ? d.Q : d.T);
	double K = (double)d.K, V = (double)d.V, bytes = op_io_bytes(&op_delta, s);

	c->forward_flops = heads * ((Q + 1) * 2 * (K + V) + 6 * K * V + 6 * K + 3 * V);
	c->backward_flops = heads * ((Q + 1) * (6 * K + 4 * V) + 12 * K * V + 12 * K + 6 * V);
	c->executed_flops = heads * (Q * (20 * K + 14 * V) + 28 * K * V);
	c->forward_bytes = bytes;
	c->backward_bytes = 2 * bytes;	/* all inputs and dy in, all gradients out */
}

/* One head of one sequence on the reference device, token by token; rows are tokens. */
struct head {
	const struct op_run *run;
	struct delta_dims dims;
	long b, h;
	struct scratch s;
};

static long row_at(const struct head *c, long t)
{
	return c->b * c->dims.T + t;
}

static double *head_row(const struct head *c, const struct tensor *x, long t, long width)
{
	return row_f64(x, row_at(c, t)) + c->h * width;
}

static double of_head(const struct head *c, int input, long t)
{
	return row_f64(c->run->in[input], row_at(c, t))[c->h];
}

static double step_size(const struct head *c, long t)
{
	return softplus_f64(of_head(c, DELTA_DTRAW_BTH, t) + row_f64(c->run->in[DELTA_DTBIAS_H], 0)[c->h]);
}

/* -A */
static double rate(const struct head *c)
{
	return exp(row_f64(c->run->in[DELTA_ALOG_H], 0)[c->h]);
}

static double decay(const struct head *c, long t)
{
	return begins_document(c->run->in[DELTA_START_BT], c->b, t) ? 0 : exp(-step_size(c, t) * rate(c));
}

/* x over its norm, times scale; gives 1 / norm. */
static double normed(const double *x, long n, double scale, double *to)
{
	double square = DELTA_EPS;

	for (long i = 0; i < n; i++)
		square += x[i] * x[i];
	for (long i = 0; i < n; i++)
		to[i] = scale * x[i] / sqrt(square);
	return 1 / sqrt(square);
}

/* q, k, v and u of token t in the scratch; the memory behind it from that in front. */
static void step_forward(const struct head *c, long t, const double *before, double *memory)
{
	const struct scratch *s = &c->s;
	long K = c->dims.K, V = c->dims.V;
	double beta = sigmoid_f64(of_head(c, DELTA_BRAW_BTH, t)), e = decay(c, t);
	const double *v = head_row(c, c->run->in[DELTA_V_BTV], t, V);

	normed(head_row(c, c->run->in[DELTA_Q_BTK], t, K), K, 1 / sqrt((double)K), s->q);
	normed(head_row(c, c->run->in[DELTA_K_BTK], t, K), K, 1, s->k);
	for (long j = 0; j < V; j++) {
		s->v[j] = v[j];
		for (long i = 0; i < K; i++)
			s->v[j] -= e * before[i * V + j] * s->k[i];
		s->u[j] = beta * s->v[j];
	}
	for (long i = 0; i < K; i++)
		for (long j = 0; j < V; j++)
			memory[i * V + j] = e * before[i * V + j] + s->k[i] * s->u[j];
}

static struct head head_of(const struct op_run *r, long k)
{
	struct head c = {.run = r, .dims = delta_dims(r->in, r->attr)};

	c.b = k / c.dims.H;
	c.h = k % c.dims.H;
	c.s = scratch_of(&c.dims, r->workspace);
	memset(c.s.memory, 0, (size_t)(c.dims.K * c.dims.V) * sizeof(double));
	return c;
}

/* The head's first memory is that of S_BKV; NULL: 0. */
static void begin_with(const struct head *c, const struct tensor *S_BKV)
{
	long K = c->dims.K, V = c->dims.V;

	for (long i = 0; i < K && S_BKV; i++)
		memcpy(c->s.memory + i * V, row_f64(S_BKV, (c->b * c->dims.H + c->h) * K + i),
			(size_t)V * sizeof(double));
}

void delta_forward_ref(const struct op_run *r)
{
	const struct tensor *S_BKV = r->in[DELTA_S_BKV], *before = r->saved[DELTA_STATES];
	struct delta_dims d = delta_dims(r->in, r->attr);
	long size = d.K * d.V;

	for (long k = 0; k < d.B * d.H; k++) {
		struct head c = head_of(r, k);
		begin_with(&c, S_BKV);
		for (long i = 0; i < size && before; i++)
			row_f64(before, k * d.K + i / d.V)[i % d.V] = c.s.memory[i];
		for (long t = 0; t < d.T; t++) {
			double *y = head_row(&c, r->out[DELTA_Y_BTV], t, d.V), *memory = c.s.memory + (t + 1) * size;
			step_forward(&c, t, memory - size, memory);
			for (long j = 0; j < d.V; j++) {
				y[j] = 0;
				for (long i = 0; i < d.K; i++)
					y[j] += memory[i * d.V + j] * c.s.q[i];
			}
		}
		for (long i = 0; i < size && S_BKV; i++)
			row_f64(S_BKV, k * d.K + i / d.V)[i % d.V] = c.s.memory[d.T * size + i];
	}
}

/* From the gradient of x scale / |x| to that of x. */
static void put_normed(const struct head *c, int input, long t, double scale, const double *gradient)
{
	long K = c->dims.K;
	const double *x = head_row(c, c->run->in[input], t, K);
	double square = DELTA_EPS, dot = 0;

	for (long i = 0; i < K; i++) {
		square += x[i] * x[i];
		dot += x[i] * gradient[i];
	}
	for (long i = 0; i < K; i++)
		put_gradient(c->run, input, row_at(c, t), c->h * K + i,
			scale / sqrt(square) * (gradient[i] - x[i] * dot / square));
}

/* Through y_t = S_t^T q and S_t = S~ + k u^T: dq, dk, du in the scratch. */
static void write_backward(const struct head *c, long t, const double *memory)
{
	const struct scratch *s = &c->s;
	long K = c->dims.K, V = c->dims.V;
	const double *dy = head_row(c, c->run->d_out[DELTA_Y_BTV], t, V);

	memset(s->du, 0, (size_t)V * sizeof(double));
	for (long i = 0; i < K; i++) {
		s->dq[i] = s->dk[i] = 0;
		for (long j = 0; j < V; j++) {
			double *d = &s->d_memory[i * V + j];
			*d += s->q[i] * dy[j];
			s->dq[i] += memory[i * V + j] * dy[j];
			s->dk[i] += *d * s->u[j];
			s->du[j] += *d * s->k[i];
		}
	}
}

/* Through u = beta (v - S~^T k) and S~ = e^g S: gradients of v, beta, g; d_memory goes a token back. */
static void erase_backward(const struct head *c, long t, const double *before)
{
	const struct op_run *r = c->run;
	const struct scratch *s = &c->s;
	long K = c->dims.K, V = c->dims.V, row = row_at(c, t);
	double beta = sigmoid_f64(of_head(c, DELTA_BRAW_BTH, t)), e = decay(c, t), d_beta = 0, d_log = 0;
	double dt = step_size(c, t), ddtraw;

	for (long j = 0; j < V; j++) {
		d_beta += s->du[j] * s->v[j];
		put_gradient(r, DELTA_V_BTV, row, c->h * V + j, beta * s->du[j]);
		for (long i = 0; i < K; i++) {
			double *d = &s->d_memory[i * V + j];
			s->dk[i] -= e * before[i * V + j] * beta * s->du[j];
			*d = e * (*d - s->k[i] * beta * s->du[j]);
			d_log += *d * before[i * V + j];
		}
	}
	ddtraw = -d_log * rate(c) * (1 - exp(-dt));	/* logistic(v) = 1 - exp(-softplus(v)) */
	put_gradient(r, DELTA_BRAW_BTH, row, c->h, d_beta * beta * (1 - beta));
	put_gradient(r, DELTA_DTRAW_BTH, row, c->h, ddtraw);
	add_gradient(r, DELTA_DTBIAS_H, 0, c->h, ddtraw);
	add_gradient(r, DELTA_ALOG_H, 0, c->h, -dt * rate(c) * d_log);
}

void delta_backward_ref(const struct op_run *r)
{
	struct delta_dims d = delta_dims(r->in, r->attr);
	long size = d.K * d.V;

	clear_gradient(r, DELTA_ALOG_H);
	clear_gradient(r, DELTA_DTBIAS_H);
	for (long k = 0; k < d.B * d.H; k++) {
		struct head c = head_of(r, k);
		begin_with(&c, r->saved[DELTA_STATES]);
		memset(c.s.d_memory, 0, (size_t)size * sizeof(double));
		for (long t = 0; t < d.T; t++)
			step_forward(&c, t, c.s.memory + t * size, c.s.memory + (t + 1) * size);
		for (long t = d.T - 1; t >= 0; t--) {
			double *before = c.s.memory + t * size;
			step_forward(&c, t, before, before + size);
			write_backward(&c, t, before + size);
			erase_backward(&c, t, before);
			put_normed(&c, DELTA_Q_BTK, t, 1 / sqrt((double)d.K), c.s.dq);
			put_normed(&c, DELTA_K_BTK, t, 1, c.s.dk);
		}
	}
}

void delta_prepare_long(const struct op_trial *t)
{
	for (long h = 0; h < tensor_size(t->in[DELTA_ALOG_H]); h++)
		op_trial_set(t, t->in[DELTA_ALOG_H], h, -3 + 0.5 * (double)h);
}

static void prepare(const struct op_trial *t)
{
	delta_prepare_long(t);
	prepare_documents(t);
}

static const struct delta_attr usual = {DELTA_CHUNK}, short_chunks = {16}, steps = {1};

/* Lengths that no chunk divides; documents begin on, in front of and behind borders of chunks. */
static const struct op_example examples[] = {
	{.name = "plain", .attr = &usual, .in = {DELTA_SHAPES(1, 5, 2, 3, 4)}},
	{.name = "chunks", .attr = &short_chunks, .prepare = prepare, .in = {DELTA_SHAPES(2, 37, 2, 5, 6)}},
	{.name = "each token a chunk", .attr = &steps, .prepare = prepare_documents,
		.in = {DELTA_SHAPES(2, 6, 2, 3, 2), [DELTA_START_BT] = {2, 6}}},
	{.name = "wide", .attr = &usual, .prepare = prepare, .no_gradient_check = true,
		.in = {DELTA_SHAPES(1, 70, 2, 72, 136)}},
	{.name = "documents", .attr = &usual, .prepare = prepare,
		.in = {DELTA_SHAPES(2, 140, 2, 4, 7), [DELTA_START_BT] = {2, 140}}},
};

const struct op op_delta = {
	.name = "delta",
	.formula = "k = kraw / |kraw|;  q = qraw / |qraw| / sqrt(K);  g = -exp(A_log) softplus(dtraw + dt_bias);  "
		"S_t = e^g S_{t-1} + k u^T,  u = logistic(braw) (v - e^g S_{t-1}^T k);  y_t = S_t^T q",
	.semantics = 1,
	.n_in = DELTA_N_IN,
	.n_out = DELTA_N_OUT,
	.n_saved = DELTA_N_SAVED,
	.in = {DELTA_INPUTS(IN_OPTIONAL)},
	.out = {[DELTA_Y_BTV] = {"y_BTV", REAL, false}},
	.shape = delta_shape,
	.room = {[REF] = delta_room_ref, [CPU] = delta_room_cpu, [CUDA] = delta_room_cuda},
	.cost = delta_cost,
	.backward_reads_in = READS(DELTA_N_IN) - 1,	/* all of them */
	.forward = {[REF] = delta_forward_ref, [CPU] = delta_forward_cpu,
		[CUDA] = OP_CUDA(delta_forward_cuda)},
	.backward = {[REF] = delta_backward_ref, [CPU] = delta_backward_cpu,
		[CUDA] = OP_CUDA(delta_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
