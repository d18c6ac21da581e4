/* delta on the CPU, forward, and what it keeps: op/cpu/delta.h. */
#include "op/cpu/delta.h"

static long heads_size(const struct delta_dims *d)
{
	return d->B * d->H * d->K * d->V;
}

void delta_room_cpu(struct op_shapes *shapes)
{
	struct delta_dims d = delta_dims(shapes->in, shapes->attr);
	long states = heads_size(&d);

	shapes->forward_workspace = shapes->training ? 0 : (size_t)(states * d.n_chunks) * sizeof(float);
	shapes->backward_workspace = (size_t)(states + d.B * d.n_chunks * 2 * d.H) * sizeof(float);
	if (shapes->training)
		shapes->saved[DELTA_STATES] = tensor_of(MASTER, 4, d.B, d.n_chunks, d.H, d.K * d.V);
}

struct delta delta_start(const struct op_run *r, bool backward)
{
	const struct tensor *saved = r->saved[DELTA_STATES];
	struct delta s = {.run = r, .dims = delta_dims(r->in, r->attr)};

	s.chunks = (struct chunks){r->in[DELTA_DTRAW_BTH], r->in[DELTA_ALOG_H], r->in[DELTA_DTBIAS_H],
		r->in[DELTA_START_BT], s.dims.T, s.dims.Q, s.dims.n_chunks, NULL, NULL, NULL};
	s.states = saved ? saved->at : r->workspace;
	if (backward) {
		s.d_states = r->workspace;
		s.parts = s.d_states + heads_size(&s.dims);
	}
	return s;
}

float *delta_state(const struct delta *s, const struct chunk *at, long h)
{
	const struct delta_dims *d = &s->dims;

	return s->states + ((at->b * d->n_chunks + at->c) * d->H + h) * d->K * d->V;
}

/* Rows over their norms, times scale; 1 / norm of each. */
static void norm_rows(const struct chunk *at, const struct tensor *x, long h, long K, float scale, float *to,
	float *norms)
{
	for (long t = 0; t < at->n; t++) {
		const float *row = delta_row(at, x, t, h, K);
		float square = 0;
		#pragma omp simd reduction(+:square)
		for (long i = 0; i < K; i++)
			square += row[i] * row[i];
		norms[t] = 1 / sqrtf(square + (float)DELTA_EPS);
		#pragma omp simd
		for (long i = 0; i < K; i++)
			to[t * K + i] = scale * norms[t] * row[i];
	}
}

/* decay, and with it m from k.k and p from q.k. */
static void decay_pairs(const struct chunk *at, struct delta_chunk *c)
{
	float sum[CHUNK_MAX];	/* of log decays behind s, up to t */

	for (long t = 0; t < at->n; t++) {
		long from = chunk_from(at, t);
		for (long s = 0; s < at->n; s++)
			c->decay[t][s] = 0;
		#pragma omp simd
		for (long s = from; s < t; s++) {
			sum[s] += c->w.log_decay[t];
			c->decay[t][s] = chunk_exp(sum[s]);
		}
		sum[t] = 0;
		c->decay[t][t] = 1;
		#pragma omp simd
		for (long s = 0; s < at->n; s++) {
			c->m[t][s] *= c->beta[t] * c->decay[t][s];
			c->p[t][s] *= c->decay[t][s];
		}
	}
}

