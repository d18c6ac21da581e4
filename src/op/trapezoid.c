#include "op/trapezoid.h"

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/gradient.h"
#include "op/kit/vec.h"
#include "op/trial.h"

/* Rows of the token in front of the window. */
static long in_front(const void *attr)
{
	return ((const struct trapezoid_attr *)attr)->past;
}

static void trapezoid_shape(struct op_shapes *s)
{
	const struct tensor *dt = s->in[TRAPEZOID_DTRAW_BTH];

	CHECK(dt->n_dims == 3 && tensor_same_shape(dt, s->in[TRAPEZOID_ARAW_BTH]));
	CHECK(tensor_same_shape(dt, s->in[TRAPEZOID_LRAW_BTH]));
	CHECK(tensor_size(s->in[TRAPEZOID_DTBIAS_H]) == tensor_width(dt));
	for (int o = 0; o < TRAPEZOID_N_OUT; o++) {
		long more = o == TRAPEZOID_DT_BTH ? 0 : in_front(s->attr);
		s->out[o] = tensor_of(MASTER, 3, dt->dims[0], dt->dims[1] + more, dt->dims[2]);
	}
}

static void trapezoid_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[TRAPEZOID_DTRAW_BTH]), bytes = op_io_bytes(&op_trapezoid, s);

	*c = (struct op_cost){.forward_flops = 14 * n, .backward_flops = 24 * n, .executed_flops = 48 * n,
		.forward_bytes = bytes, .backward_bytes = bytes};
}

/* ---- reference ------------------------------------------------------------------------------ */

/* A token of a head, in float64. */
struct step {
	double dt, slope, rate, d_rate, lambda;	/* slope: of softplus; d_rate: of the rate -A by araw */
};

static struct step step_ref(const struct op_run *r, long row, long h)
{
	double raw = row_f64(r->in[TRAPEZOID_DTRAW_BTH], row)[h] + row_f64(r->in[TRAPEZOID_DTBIAS_H], 0)[h];
	double a = row_f64(r->in[TRAPEZOID_ARAW_BTH], row)[h], f = a >= 0 ? 1 + a : 1 / (1 - a);
	struct step s = {.slope = sigmoid_f64(raw)};

	s.lambda = sigmoid_f64(row_f64(r->in[TRAPEZOID_LRAW_BTH], row)[h]);
	s.dt = softplus_f64(raw);
	s.rate = f > TRAPEZOID_LEAST_RATE ? f : TRAPEZOID_LEAST_RATE;
	s.d_rate = f > TRAPEZOID_LEAST_RATE ? (a >= 0 ? 1 : f * f) : 0;
	return s;
}

/* Does the token in front of t come into it? */
static bool has_before(const struct op_run *r, long b, long t)
{
	long s = in_front(r->attr) + t;

	return s > 0 && !begins_document(r->in[TRAPEZOID_START_BT], b, s);
}

/* Of token t in all outputs but DT. */
static long out_row(const struct op_run *r, long b, long t)
{
	long n = in_front(r->attr);

	return b * (n + r->in[TRAPEZOID_DTRAW_BTH]->dims[1]) + n + t;
}

static void past_ref(const struct op_run *r, long b, long h)
{
	struct step next = step_ref(r, b * r->in[TRAPEZOID_DTRAW_BTH]->dims[1], h);
	long row = out_row(r, b, -1);

	row_f64(r->out[TRAPEZOID_DECAY_BTH], row)[h] = row_f64(r->out[TRAPEZOID_OWN_BTH], row)[h] = 0;
	row_f64(r->out[TRAPEZOID_WEIGHT_BTH], row)[h] = has_before(r, b, 0) ? (1 - next.lambda) * next.dt : 0;
}

static void trapezoid_forward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[TRAPEZOID_DTRAW_BTH];

	for (long b = 0, T = x->dims[1]; b < x->dims[0]; b++) {
		for (long h = 0; in_front(r->attr) && h < x->dims[2]; h++)
			past_ref(r, b, h);
		for (long t = 0; t < T; t++)
			for (long h = 0, row = b * T + t, out = out_row(r, b, t); h < x->dims[2]; h++) {
				struct step s = step_ref(r, row, h), next = {0};
				if (t + 1 < T && has_before(r, b, t + 1))
					next = step_ref(r, row + 1, h);
				row_f64(r->out[TRAPEZOID_DECAY_BTH], out)[h] = -s.dt * s.rate;
				row_f64(r->out[TRAPEZOID_OWN_BTH], out)[h] = s.lambda * s.dt;
				row_f64(r->out[TRAPEZOID_WEIGHT_BTH], out)[h] =
					s.lambda * s.dt + (1 - next.lambda) * next.dt;
				row_f64(r->out[TRAPEZOID_DT_BTH], row)[h] = s.dt;
			}
	}
}

