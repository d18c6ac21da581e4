#include "op/adamw.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "op/trial.h"

static void adamw_shape(struct op_shapes *s)
{
	const struct adamw_attr *attr = s->attr;
	long size = tensor_size(s->in[ADAMW_W_N]);

	for (int i = ADAMW_W_N; i <= ADAMW_G_N; i++)
		CHECK(s->in[i]->n_dims == 1 && tensor_size(s->in[i]) == size);
	CHECK(!s->in[ADAMW_WORK_N] || tensor_size(s->in[ADAMW_WORK_N]) == size);
	grad_norm_check_segments(attr->segments, attr->n_segments, attr->n_groups, size);
	s->out[ADAMW_UPDATESQ_G] = tensor_of(MASTER, 1, (long)attr->n_groups);
	s->out[ADAMW_WEIGHTSQ_G] = s->out[ADAMW_UPDATESQ_G];
}

/* Partial sums of each block for both metrics. */
static void adamw_room(struct op_shapes *s)
{
	const struct adamw_attr *attr = s->attr;

	s->forward_workspace = 2 * (size_t)grad_norm_blocks(tensor_size(s->in[ADAMW_W_N])) *
		(size_t)attr->n_groups * sizeof(double);
}

/* Weights and moments are read and written. */
static void adamw_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[ADAMW_W_N]);
	double master = (double)s->device->bytes[MASTER], real = (double)s->device->bytes[REAL];

	c->forward_flops = c->executed_flops = 20 * n;
	c->forward_bytes = 7 * n * master + (s->in[ADAMW_WORK_N] ? n * real : 0);
}

static double clip_factor(const struct adamw_attr *attr, double norm)
{
	return attr->clip > 0 && norm > attr->clip ? attr->clip / norm : 1;
}

/* Element k in a segment with or without decay; adds to the group's two metrics. */
static void update_ref(const struct op_run *r, long k, double decay, double *updatesq,
	double *weightsq)
{
	const struct adamw_attr *attr = r->attr;
	const struct step_state *state = r->state;
	double *w = row_f64(r->in[ADAMW_W_N], 0) + k, *m = row_f64(r->in[ADAMW_M_N], 0) + k;
	double *v = row_f64(r->in[ADAMW_V_N], 0) + k;
	double g = row_f64(r->in[ADAMW_G_N], 0)[k] *
		clip_factor(attr, *row_f64(r->in[ADAMW_NORM], 0));

	*m = attr->beta1 * *m + (1 - attr->beta1) * g;
	*v = attr->beta2 * *v + (1 - attr->beta2) * g * g;
	double update = state->lr * (*m / state->correction1 /
		(sqrt(*v / state->correction2) + attr->eps) + decay * *w);
	*w -= update;
	if (r->in[ADAMW_WORK_N])
		row_f64(r->in[ADAMW_WORK_N], 0)[k] = *w;
	*updatesq += update * update;
	*weightsq += *w * *w;
}

static void adamw_forward_ref(const struct op_run *r)
{
	const struct adamw_attr *attr = r->attr;
	double *updatesq = row_f64(r->out[ADAMW_UPDATESQ_G], 0);
	double *weightsq = row_f64(r->out[ADAMW_WEIGHTSQ_G], 0);

	for (int group = 0; group < attr->n_groups; group++)
		updatesq[group] = weightsq[group] = 0;
	if (!isfinite(*row_f64(r->in[ADAMW_NORM], 0)))
		return;
	for (int i = 0; i < attr->n_segments; i++) {
		const struct grad_norm_segment *s = &attr->segments[i];
		for (long k = s->begin; k < s->end; k++)
			update_ref(r, k, s->decay ? attr->weight_decay : 0, &updatesq[s->group],
				&weightsq[s->group]);
	}
}

/* Constants of one update, and the sums of squares it leaves. */
struct update {
	float clip, beta1, rest1, beta2, rest2;
	float scale_m, scale_v;		/* 1 / c1, 1 / sqrt(c2) */
	float eps, lr, decay;
	double updatesq, weightsq;
};

static void update_piece(struct update *u, float *restrict w, float *restrict m, float *restrict v,
	const float *restrict g, long n)
{
	struct update c = *u;
	double updatesq = 0, weightsq = 0;

	#pragma omp simd reduction(+ : updatesq, weightsq)
	for (long k = 0; k < n; k++) {
		float grad = g[k] * c.clip;
		float m1 = c.beta1 * m[k] + c.rest1 * grad;
		float v1 = c.beta2 * v[k] + c.rest2 * grad * grad;
		float adam = m1 * c.scale_m / (sqrtf(v1) * c.scale_v + c.eps);
		float step = c.lr * (adam + c.decay * w[k]);
		float w1 = w[k] - step;
		m[k] = m1;
		v[k] = v1;
		w[k] = w1;
		updatesq += (double)step * step;
		weightsq += (double)w1 * w1;
	}
	u->updatesq = updatesq;
	u->weightsq = weightsq;
}

static void update_block(const struct op_run *r, struct update u, long begin, long end,
	double *updatesq, double *weightsq)
{
	const struct adamw_attr *attr = r->attr;
	float *w = row_f32(r->in[ADAMW_W_N], 0);
	struct grad_norm_segment piece;

	for (int group = 0; group < attr->n_groups; group++)
		updatesq[group] = weightsq[group] = 0;
	for (long at = begin; at < end; at = piece.end) {
		piece = grad_norm_piece(attr->segments, at, end);
		u.decay = piece.decay ? (float)attr->weight_decay : 0;
		update_piece(&u, w + at, row_f32(r->in[ADAMW_M_N], 0) + at,
			row_f32(r->in[ADAMW_V_N], 0) + at, row_f32(r->in[ADAMW_G_N], 0) + at,
			piece.end - at);
		updatesq[piece.group] += u.updatesq;
		weightsq[piece.group] += u.weightsq;
	}
	if (r->in[ADAMW_WORK_N])
		memcpy(row_f32(r->in[ADAMW_WORK_N], 0) + begin, w + begin,
			(size_t)(end - begin) * sizeof *w);
}

