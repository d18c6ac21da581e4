/* delta on the CPU, backward: op/cpu/delta.h. */
#include "op/cpu/delta.h"
#include "op/kit/rows.h"

/* Gradients of a head in a chunk. */
struct gradients {
	delta_keys dq, dk;		/* of q and k as they are normed */
	delta_values dr;		/* first du */
	delta_values values;		/* rows times a factor */
	delta_keys keys;
	chunk_pairs dp, dm;		/* of q.k and k.k in the end */
	chunk_pairs z;			/* gradients times values of what decays */
	float entered[CHUNK_MAX], left[CHUNK_MAX];
	float carried;
};

/* to = rows of x, `ld` apart, each times its factor. */
static void scale_rows(float *to, const float *x, long ld, const float *factor, long n, long width)
{
	for (long t = 0; t < n; t++) {
		#pragma omp simd
		for (long i = 0; i < width; i++)
			to[t * width + i] = factor[t] * x[t * ld + i];
	}
}

/* dr: the gradient of u, by y and by the state behind, back through the triangular system. */
static void solve_backward(const struct delta *s, const struct chunk *at, long h, const float *behind,
	const struct delta_chunk *c, struct gradients *g)
{
	const struct tensor *dy = s->run->d_out[DELTA_Y_BTV];
	long K = s->dims.K, V = s->dims.V, n = at->n;

	memset(g->left, 0, sizeof g->left);
	if (at->last) {
		memset(g->dr, 0, (size_t)(n * V) * sizeof(float));
	} else {
		gemm(GEMM_N, GEMM_N, n, V, K, 1, c->k, K, behind, V, 0, g->dr, V);
		scale_rows(g->dr, g->dr, V, c->w.leaves, n, V);
		for (long t = 0; t < n; t++)
			g->left[t] = row_dot(g->dr + t * V, c->u + t * V, V);
	}
	gemm(GEMM_T, GEMM_N, n, V, n, 1, c->p[0], CHUNK_MAX, delta_row(at, dy, 0, h, V), dy->ld, 1, g->dr, V);
	cblas_strsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasUnit, (blasint)n, (blasint)V, 1,
		c->m[0], CHUNK_MAX, g->dr, (blasint)V);
}

/* From P and M to q.k and k.k, and what decays say. */
static void pairs_backward(const struct delta *s, const struct chunk *at, long h, const struct delta_chunk *c,
	struct gradients *g)
{
	const struct tensor *dy = s->run->d_out[DELTA_Y_BTV];
	long V = s->dims.V, n = at->n;

	gemm(GEMM_N, GEMM_T, n, n, V, 1, delta_row(at, dy, 0, h, V), dy->ld, c->u, V, 0, g->dp[0], CHUNK_MAX);
	gemm(GEMM_N, GEMM_T, n, n, V, -1, g->dr, V, c->u, V, 0, g->dm[0], CHUNK_MAX);
	for (long t = 0; t < n; t++) {
		#pragma omp simd
		for (long j = 0; j < n; j++) {
			g->z[t][j] = g->dp[t][j] * c->p[t][j] + g->dm[t][j] * c->m[t][j];
			g->dp[t][j] *= c->decay[t][j];
			g->dm[t][j] *= j < t ? c->beta[t] * c->decay[t][j] : 0;
		}
	}
}

/* Rows of dr: gradients of v and braw, and what entered. u is beta times what does not depend on it. */
static void rows_backward(const struct delta *s, const struct chunk *at, long h, const struct delta_chunk *c,
	struct gradients *g)
{
	const struct tensor *dv = s->run->d_in[DELTA_V_BTV], *db = s->run->d_in[DELTA_BRAW_BTH];
	long V = s->dims.V;

	for (long t = 0; t < at->n; t++) {
		const float *dr = g->dr + t * V;
		float d_braw = row_dot(dr, c->u + t * V, V) * (1 - c->beta[t]);
		float *b = db ? row_f32(db, at->row + t) + h : NULL, *to = dv ? delta_row(at, dv, t, h, V) : NULL;
		bool add = op_adds(s->run, DELTA_V_BTV);
		g->entered[t] = -c->beta[t] * c->w.enters[t] * row_dot(dr, c->recalled + t * V, V);
		if (b)
			*b = d_braw + (op_adds(s->run, DELTA_BRAW_BTH) ? *b : 0);
		for (long j = 0; to && j < V; j++)
			to[j] = c->beta[t] * dr[j] + (add ? to[j] : 0);
	}
}

/* dq and dk by pairs. */
static void keys_backward(const struct delta *s, const struct chunk *at, const struct delta_chunk *c,
	struct gradients *g)
{
	long K = s->dims.K, n = at->n;

	gemm(GEMM_N, GEMM_N, n, K, n, 1, g->dp[0], CHUNK_MAX, c->k, K, 0, g->dq, K);
	gemm(GEMM_T, GEMM_N, n, K, n, 1, g->dp[0], CHUNK_MAX, c->q, K, 0, g->dk, K);
	gemm(GEMM_N, GEMM_N, n, K, n, 1, g->dm[0], CHUNK_MAX, c->k, K, 1, g->dk, K);
	gemm(GEMM_T, GEMM_N, n, K, n, 1, g->dm[0], CHUNK_MAX, c->k, K, 1, g->dk, K);
}

/* Through the state in front: dq, dk, what entered. `values` become -beta e^{a_t} dr. */
static void enter_backward(const struct delta *s, const struct chunk *at, long h, const struct delta_chunk *c,
	struct gradients *g)
{
	const struct tensor *dy = s->run->d_out[DELTA_Y_BTV];
	const float *state = delta_state(s, at, h);
	long K = s->dims.K, V = s->dims.V, n = at->n;
	float factor[CHUNK_MAX];