static double d_out_ref(const struct op_run *r, int output, long row, long h)
{
	return r->d_out[output] ? row_f64(r->d_out[output], row)[h] : 0;
}

static double token_backward_ref(const struct op_run *r, long b, long t, long h)
{
	long row = b * r->in[TRAPEZOID_DTRAW_BTH]->dims[1] + t, out = out_row(r, b, t);
	struct step s = step_ref(r, row, h);
	double before = has_before(r, b, t) ? d_out_ref(r, TRAPEZOID_WEIGHT_BTH, out - 1, h) : 0;
	double own = d_out_ref(r, TRAPEZOID_OWN_BTH, out, h) + d_out_ref(r, TRAPEZOID_WEIGHT_BTH, out, h);
	double decay = d_out_ref(r, TRAPEZOID_DECAY_BTH, out, h);
	double d = s.slope * (d_out_ref(r, TRAPEZOID_DT_BTH, row, h) - s.rate * decay + s.lambda * own +
		(1 - s.lambda) * before);

	put_gradient(r, TRAPEZOID_DTRAW_BTH, row, h, d);
	put_gradient(r, TRAPEZOID_ARAW_BTH, row, h, -s.dt * s.d_rate * decay);
	put_gradient(r, TRAPEZOID_LRAW_BTH, row, h, s.dt * (own - before) * s.lambda * (1 - s.lambda));
	return d;
}

static void trapezoid_backward_ref(const struct op_run *r)
{
	const struct tensor *x = r->in[TRAPEZOID_DTRAW_BTH];

	for (long h = 0; h < x->dims[2]; h++) {
		double sum = 0;
		for (long i = 0, T = x->dims[1]; i < x->dims[0] * T; i++)
			sum += token_backward_ref(r, i / T, i % T, h);
		put_gradient(r, TRAPEZOID_DTBIAS_H, 0, h, sum);
	}
}

/* ---- cpu: a task is a head ------------------------------------------------------------------ */

struct step_f32 {
	float dt, slope, rate, d_rate, lambda;
};

static struct step_f32 step(const struct op_run *r, long row, long h)
{
	float raw = row_f32(r->in[TRAPEZOID_DTRAW_BTH], row)[h] + row_f32(r->in[TRAPEZOID_DTBIAS_H], 0)[h];
	float a = row_f32(r->in[TRAPEZOID_ARAW_BTH], row)[h], f = a >= 0 ? 1 + a : 1 / (1 - a);
	bool above = f > (float)TRAPEZOID_LEAST_RATE;

	return (struct step_f32){vec_softplus(raw), vec_sigmoid(raw), above ? f : (float)TRAPEZOID_LEAST_RATE,
		above ? (a >= 0 ? 1 : f * f) : 0, vec_sigmoid(row_f32(r->in[TRAPEZOID_LRAW_BTH], row)[h])};
}

/* From the last token back, each made once. */
static void head_forward(const struct op_run *r, long b, long h)
{
	long T = r->in[TRAPEZOID_DTRAW_BTH]->dims[1];
	float later = 0;	/* what token t + 1 takes of token t */

	for (long t = T - 1; t >= 0; t--) {
		long row = b * T + t, out = out_row(r, b, t);
		struct step_f32 s = step(r, row, h);
		row_f32(r->out[TRAPEZOID_DECAY_BTH], out)[h] = -s.dt * s.rate;
		row_f32(r->out[TRAPEZOID_OWN_BTH], out)[h] = s.lambda * s.dt;
		row_f32(r->out[TRAPEZOID_WEIGHT_BTH], out)[h] = s.lambda * s.dt + later;
		row_f32(r->out[TRAPEZOID_DT_BTH], row)[h] = s.dt;
		later = has_before(r, b, t) ? (1 - s.lambda) * s.dt : 0;
	}
	if (!in_front(r->attr))
		return;
	row_f32(r->out[TRAPEZOID_DECAY_BTH], out_row(r, b, -1))[h] = 0;
	row_f32(r->out[TRAPEZOID_OWN_BTH], out_row(r, b, -1))[h] = 0;
	row_f32(r->out[TRAPEZOID_WEIGHT_BTH], out_row(r, b, -1))[h] = later;
}

static void trapezoid_forward(const struct op_run *r)
{
	const struct tensor *x = r->in[TRAPEZOID_DTRAW_BTH];

	#pragma omp parallel for schedule(static)
	for (long k = 0; k < x->dims[0] * x->dims[2]; k++)
		head_forward(r, k / x->dims[2], k % x->dims[2]);
}

