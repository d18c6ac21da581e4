/* ssd on the CPU, forward, and what it keeps: op/cpu/ssd.h. */
#include "op/cpu/ssd.h"

static long states_size(const struct ssd_dims *d)
{
	return d->B * d->n_chunks * d->H * d->N * d->P;
}

void ssd_room_cpu(struct op_shapes *shapes)
{
	struct ssd_dims d = ssd_dims(shapes->in, shapes->attr, SSD_MAX_CHUNK);
	size_t states = (size_t)states_size(&d) * sizeof(float);

	shapes->forward_workspace = shapes->training ? 0 : states;
	shapes->backward_workspace = states + (size_t)(d.B * d.n_chunks * 3 * d.H) * sizeof(float);
	if (shapes->training)
		shapes->saved[SSD_STATES] = tensor_of(MASTER, 4, d.B, d.n_chunks, d.H, d.N * d.P);
}

struct ssd ssd_start(const struct op_run *r, bool backward)
{
	const struct tensor *saved = r->saved[SSD_STATES];
	struct ssd s = {.run = r, .dims = ssd_dims(r->in, r->attr, SSD_MAX_CHUNK)};

	s.chunks = (struct chunks){r->in[SSD_DTRAW_BTH], r->in[SSD_ALOG_H], r->in[SSD_DTBIAS_H],
		r->in[SSD_START_BT], s.dims.T, s.dims.Q, s.dims.n_chunks, NULL, NULL, NULL};
	if (ssd_is_given(r->in)) {
		s.chunks.decay_BTH = r->in[SSD_DECAY_BTH];
		s.chunks.weight_BTH = r->in[SSD_WEIGHT_BTH];
		s.chunks.own_BTH = r->in[SSD_OWN_BTH];
	}
	s.states = saved ? saved->at : r->workspace;
	if (backward) {
		s.d_states = r->workspace;
		s.parts = s.d_states + states_size(&s.dims);
	}
	return s;
}

void ssd_scores(const struct ssd *s, const struct chunk *at, long g, chunk_pairs scores)
{
	const struct tensor *B = s->run->in[SSD_B_BTN], *C = s->run->in[SSD_C_BTN];

	gemm(GEMM_N, GEMM_T, at->n, at->n, s->dims.N, 1, ssd_group(s, C, at, g), C->ld,
		ssd_group(s, B, at, g), B->ld, 0, scores[0], CHUNK_MAX);
}

/* The state behind the chunk. */
static void pass_state(const struct ssd *s, const struct chunk *at, long h, float *behind)
{
	const struct tensor *x = s->run->in[SSD_X_BTI], *B = s->run->in[SSD_B_BTN];
	long P = s->dims.P, N = s->dims.N;
	const float *before = ssd_state(s, s->states, at, h);
	float share[CHUNK_MAX * SSD_MAX_HEAD];
	struct chunk_steps w;

	chunk_steps_of(&s->chunks, at, h, &w);
	for (long t = 0; t < at->n; t++) {
		const float *row = row_f32(x, at->row + t) + h * P;
		#pragma omp simd
		for (long p = 0; p < P; p++)
			share[t * P + p] = w.leaves[t] * w.dt[t] * row[p];
	}
	gemm(GEMM_T, GEMM_N, N, P, at->n, 1, ssd_group(s, B, at, ssd_group_of(s, h)), B->ld, share, P, 0,
		behind, P);
	if (!chunk_sees_state(at, at->n - 1))
		return;
	#pragma omp simd
	for (long k = 0; k < N * P; k++)
		behind[k] += w.carry * before[k];
}

/* m[t][s], with scores; 0 where t does not see s. */
static void decayed_scores(const struct chunk *at, const struct chunk_steps *w,
	chunk_pairs scores, chunk_pairs m)
{
	float sum[CHUNK_MAX];	/* of log decays behind s, up to t */

	for (long t = 0; t < at->n; t++) {
		long from = chunk_from(at, t);
		float log_decay = w->log_decay[t];
		#pragma omp simd
		for (long k = from; k < t; k++) {
			sum[k] += log_decay;
			m[t][k] = scores[t][k] * chunk_exp(sum[k]) * w->dt[k];
		}
		sum[t] = 0;
		m[t][t] = scores[t][t] * w->own[t];
		for (long k = 0; k < from; k++)
			m[t][k] = 0;
		for (long k = t + 1; k < at->n; k++)
			m[t][k] = 0;
	}
}

