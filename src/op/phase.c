#include "op/phase.h"

#include <math.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/kit/gradient.h"
#include "op/kit/vec.h"
#include "op/trial.h"

#define PI 3.14159265358979323846

struct phase {
	const struct tensor *angle, *dt, *start, *carried;
	long B, T, H, S;
};

static struct phase phase_of(const struct tensor *const *in)
{
	const struct tensor *angle = in[PHASE_ANGLE_BTS], *dt = in[PHASE_DT_BTH];

	return (struct phase){angle, dt, in[PHASE_START_BT], in[PHASE_CARRIED_BHS], angle->dims[0], angle->dims[1],
		tensor_width(dt), tensor_width(angle)};
}

static void phase_shape(struct op_shapes *s)
{
	struct phase p = phase_of(s->in);

	CHECK(p.angle->n_dims == 3 && p.dt->n_dims == 3 && p.dt->dims[0] == p.B && p.dt->dims[1] == p.T);
	CHECK(!p.carried || (p.carried->n_dims == 3 && p.carried->dims[0] == p.B && p.carried->dims[1] == p.H &&
		p.carried->dims[2] == p.S));
	s->out[PHASE_PHI_BTM] = tensor_of(MASTER, 3, p.B, p.T, p.H * p.S);
}

static void room_ref(struct op_shapes *s)
{
	struct phase p = phase_of(s->in);

	s->backward_workspace = (size_t)(p.H * p.S) * sizeof(double);
}

static void room_cpu(struct op_shapes *s)
{
	struct phase p = phase_of(s->in);

	s->forward_workspace = (size_t)(p.B * p.H * p.S) * sizeof(double);
	s->backward_workspace = (size_t)(p.B * p.H * p.S) * sizeof(float);
}

/* g of all tokens */
static void room_cuda(struct op_shapes *s)
{
	struct phase p = phase_of(s->in);

	s->backward_workspace = (size_t)(p.B * p.T * p.H * p.S) * sizeof(float);
}

static void phase_cost(const struct op_shapes *s, struct op_cost *c)
{
	struct phase p = phase_of(s->in);
	double n = (double)(p.B * p.T * p.H * p.S), bytes = op_io_bytes(&op_phase, s);

	*c = (struct op_cost){.forward_flops = 3 * n, .backward_flops = 7 * n, .executed_flops = 10 * n,
		.forward_bytes = bytes, .backward_bytes = bytes};
}

static double less_whole_turns(double phi)
{
	return phi - 2 * PI * round(phi / (2 * PI));
}

/* Has the token in front of t turned what t turns on? */
static bool goes_on(const struct phase *p, long b, long t)
{
	return !begins_document(p->start, b, t) && (t > 0 || p->carried);
}

static void phase_forward_ref(const struct op_run *r)
{
	struct phase p = phase_of(r->in);
	const struct tensor *phi = r->out[PHASE_PHI_BTM];

	for (long b = 0; b < p.B; b++)
		for (long k = 0, S = p.S; k < p.H * S; k++) {
			double *carried = p.carried ? row_f64(p.carried, b * p.H + k / S) + k % S : NULL;
			double sum = carried ? *carried : 0;
			for (long t = 0, row = b * p.T; t < p.T; t++, row++) {
				sum = (goes_on(&p, b, t) ? sum : 0) +
					PI * tanh(row_f64(p.angle, row)[k % S]) * row_f64(p.dt, row)[k / S];
				row_f64(phi, row)[k] = sum;
			}
			if (carried)
				*carried = less_whole_turns(sum);
		}
}

static void phase_backward_ref(const struct op_run *r)
{
	struct phase p = phase_of(r->in);
	const struct tensor *dphi = r->d_out[PHASE_PHI_BTM];
	double *g = r->workspace;

	clear_gradient(r, PHASE_ANGLE_BTS);
	clear_gradient(r, PHASE_DT_BTH);
	for (long row = p.B * p.T - 1; row >= 0; row--) {
		long t = row % p.T, b = row / p.T;
		for (long k = 0; k < p.H * p.S; k++) {
			double turn = tanh(row_f64(p.angle, row)[k % p.S]);
			bool followed = t + 1 < p.T && goes_on(&p, b, t + 1);
			g[k] = (followed ? g[k] : 0) + row_f64(dphi, row)[k];
			add_gradient(r, PHASE_ANGLE_BTS, row, k % p.S,
				g[k] * PI * (1 - turn * turn) * row_f64(p.dt, row)[k / p.S]);
			add_gradient(r, PHASE_DT_BTH, row, k / p.S, g[k] * PI * turn);
		}
	}
}

/* ---- cpu: a task is a sequence -------------------------------------------------------------- */

/* tanh(x) = 1 - 2 logistic(-2 x) */
static float turn_of(float angle)
{
	return 1 - 2 * vec_sigmoid(-2 * angle);
}