static float d_out(const struct op_run *r, int output, long row, long h)
{
	return r->d_out[output] ? row_f32(r->d_out[output], row)[h] : 0;
}

static float token_backward(const struct op_run *r, long b, long t, long h)
{
	long row = b * r->in[TRAPEZOID_DTRAW_BTH]->dims[1] + t, out = out_row(r, b, t);
	struct step_f32 s = step(r, row, h);
	float before = has_before(r, b, t) ? d_out(r, TRAPEZOID_WEIGHT_BTH, out - 1, h) : 0;
	float own = d_out(r, TRAPEZOID_OWN_BTH, out, h) + d_out(r, TRAPEZOID_WEIGHT_BTH, out, h);
	float decay = d_out(r, TRAPEZOID_DECAY_BTH, out, h);
	float d = s.slope * (d_out(r, TRAPEZOID_DT_BTH, row, h) - s.rate * decay + s.lambda * own +
		(1 - s.lambda) * before);

	put_gradient_f32(r, TRAPEZOID_DTRAW_BTH, row, h, d);
	put_gradient_f32(r, TRAPEZOID_ARAW_BTH, row, h, -s.dt * s.d_rate * decay);
	put_gradient_f32(r, TRAPEZOID_LRAW_BTH, row, h, s.dt * (own - before) * s.lambda * (1 - s.lambda));
	return d;
}

static void trapezoid_backward(const struct op_run *r)
{
	const struct tensor *x = r->in[TRAPEZOID_DTRAW_BTH];

	#pragma omp parallel for schedule(static)
	for (long h = 0; h < x->dims[2]; h++) {
		float sum = 0;
		for (long b = 0; b < x->dims[0]; b++) {
			float of_sequence = 0;
			for (long t = 0; t < x->dims[1]; t++)
				of_sequence += token_backward(r, b, t, h);
			sum += of_sequence;
		}
		put_gradient_f32(r, TRAPEZOID_DTBIAS_H, 0, h, sum);
	}
}

/* The second sequence begins a document with its first token. */
static void prepare_past(const struct op_trial *t)
{
	prepare_carried(t);
	op_trial_set(t, t->in[TRAPEZOID_START_BT], tensor_width(t->in[TRAPEZOID_START_BT]) + 1, 1);
}

static const struct trapezoid_attr whole = {false}, window = {true};

static const struct op_example examples[] = {
	{.name = "plain", .attr = &whole, .prepare = prepare_documents, .in = {TRAPEZOID_SHAPES(2, 7, 3)}},
	{.name = "documents", .attr = &whole, .prepare = prepare_documents,
		.in = {TRAPEZOID_SHAPES(3, 40, 2), [TRAPEZOID_START_BT] = {3, 40}}},
	{.name = "a window", .attr = &window, .prepare = prepare_past,
		.in = {TRAPEZOID_SHAPES(3, 20, 2), [TRAPEZOID_START_BT] = {3, 21}}},
	{.name = "long", .attr = &whole, .no_gradient_check = true, .in = {TRAPEZOID_SHAPES(3, 600, 5)}},
};

const struct op op_trapezoid = {
	.name = "trapezoid",
	.formula = "dt = softplus(dtraw + dt_bias);  decay = dt A(araw);  own = lambda dt;  "
		"weight = own + (1 - lambda_{t+1}) dt_{t+1},  lambda = logistic(lraw)",
	.semantics = 1,
	.n_in = TRAPEZOID_N_IN,
	.n_out = TRAPEZOID_N_OUT,
	.in = {TRAPEZOID_INPUTS},
	.out = {
		[TRAPEZOID_DECAY_BTH] = {"decay_BTH", MASTER, false},
		[TRAPEZOID_WEIGHT_BTH] = {"weight_BTH", MASTER, false},
		[TRAPEZOID_OWN_BTH] = {"own_BTH", MASTER, false},
		[TRAPEZOID_DT_BTH] = {"dt_BTH", MASTER, false},
	},
	.shape = trapezoid_shape,
	.cost = trapezoid_cost,
	.backward_reads_in = READS(TRAPEZOID_N_IN) - 1,	/* all of them */
	.forward = {[REF] = trapezoid_forward_ref, [CPU] = trapezoid_forward,
		[CUDA] = OP_CUDA(trapezoid_forward_cuda)},
	.backward = {[REF] = trapezoid_backward_ref, [CPU] = trapezoid_backward,
		[CUDA] = OP_CUDA(trapezoid_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