void delta_chunk_of(const struct delta *s, const struct chunk *at, long h, struct delta_chunk *c)
{
	const struct tensor *const *in = s->run->in;
	long K = s->dims.K, V = s->dims.V, n = at->n;

	chunk_steps_of(&s->chunks, at, h, &c->w);
	for (long t = 0; t < n; t++)
		c->beta[t] = vec_sigmoid(row_f32(in[DELTA_BRAW_BTH], at->row + t)[h]);
	norm_rows(at, in[DELTA_Q_BTK], h, K, 1 / sqrtf((float)K), c->q, c->q_scale);
	norm_rows(at, in[DELTA_K_BTK], h, K, 1, c->k, c->k_scale);
	gemm(GEMM_N, GEMM_T, n, n, K, 1, c->k, K, c->k, K, 0, c->m[0], CHUNK_MAX);
	gemm(GEMM_N, GEMM_T, n, n, K, 1, c->q, K, c->k, K, 0, c->p[0], CHUNK_MAX);
	decay_pairs(at, c);
	if (chunk_sees_state(at, 0))
		gemm(GEMM_N, GEMM_N, n, V, K, 1, c->k, K, delta_state(s, at, h), V, 0, c->recalled, V);
	else
		memset(c->recalled, 0, (size_t)(n * V) * sizeof(float));
	for (long t = 0; t < n; t++) {
		const float *v = delta_row(at, in[DELTA_V_BTV], t, h, V);
		#pragma omp simd
		for (long j = 0; j < V; j++)
			c->u[t * V + j] = c->beta[t] * (v[j] - c->w.enters[t] * c->recalled[t * V + j]);
	}
	cblas_strsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasUnit, (blasint)n, (blasint)V, 1,
		c->m[0], CHUNK_MAX, c->u, (blasint)V);
}

/* The state behind the chunk. */
static void pass_state(const struct delta *s, const struct chunk *at, long h, const struct delta_chunk *c,
	float *behind)
{
	long K = s->dims.K, V = s->dims.V;
	const float *before = delta_state(s, at, h);
	delta_keys k;

	for (long t = 0; t < at->n; t++)
		for (long i = 0; i < K; i++)
			k[t * K + i] = c->w.leaves[t] * c->k[t * K + i];
	gemm(GEMM_T, GEMM_N, K, V, at->n, 1, k, K, c->u, V, 0, behind, V);
	if (!chunk_sees_state(at, at->n - 1))
		return;
	#pragma omp simd
	for (long i = 0; i < K * V; i++)
		behind[i] += c->w.carry * before[i];
}

/* The head's memory in S_BKV; NULL: none is carried. */
static float *carried(const struct delta *s, const struct chunk *at, long h)
{
	return s->run->op->n_in > DELTA_N_IN
		? row_f32(s->run->in[DELTA_S_BKV], (at->b * s->dims.H + h) * s->dims.K) : NULL;
}

static void chunk_forward(const struct delta *s, const struct chunk *at, long h)
{
	const struct tensor *y = s->run->out[DELTA_Y_BTV];
	long K = s->dims.K, V = s->dims.V;
	bool sees = chunk_sees_state(at, 0);
	float *own = carried(s, at, h);
	struct delta_chunk c;

	if (own && at->c == 0)
		memcpy(delta_state(s, at, h), own, (size_t)(K * V) * sizeof *own);
	delta_chunk_of(s, at, h, &c);
	if (!at->last)
		pass_state(s, at, h, &c, delta_state(s, at, h) + s->dims.H * K * V);
	else if (own)
		pass_state(s, at, h, &c, own);
	if (sees)
		gemm(GEMM_N, GEMM_N, at->n, V, K, 1, c.q, K, delta_state(s, at, h), V, 0,
			delta_row(at, y, 0, h, V), y->ld);
	for (long t = 0; sees && t < at->n; t++) {
		float *row = delta_row(at, y, t, h, V);
		#pragma omp simd
		for (long j = 0; j < V; j++)
			row[j] *= c.w.enters[t];
	}
	gemm(GEMM_N, GEMM_N, at->n, V, at->n, 1, c.p[0], CHUNK_MAX, c.u, V, sees, delta_row(at, y, 0, h, V),
		y->ld);
}

void delta_forward_cpu(const struct op_run *r)
{
	struct delta s = delta_start(r, false);
	const struct delta_dims *d = &s.dims;

	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < d->B * d->H; task++)
		for (long i = 0; i < d->n_chunks; i++) {
			struct chunk at = chunk_at(&s.chunks, task / d->H, i);
			chunk_forward(&s, &at, task % d->H);
		}
}
