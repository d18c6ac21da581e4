#include "op/scan.h"

#include <math.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/gradient.h"
#include "op/kit/vec.h"
#include "op/scan_kernels.h"
#include "op/trial.h"

struct scan_dims scan_dims(const struct tensor *const *in)
{
	const struct tensor *u = in[SCAN_U_BTI], *b = in[SCAN_B_BTN];

	return (struct scan_dims){u->dims[0], u->dims[1], u->dims[2], b->dims[2]};
}

void scan_shape(struct op_shapes *s)
{
	const struct tensor *u = s->in[SCAN_U_BTI], *a = s->in[SCAN_ALOG_IN], *h = s->in[SCAN_H_BIN];
	struct scan_dims d = scan_dims(s->in);

	CHECK(u->n_dims == 3 && s->in[SCAN_B_BTN]->n_dims == 3);
	CHECK(tensor_same_shape(u, s->in[SCAN_DTRAW_BTI]));
	CHECK(tensor_same_shape(s->in[SCAN_B_BTN], s->in[SCAN_C_BTN]));
	CHECK(s->in[SCAN_B_BTN]->dims[0] == d.B && s->in[SCAN_B_BTN]->dims[1] == d.T);
	CHECK(a->n_dims == 2 && a->dims[0] == d.I && a->dims[1] == d.N);
	CHECK(tensor_size(s->in[SCAN_D_I]) == d.I && tensor_size(s->in[SCAN_DTBIAS_I]) == d.I);
	CHECK(!s->in[SCAN_Z_BTI] || tensor_same_shape(u, s->in[SCAN_Z_BTI]));
	CHECK(!h || (h->n_dims == 3 && h->dims[0] == d.B && h->dims[1] == d.I && h->dims[2] == d.N));
	op_shape_same(s);
}

void scan_room_ref(struct op_shapes *s)
{
	struct scan_dims d = scan_dims(s->in);

	s->forward_workspace = (size_t)d.N * sizeof(double);
	s->backward_workspace = (size_t)((d.T + 2) * d.N) * sizeof(double);
	if (s->training && s->in[SCAN_H_BIN])	/* which forward changes */
		s->saved[SCAN_STATES] = tensor_of(MASTER, 3, d.B, d.I, d.N);
}

/* Per (token, channel, state) forward: dt A, exp, x B, two multiply-adds; backward: six
   multiply-adds and two products. Around it per (token, channel): softplus, D, gate. */
void scan_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct scan_dims d = scan_dims(s->in);
	double channels = (double)d.B * (double)d.T * (double)d.I, states = channels * (double)d.N;
	double bytes = op_io_bytes(&op_scan, s);	/* scan_step: but for the states */
	bool gated = s->in[SCAN_Z_BTI] != NULL;

	c->forward_flops = 7 * states + (gated ? 12 : 7) * channels;
	c->backward_flops = 14 * states + (gated ? 22 : 12) * channels;
	c->executed_flops = c->forward_flops * 2 + c->backward_flops;
	c->forward_bytes = bytes;
	c->backward_bytes = 2 * bytes;	/* all inputs and dy in, all gradients out */
}

/* One channel of one sequence on the reference device; rows are tokens. */
struct channel {
	const struct op_run *run;
	struct scan_dims dims;
	long b, i;
};

static double at(const struct channel *c, int input, long t)
{
	return row_f64(c->run->in[input], c->b * c->dims.T + t)[c->i];
}

static double step_size(const struct channel *c, long t)
{
	return softplus_f64(at(c, SCAN_DTRAW_BTI, t) + row_f64(c->run->in[SCAN_DTBIAS_I], 0)[c->i]);
}

static double decay(const struct channel *c, long t, double dt, long n)
{
	if (begins_document(c->run->in[SCAN_START_BT], c->b, t))
		return 0;
	return exp(-dt * exp(row_f64(c->run->in[SCAN_ALOG_IN], c->i)[n]));
}