static void update_all(const struct op_run *r, const struct update *u)
{
	const struct adamw_attr *attr = r->attr;
	long size = tensor_size(r->in[ADAMW_W_N]), n_blocks = grad_norm_blocks(size);
	double *updatesq = r->workspace, *weightsq = updatesq + n_blocks * attr->n_groups;

	#pragma omp parallel for schedule(static)
	for (long b = 0; b < n_blocks; b++)
		update_block(r, *u, b * GRAD_NORM_BLOCK, grad_norm_block_end(b, size),
			updatesq + b * attr->n_groups, weightsq + b * attr->n_groups);
	grad_norm_sum_blocks(updatesq, n_blocks, attr->n_groups,
		row_f32(r->out[ADAMW_UPDATESQ_G], 0));
	grad_norm_sum_blocks(weightsq, n_blocks, attr->n_groups,
		row_f32(r->out[ADAMW_WEIGHTSQ_G], 0));
}

static void adamw_forward(const struct op_run *r)
{
	const struct adamw_attr *attr = r->attr;
	const struct step_state *state = r->state;
	double norm = *row_f32(r->in[ADAMW_NORM], 0);
	struct update u = {
		.clip = (float)clip_factor(attr, norm),
		.beta1 = (float)attr->beta1, .rest1 = (float)(1 - attr->beta1),
		.beta2 = (float)attr->beta2, .rest2 = (float)(1 - attr->beta2),
		.scale_m = (float)(1 / state->correction1),
		.scale_v = (float)(1 / sqrt(state->correction2)),
		.eps = (float)attr->eps, .lr = (float)state->lr,
	};

	if (isfinite(norm)) {
		update_all(r, &u);
		return;
	}
	for (int group = 0; group < attr->n_groups; group++) {
		row_f32(r->out[ADAMW_UPDATESQ_G], 0)[group] = 0;
		row_f32(r->out[ADAMW_WEIGHTSQ_G], 0)[group] = 0;
	}
}

/* Second moments are not negative; the norm is near what gradients N(0, 1) have. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *v = t->in[ADAMW_V_N];

	#pragma omp parallel for schedule(static)
	for (long k = 0; k < tensor_size(v); k++)
		op_trial_set(t, v, k, fabs(op_trial_get(t, v, k)));
	op_trial_set(t, t->in[ADAMW_NORM], 0, sqrt((double)tensor_size(v)));
}

static void prepare_diverged(const struct op_trial *t)
{
	prepare(t);
	op_trial_set(t, t->in[ADAMW_NORM], 0, NAN);
}

static const struct grad_norm_segment few[] = {{0, 7, 0, true}, {7, 16, 1, false}};
static const struct grad_norm_segment many[] = {{0, 1000, 1, true}, {1000, 17003, 0, false},
	{17003, 17008, 2, false}, {17008, 40000, 1, true}};

static const struct adamw_attr example_free = {few, ARRAY_SIZE(few), 2, 0.9, 0.999, 1e-8, 0.1, 0};
static const struct adamw_attr example_clipped = {many, ARRAY_SIZE(many), 4, 0.9, 0.95, 1e-8, 0.1,
	0.5};

static const struct op_example examples[] = {
	{.name = "no clipping", .attr = &example_free, .in = {{16}, {16}, {16}, {16}, {1}},
		.prepare = prepare},
	{.name = "clipped, working copy", .attr = &example_clipped, .prepare = prepare,
		.in = {{40000}, {40000}, {40000}, {40000}, {1}, {40000}}},
	{.name = "norm not finite", .attr = &example_clipped, .prepare = prepare_diverged,
		.in = {{40000}, {40000}, {40000}, {40000}, {1}}},
};

const struct op op_adamw = {
	.name = "adamw",
	.formula = "m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr (m^ / (sqrt(v^) + eps) + decay w)",
	.semantics = 1,
	.n_in = ADAMW_N_IN,
	.n_out = ADAMW_N_OUT,
	.in = {
		[ADAMW_W_N] = {"w_N", IN_MASTER | IN_UPDATED},
		[ADAMW_M_N] = {"m_N", IN_MASTER | IN_UPDATED},
		[ADAMW_V_N] = {"v_N", IN_MASTER | IN_UPDATED},
		[ADAMW_G_N] = {"g_N", IN_MASTER | IN_NO_GRADIENT},
		[ADAMW_NORM] = {"norm", IN_MASTER | IN_NO_GRADIENT},
		[ADAMW_WORK_N] = {"work_N", IN_OPTIONAL | IN_UPDATED},
	},
	.out = {
		[ADAMW_UPDATESQ_G] = {"updatesq_G", MASTER, true},
		[ADAMW_WEIGHTSQ_G] = {"weightsq_G", MASTER, true},
	},
	.shape = adamw_shape,
	.room = {[CPU] = adamw_room, [CUDA] = adamw_room},
	.cost = adamw_cost,
	.forward = {[REF] = adamw_forward_ref, [CPU] = adamw_forward,
		[CUDA] = OP_CUDA(adamw_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