static void phase_forward(const struct op_run *r)
{
	struct phase p = phase_of(r->in);

	#pragma omp parallel for schedule(static)
	for (long b = 0; b < p.B; b++) {
		double *sum = (double *)r->workspace + b * p.H * p.S;
		for (long k = 0; k < p.H * p.S; k++)
			sum[k] = p.carried ? row_f32(p.carried, b * p.H + k / p.S)[k % p.S] : 0;
		for (long t = 0, row = b * p.T; t < p.T; t++, row++) {
			const float *angle = row_f32(p.angle, row), *dt = row_f32(p.dt, row);
			float *phi = row_f32(r->out[PHASE_PHI_BTM], row);
			double keep = goes_on(&p, b, t);
			for (long s = 0; s < p.S; s++) {
				float turn = (float)PI * turn_of(angle[s]);
				for (long h = 0; h < p.H; h++) {
					double *of = &sum[h * p.S + s];
					*of = keep * *of + turn * dt[h];
					phi[h * p.S + s] = (float)*of;
				}
			}
		}
		for (long k = 0; p.carried && k < p.H * p.S; k++)
			row_f32(p.carried, b * p.H + k / p.S)[k % p.S] = (float)less_whole_turns(sum[k]);
	}
}

/* One token's gradients from its g. */
static void token_backward(const struct op_run *r, const struct phase *p, long row, const float *g)
{
	const float *angle = row_f32(p->angle, row), *dt = row_f32(p->dt, row);
	float *dangle = r->d_in[PHASE_ANGLE_BTS] ? row_f32(r->d_in[PHASE_ANGLE_BTS], row) : NULL;
	float *ddt = r->d_in[PHASE_DT_BTH] ? row_f32(r->d_in[PHASE_DT_BTH], row) : NULL;

	for (long h = 0; ddt && h < p->H && !op_adds(r, PHASE_DT_BTH); h++)
		ddt[h] = 0;
	for (long s = 0; s < p->S; s++) {
		float turn = turn_of(angle[s]), sum = 0;
		for (long h = 0; h < p->H; h++) {
			sum += g[h * p->S + s] * dt[h];
			if (ddt)
				ddt[h] += g[h * p->S + s] * (float)PI * turn;
		}
		if (dangle)
			dangle[s] = sum * (float)PI * (1 - turn * turn) +
				(op_adds(r, PHASE_ANGLE_BTS) ? dangle[s] : 0);
	}
}

static void phase_backward(const struct op_run *r)
{
	struct phase p = phase_of(r->in);

	#pragma omp parallel for schedule(static)
	for (long b = 0; b < p.B; b++) {
		float *g = (float *)r->workspace + b * p.H * p.S;
		for (long t = p.T - 1; t >= 0; t--) {
			const float *dphi = row_f32(r->d_out[PHASE_PHI_BTM], b * p.T + t);
			bool followed = t + 1 < p.T && goes_on(&p, b, t + 1);
			for (long k = 0; k < p.H * p.S; k++)
				g[k] = (followed ? g[k] : 0) + dphi[k];
			token_backward(r, &p, b * p.T + t, g);
		}
	}
}

#define SHAPES(B, T, H, S) [PHASE_ANGLE_BTS] = {B, T, S}, [PHASE_DT_BTH] = {B, T, H}

static const struct op_example examples[] = {
	{.name = "plain", .prepare = prepare_documents, .in = {SHAPES(2, 7, 3, 4)}},
	{.name = "documents", .prepare = prepare_documents, .in = {SHAPES(2, 40, 2, 3), [PHASE_START_BT] = {2, 40}}},
	{.name = "many", .prepare = prepare_documents, .no_gradient_check = true, .in = {SHAPES(2, 100, 5, 33)}},
	{.name = "carried", .prepare = prepare_carried, .no_gradient_check = true, .in = {SHAPES(3, 21, 2, 3),
		[PHASE_START_BT] = {3, 21}, [PHASE_CARRIED_BHS] = {3, 2, 3}}},
};

const struct op op_phase = {
	.name = "phase",
	.formula = "phi_t = phi_{t-1} + pi tanh(angle_t) dt_t",
	.semantics = 1,
	.n_in = PHASE_N_IN,
	.n_out = PHASE_N_OUT,
	.in = {
		[PHASE_ANGLE_BTS] = {"angle_BTS", 0},
		[PHASE_DT_BTH] = {"dt_BTH", IN_MASTER},
		[PHASE_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX},
		[PHASE_CARRIED_BHS] = {"carried_BHS", IN_OPTIONAL | IN_MASTER | IN_UPDATED},
	},
	.out = {[PHASE_PHI_BTM] = {"phi_BTM", MASTER, false}},
	.shape = phase_shape,
	.room = {[REF] = room_ref, [CPU] = room_cpu, [CUDA] = room_cuda},
	.cost = phase_cost,
	.backward_reads_in = READS(PHASE_ANGLE_BTS) | READS(PHASE_DT_BTH) | READS(PHASE_START_BT),
	.forward = {[REF] = phase_forward_ref, [CPU] = phase_forward, [CUDA] = OP_CUDA(phase_forward_cuda)},
	.backward = {[REF] = phase_backward_ref, [CPU] = phase_backward, [CUDA] = OP_CUDA(phase_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