static void head_forward(const struct ssd *s, const struct chunk *at, long h, chunk_pairs scores)
{
	const struct tensor *x = s->run->in[SSD_X_BTI], *y = s->run->out[SSD_Y_BTI],
		*C = s->run->in[SSD_C_BTN];
	float D = row_f32(s->run->in[SSD_D_H], 0)[h];
	long P = s->dims.P, N = s->dims.N, n = at->n;
	bool sees = chunk_sees_state(at, 0);	/* if the first token does not, none does */
	struct chunk_steps w;
	chunk_pairs m;

	chunk_steps_of(&s->chunks, at, h, &w);
	decayed_scores(at, &w, scores, m);
	if (sees)
		gemm(GEMM_N, GEMM_N, n, P, N, 1, ssd_group(s, C, at, ssd_group_of(s, h)), C->ld,
			ssd_state(s, s->states, at, h), P, 0, ssd_head(s, y, at, h), y->ld);
	for (long t = 0; t < n; t++) {
		const float *from = row_f32(x, at->row + t) + h * P;
		float *to = row_f32(y, at->row + t) + h * P;
		#pragma omp simd
		for (long p = 0; p < P; p++)
			to[p] = (sees ? w.enters[t] * to[p] : 0) + D * from[p];
	}
	gemm(GEMM_N, GEMM_N, n, P, n, 1, m[0], CHUNK_MAX, ssd_head(s, x, at, h), x->ld, 1,
		ssd_head(s, y, at, h), y->ld);
}

static void chunk_forward(const struct ssd *s, const struct chunk *at, long g)
{
	long heads = s->dims.H / s->dims.G;
	chunk_pairs scores;

	ssd_scores(s, at, g, scores);
	for (long h = g * heads; h < (g + 1) * heads; h++)
		head_forward(s, at, h, scores);
}

/* Between a state [N, P] and the rows of h_BIN that are the head's channels. */
static void begin_carried(const struct ssd *s, const struct chunk *at, long h)
{
	float *state = ssd_state(s, s->states, at, h);
	long N = s->dims.N, P = s->dims.P;

	for (long p = 0; p < P; p++)
		for (long n = 0; n < N; n++)
			state[n * P + p] = row_f32(s->run->in[SSD_H_BIN], (at->b * s->dims.H + h) * P + p)[n];
}

static void leave_carried(const struct ssd *s, const struct chunk *at, long h)
{
	float state[SSD_MAX_STATES * SSD_MAX_HEAD];
	long N = s->dims.N, P = s->dims.P;

	pass_state(s, at, h, state);
	for (long p = 0; p < P; p++)
		for (long n = 0; n < N; n++)
			row_f32(s->run->in[SSD_H_BIN], (at->b * s->dims.H + h) * P + p)[n] = state[n * P + p];
}

/* The states in front of all chunks of a head of sequence b. */
static void pass_states(const struct ssd *s, long b, long h)
{
	bool carried = s->run->op->n_in > SSD_N_IN;

	for (long i = 0; i < s->dims.n_chunks; i++) {
		struct chunk at = chunk_at(&s->chunks, b, i);
		if (carried && i == 0)
			begin_carried(s, &at, h);
		if (!at.last)
			pass_state(s, &at, h, ssd_state(s, s->states, &at, h) + s->dims.H * s->dims.N * s->dims.P);
		else if (carried)
			leave_carried(s, &at, h);
	}
}

void ssd_forward_cpu(const struct op_run *r)
{
	struct ssd s = ssd_start(r, false);
	const struct ssd_dims *d = &s.dims;

	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < d->B * d->H; task++)
		pass_states(&s, task / d->H, task % d->H);
	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < d->B * d->n_chunks * d->G; task++) {
		struct chunk at = chunk_at(&s.chunks, task / d->G / d->n_chunks, task / d->G % d->n_chunks);
		chunk_forward(&s, &at, task % d->G);
	}
}