/* h at t from h at t - 1 (both of N states; they may be the same); returns s_t. */
static double step_forward(const struct channel *c, long t, const double *before, double *h)
{
	const double *B = row_f64(c->run->in[SCAN_B_BTN], c->b * c->dims.T + t);
	const double *C = row_f64(c->run->in[SCAN_C_BTN], c->b * c->dims.T + t);
	double u = at(c, SCAN_U_BTI, t), dt = step_size(c, t);
	double s = row_f64(c->run->in[SCAN_D_I], 0)[c->i] * u;

	for (long n = 0; n < c->dims.N; n++) {
		h[n] = decay(c, t, dt, n) * before[n] + dt * B[n] * u;
		s += C[n] * h[n];
	}
	return s;
}

void scan_forward_ref(const struct op_run *r)
{
	const struct tensor *h_BIN = r->in[SCAN_H_BIN], *before = r->saved[SCAN_STATES];
	struct scan_dims d = scan_dims(r->in);

	for (long k = 0; k < d.B * d.I; k++) {
		struct channel c = {r, d, k / d.I, k % d.I};
		double *h = h_BIN ? row_f64(h_BIN, k) : r->workspace;
		for (long n = 0; n < d.N && !h_BIN; n++)
			h[n] = 0;
		for (long n = 0; n < d.N && before; n++)
			row_f64(before, k)[n] = h[n];
		for (long t = 0; t < d.T; t++) {
			double s = step_forward(&c, t, h, h);
			double z = r->in[SCAN_Z_BTI] ? at(&c, SCAN_Z_BTI, t) : 0;
			row_f64(r->out[SCAN_Y_BTI], c.b * d.T + t)[c.i] =
				r->in[SCAN_Z_BTI] ? s * z * sigmoid_f64(z) : s;
		}
	}
}

/* One step back in time; g holds e_{t+1} g_{t+1} before and e_t g_t after. before: h_{t-1}. */
static void step_backward(const struct channel *c, long t, const double *before, double s,
	double *g)
{
	const struct op_run *r = c->run;
	long row = c->b * c->dims.T + t;
	const double *B = row_f64(r->in[SCAN_B_BTN], row), *C = row_f64(r->in[SCAN_C_BTN], row);
	double u = at(c, SCAN_U_BTI, t), dt = step_size(c, t), ddt = 0, gB = 0;
	double ds = row_f64(r->d_out[SCAN_Y_BTI], row)[c->i];

	if (r->in[SCAN_Z_BTI]) {
		double z = at(c, SCAN_Z_BTI, t), gate = sigmoid_f64(z);
		put_gradient(r, SCAN_Z_BTI, row, c->i, ds * s * gate * (1 + z * (1 - gate)));
		ds *= z * gate;
	}
	for (long n = 0; n < c->dims.N; n++) {
		double e = decay(c, t, dt, n), a = -exp(row_f64(r->in[SCAN_ALOG_IN], c->i)[n]);
		double h = e * before[n] + dt * B[n] * u;
		g[n] += ds * C[n];
		add_gradient(r, SCAN_C_BTN, row, n, ds * h);
		add_gradient(r, SCAN_B_BTN, row, n, g[n] * dt * u);
		gB += g[n] * B[n];
		g[n] *= e;
		ddt += g[n] * before[n] * a;
		add_gradient(r, SCAN_ALOG_IN, c->i, n, g[n] * before[n] * dt * a);
	}
	ddt = (ddt + u * gB) * (1 - exp(-dt));	/* logistic(v) = 1 - exp(-softplus(v)) */
	put_gradient(r, SCAN_U_BTI, row, c->i, dt * gB + row_f64(r->in[SCAN_D_I], 0)[c->i] * ds);
	put_gradient(r, SCAN_DTRAW_BTI, row, c->i, ddt);
	add_gradient(r, SCAN_DTBIAS_I, 0, c->i, ddt);
	add_gradient(r, SCAN_D_I, 0, c->i, ds * u);
}