	gemm(GEMM_N, GEMM_T, n, K, V, 1, delta_row(at, dy, 0, h, V), dy->ld, state, V, 0, g->keys, K);
	for (long t = 0; t < n; t++) {
		factor[t] = -c->beta[t] * c->w.enters[t];
		g->entered[t] += c->w.enters[t] * row_dot(g->keys + t * K, c->q + t * K, K);
		for (long i = 0; i < K; i++)
			g->dq[t * K + i] += c->w.enters[t] * g->keys[t * K + i];
	}
	scale_rows(g->values, g->dr, V, factor, n, V);
	gemm(GEMM_N, GEMM_T, n, K, V, 1, g->values, V, state, V, 1, g->dk, K);
}

/* The gradient of the state in front, in place of that behind; dk by what leaves, what is carried. */
static void pass_backward(const struct delta *s, const struct chunk *at, long h, float *behind,
	const struct delta_chunk *c, struct gradients *g)
{
	const struct tensor *dy = s->run->d_out[DELTA_Y_BTV];
	long K = s->dims.K, V = s->dims.V, n = at->n;
	bool carries = !at->last && chunk_sees_state(at, n - 1);

	if (!at->last) {
		gemm(GEMM_N, GEMM_T, n, K, V, 1, c->u, V, behind, V, 0, g->keys, K);
		for (long t = 0; t < n; t++)
			for (long i = 0; i < K; i++)
				g->dk[t * K + i] += c->w.leaves[t] * g->keys[t * K + i];
	}
	g->carried = carries ? c->w.carry * row_dot(delta_state(s, at, h), behind, K * V) : 0;
	if (!chunk_sees_state(at, 0)) {
		memset(behind, 0, (size_t)(K * V) * sizeof(float));
		return;
	}
	for (long i = 0; i < K * V; i++)
		behind[i] = carries ? c->w.carry * behind[i] : 0;
	scale_rows(g->keys, c->q, K, c->w.enters, n, K);
	gemm(GEMM_T, GEMM_N, K, V, n, 1, g->keys, K, delta_row(at, dy, 0, h, V), dy->ld, 1, behind, V);
	gemm(GEMM_T, GEMM_N, K, V, n, 1, c->k, K, g->values, V, 1, behind, V);
}

/* From the gradient of rows over their norms times scale to that of the rows. */
static void store_normed(const struct delta *s, const struct chunk *at, long h, int input, float scale,
	const float *norms, const float *gradient)
{
	const struct tensor *x = s->run->in[input], *d = s->run->d_in[input];
	long K = s->dims.K;

	for (long t = 0; d && t < at->n; t++) {
		const float *row = delta_row(at, x, t, h, K), *g = gradient + t * K;
		float *to = delta_row(at, d, t, h, K), norm = norms[t];
		float along = row_dot(row, g, K) * norm * norm;
		bool add = op_adds(s->run, input);
		for (long i = 0; i < K; i++)
			to[i] = scale * norm * (g[i] - along * row[i]) + (add ? to[i] : 0);
	}
}

static void store(const struct delta *s, const struct chunk *at, long h, const struct delta_chunk *c,
	const struct gradients *g)
{
	const struct op_run *r = s->run;
	float d_log[CHUNK_MAX], *parts = s->parts + (at->b * s->dims.n_chunks + at->c) * 2 * s->dims.H + h;
	struct chunk_shares shares;

	store_normed(s, at, h, DELTA_Q_BTK, 1 / sqrtf((float)s->dims.K), c->q_scale, g->dq);
	store_normed(s, at, h, DELTA_K_BTK, 1, c->k_scale, g->dk);
	chunk_d_log(at, (float (*)[CHUNK_MAX])g->z, g->entered, g->left, g->carried, d_log);
	shares = chunk_steps_backward(at, h, &c->w, NULL, d_log, r->d_in[DELTA_DTRAW_BTH],
		op_adds(r, DELTA_DTRAW_BTH));
	parts[0] = shares.a_log;
	parts[s->dims.H] = shares.dt_bias;
}

static void chunk_backward(const struct delta *s, const struct chunk *at, long h, float *behind)
{
	struct delta_chunk c;
	struct gradients g;

	delta_chunk_of(s, at, h, &c);
	solve_backward(s, at, h, behind, &c, &g);
	pairs_backward(s, at, h, &c, &g);
	rows_backward(s, at, h, &c, &g);
	keys_backward(s, at, &c, &g);
	if (chunk_sees_state(at, 0))
		enter_backward(s, at, h, &c, &g);
	pass_backward(s, at, h, behind, &c, &g);
	store(s, at, h, &c, &g);
}

void delta_backward_cpu(const struct op_run *r)
{
	struct delta s = delta_start(r, true);
	const struct delta_dims *d = &s.dims;
	long n = d->B * d->n_chunks, stride = 2 * d->H;

	#pragma omp parallel for schedule(dynamic)
	for (long task = 0; task < d->B * d->H; task++)
		for (long i = d->n_chunks - 1; i >= 0; i--) {
			struct chunk at = chunk_at(&s.chunks, task / d->H, i);
			chunk_backward(&s, &at, task % d->H, s.d_states + task * d->K * d->V);
		}
	chunk_sum_shares(r->d_in[DELTA_ALOG_H], s.parts, n, stride, op_adds(r, DELTA_ALOG_H));
	chunk_sum_shares(r->d_in[DELTA_DTBIAS_H], s.parts + d->H, n, stride, op_adds(r, DELTA_DTBIAS_H));
}