void scan_backward_ref(const struct op_run *r)
{
	const struct tensor *before = r->saved[SCAN_STATES];	/* NULL: it was 0 */
	struct scan_dims d = scan_dims(r->in);
	double *g = r->workspace, *h = g + d.N, *out = h + d.T * d.N;	/* out: h after a step */

	clear_gradient(r, SCAN_ALOG_IN);
	clear_gradient(r, SCAN_B_BTN);
	clear_gradient(r, SCAN_C_BTN);
	clear_gradient(r, SCAN_D_I);
	clear_gradient(r, SCAN_DTBIAS_I);
	for (long k = 0; k < d.B * d.I; k++) {
		struct channel c = {r, d, k / d.I, k % d.I};
		for (long n = 0; n < d.N; n++)
			g[n] = 0, h[n] = before ? row_f64(before, k)[n] : 0;
		for (long t = 0; t < d.T - 1; t++)
			step_forward(&c, t, h + t * d.N, h + (t + 1) * d.N);
		for (long t = d.T - 1; t >= 0; t--) {
			double s = step_forward(&c, t, h + t * d.N, out);
			step_backward(&c, t, h + t * d.N, s, g);
		}
	}
}

/* Sizes that leave every tile of the fast kernels with a remainder. */
static const struct op_example examples[] = {
	{.name = "plain", .in = {SCAN_SHAPES(1, 4, 3, 2)}},
	{.name = "gated", .in = {SCAN_SHAPES(2, 5, 19, 16), [SCAN_Z_BTI] = {2, 5, 19}}},
	{.name = "long", .in = {SCAN_SHAPES(2, 131, 5, 7), [SCAN_Z_BTI] = {2, 131, 5}}},
	{.name = "wide", .no_gradient_check = true, .in = {SCAN_SHAPES(1, 66, 300, 16), [SCAN_Z_BTI] = {1, 66, 300}}},
	{.name = "whole", .no_gradient_check = true, .in = {SCAN_SHAPES(1, 35, 136, 16), [SCAN_Z_BTI] = {1, 35, 136}}},
	{.name = "states", .no_gradient_check = true, .in = {SCAN_SHAPES(2, 35, 40, 37), [SCAN_Z_BTI] = {2, 35, 40}}},
	{.name = "documents", .prepare = prepare_documents,
		.in = {SCAN_SHAPES(2, 197, 5, 7), [SCAN_Z_BTI] = {2, 197, 5}, [SCAN_START_BT] = {2, 197}}},
};

const struct op op_scan = {
	.name = "scan",
	.formula = "dt = softplus(dtraw + dtbias);  h_t = exp(-dt exp(A_log)) h_{t-1} + dt B_t u_t;  "
		"y_t = (C_t . h_t + D u_t) SiLU(z_t)",
	.semantics = 1,
	.n_in = SCAN_N_IN,
	.n_out = SCAN_N_OUT,
	.n_saved = SCAN_N_SAVED,
	.in = {SCAN_INPUTS},
	.out = {[SCAN_Y_BTI] = {"y_BTI", REAL, false}},
	.shape = scan_shape,
	.room = {[REF] = scan_room_ref, [CPU] = scan_room_cpu, [CUDA] = scan_room_cuda},
	.cost = scan_cost,
	.backward_reads_in = READS(SCAN_N_IN) - 1,	/* all of them */
	.d_in_takes = {[SCAN_U_BTI] = TAKES(SCAN_Y_BTI)},
	.forward = {[REF] = scan_forward_ref, [CPU] = scan_forward_cpu,
		[CUDA_SCAN] = OP_CUDA(scan_forward_cuda_scan), [CUDA] = OP_CUDA(scan_forward_cuda)},
	.backward = {[REF] = scan_backward_ref, [CPU] = scan_backward_cpu,
		[CUDA_SCAN] = OP_CUDA(scan_backward_cuda_scan), [CUDA] = OP_CUDA(scan_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
