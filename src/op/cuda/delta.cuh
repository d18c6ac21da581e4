/*
 * delta on the GPU: what forward and backward share; op/delta.h has the formula. Products are those of
 * chunk_tile.cuh. What is of a chunk alone (norms, decays, the inverse of I + M, P) is made first, a
 * block a head in a chunk; then a block takes 64 channels of a head's values over all chunks, for in
 * these the states of a head fall apart; backward, what sums over them comes last, chunk by chunk.
 */
#ifndef OP_CUDA_DELTA_CUH
#define OP_CUDA_DELTA_CUH

#include "op/cuda/chunk_steps.cuh"

extern "C" {
#include "op/delta_kernels.h"
}

template <typename real>
struct delta {
	int B, T, H, K, V;
	chunks<real> time;
	rows<const real> q, k, v, braw, dy;
	rows<real> y, dq, dk, dv, dbraw, ddtraw;
	rows<float> carried;	/* op/delta_carried.h: [B * H * K, V]; forward alone, optional */
	bool begins;		/* with memories that are not 0 */
	bool aligned;		/* all rows and heads of q, k, v, dy begin at multiples of eight */
	unsigned add;		/* as op_run has it */
	float *norms;		/* [2][B T][H]: what q and k are multiplied with, 1 / norm, for q 1 / sqrt(K) too */
	float *inverse, *p;	/* [B, chunks, H, 64, 64] */
	float *states;		/* [B, chunks, H, K, V] in front of the chunk */
	/* backward: */
	float *d_states;	/* gradients of the states behind the chunk */
	float *u, *dr;		/* [B T][H V] */
	float *gradients;	/* [2][B T][H K]: of q and k as they are normed */
	float *parts;		/* [B, chunks, 2, H]: shares of the gradients of A_log, dt_bias */
};

template <typename real>
__device__ __forceinline__ float *norm_of(const delta<real> &s, int which, long row, int h)
{
	return s.norms + ((long)which * s.B * s.T + row) * s.H + h;
}

template <typename real>
__device__ __forceinline__ float *pairs_of(const delta<real> &s, float *all, const chunk &k, int h)
{
	return all + (k.index * s.H + h) * CHUNK_SIDE * CHUNK_SIDE;
}

template <typename real>
__device__ __forceinline__ float *state_of(const delta<real> &s, float *states, const chunk &k, int h)
{
	return states + (k.index * s.H + h) * s.K * s.V;
}

template <typename real>
__device__ __forceinline__ float *values_of(const delta<real> &s, float *all, const chunk &k, int h)
{
	return all + (k.row * s.H + h) * s.V;
}

__device__ __forceinline__ float beta_of(float raw)
{
	return vec_sigmoid(raw);
}

/* Operands: rows of the chunk's tokens, n_each columns from `at` on, each row times its factor. */
template <bool by_term, typename element>
__device__ __forceinline__ lines<element, by_term> token_lines(const chunk &k, const element *at, long ld,
	int n_each, bool aligned, const float *factor = NULL)
{
	return {at, ld, k.n, n_each, aligned, factor};
}

/* Keys or queries of a head from column i on. */
template <bool by_term, typename real>
__device__ __forceinline__ lines<real, by_term> key_lines(const delta<real> &s, const chunk &k,
	const rows<const real> &x, int h, int i, const float *factor)
{
	return token_lines<by_term>(k, x[k.row] + h * s.K + i, x.ld, s.K - i, s.aligned, factor);
}

/* Values of a head from column j on, as they come in and in the workspace. */
template <bool by_term, typename real>
__device__ __forceinline__ lines<real, by_term> value_lines(const delta<real> &s, const chunk &k,
	const rows<const real> &x, int h, int j, const float *factor = NULL)
{
	return token_lines<by_term>(k, x[k.row] + h * s.V + j, x.ld, s.V - j, s.aligned, factor);
}

template <bool by_term, typename real>
__device__ __forceinline__ lines<float, by_term> kept_lines(const delta<real> &s, const chunk &k, float *all,
	int h, int j, const float *factor = NULL)
{
	return token_lines<by_term>(k, (const float *)values_of(s, all, k, h) + j, (long)s.H * s.V, s.V - j,
		s.aligned, factor);
}

/* Rows of a state from i on, columns from j on. */
template <bool by_term, typename real>
__device__ __forceinline__ lines<float, by_term> state_lines(const delta<real> &s, const float *state, int i,
	int j)
{
	return {state + i * s.V + j, s.V, s.K - i, s.V - j, s.aligned, NULL};
}

/* inverse or P. */
template <bool by_term>
__device__ __forceinline__ lines<float, by_term> pair_lines(const float *at)
{
	return {at, CHUNK_SIDE, CHUNK_SIDE, CHUNK_SIDE, true, NULL};
}

/* What the kernels over chunks know of a token, in shared memory: factors of rows. */
struct delta_factors {
	float q[CHUNK_SIDE], k[CHUNK_SIDE];		/* norms */
	float beta[CHUNK_SIDE], beta_enters[CHUNK_SIDE], enters[CHUNK_SIDE];
	float k_leaves[CHUNK_SIDE];			/* norm, times what leaves */
	float leaves[CHUNK_SIDE], q_enters[CHUNK_SIDE];
	float k_erased[CHUNK_SIDE];			/* norm, times -beta enters */
};

template <typename real>
__device__ void load_factors(const delta<real> &s, const chunk &k, int h, delta_factors *f)
{
	const chunk_steps *w = steps_of(s.time, k, h);
	int t = threadIdx.x;

	__syncthreads();
	if (t < k.n) {
		f->q[t] = *norm_of(s, 0, k.row + t, h);
		f->k[t] = *norm_of(s, 1, k.row + t, h);
		f->beta[t] = beta_of(to_float(s.braw[k.row + t][h]));
		f->enters[t] = w->enters[t];
		f->beta_enters[t] = f->beta[t] * w->enters[t];
		f->leaves[t] = w->leaves[t];
		f->k_leaves[t] = f->k[t] * w->leaves[t];
		f->q_enters[t] = f->q[t] * w->enters[t];
		f->k_erased[t] = -f->k[t] * f->beta_enters[t];
	} else if (t < CHUNK_SIDE) {
		f->q[t] = f->k[t] = f->beta[t] = f->enters[t] = f->beta_enters[t] = 0;
		f->leaves[t] = f->k_leaves[t] = f->q_enters[t] = f->k_erased[t] = 0;
	}
	__syncthreads();
}

/* u of 64 channels from j on, into m->u, by way of m->r. */
template <typename real, typename memory>
__device__ void delta_solve(const delta<real> &s, const chunk &k, int h, int j, memory *m)
{
	chunk_tile<real> tile;

	chunk_clear(tile);
	if (k.c || s.begins)
		tile.add(s.K, key_lines<true>(s, k, s.k, h, 0, m->f.k),
			state_lines<false>(s, state_of(s, s.states, k, h), 0, j), m->tile);
	tile.each([&](int t, int i, float &v) {
		float own = t < k.n && j + i < s.V ? to_float(s.v[k.row + t][h * s.V + j + i]) : 0;
		*chunk_at(m->r, t, i) = m->f.beta[t] * own - m->f.beta_enters[t] * v;
	});
	chunk_clear(tile);
	tile.add(k.n, pair_lines<true>(pairs_of(s, s.inverse, k, h)), chunk_lines<false>(m->r), m->tile);
	tile.each([&](int t, int i, float &v) { *chunk_at(m->u, t, i) = v; });
}

template <typename real>
delta<real> delta_of(const struct op_run *r, bool backward)
{
	const struct tensor *const *in = r->in, *const *d = r->d_in, *saved = r->saved[DELTA_STATES];
	const struct tensor *dy = backward ? r->d_out[DELTA_Y_BTV] : NULL;
	struct delta_dims n = delta_dims(in, (const struct delta_attr *)r->attr);
	long all = n.B * n.n_chunks, heads = all * n.H, tokens = n.B * n.T;
	size_t size = sizeof(real);
	delta<real> s = {};

	s.B = (int)n.B, s.T = (int)n.T, s.H = (int)n.H, s.K = (int)n.K, s.V = (int)n.V;
	s.time = {s.T, (int)n.Q, (int)n.n_chunks, s.H, rows_of<const real>(in[DELTA_DTRAW_BTH]),
		rows_of<const int>(in[DELTA_START_BT]), (const float *)in[DELTA_ALOG_H]->at,
		(const float *)in[DELTA_DTBIAS_H]->at, (chunk_steps *)r->workspace, all, {}, {}, {}};
	s.q = rows_of<const real>(in[DELTA_Q_BTK]), s.k = rows_of<const real>(in[DELTA_K_BTK]);
	s.v = rows_of<const real>(in[DELTA_V_BTV]), s.braw = rows_of<const real>(in[DELTA_BRAW_BTH]);
	s.dy = rows_of<const real>(dy), s.y = rows_of<real>(r->out[DELTA_Y_BTV]);
	s.dq = rows_of<real>(d[DELTA_Q_BTK]), s.dk = rows_of<real>(d[DELTA_K_BTK]);
	s.dv = rows_of<real>(d[DELTA_V_BTV]), s.dbraw = rows_of<real>(d[DELTA_BRAW_BTH]);
	s.ddtraw = rows_of<real>(d[DELTA_DTRAW_BTH]);
	s.aligned = n.K % 8 == 0 && n.V % 8 == 0 && aligned8(in[DELTA_Q_BTK], size) &&
		aligned8(in[DELTA_K_BTK], size) && aligned8(in[DELTA_V_BTV], size) && aligned8(dy, size);
	s.add = r->add;
	s.carried = rows_of<float>(in[DELTA_S_BKV]);
	s.begins = r->op->n_in > DELTA_N_IN;
	s.inverse = (float *)(s.time.steps + heads);
	s.p = s.inverse + heads * CHUNK_SIDE * CHUNK_SIDE;
	s.u = s.p + heads * CHUNK_SIDE * CHUNK_SIDE;
	s.dr = s.u + tokens * n.H * n.V;
	s.states = s.d_states = backward ? s.dr + tokens * n.H * n.V : s.u;
	s.gradients = s.d_states + heads * n.K * n.V;
	s.parts = s.gradients + 2 * tokens * n.H * n.K;
	s.norms = s.parts + all * 2 * n.H;
	if (!backward)
		s.norms = s.states + (saved ? 0 : heads * n.K * n.V);
	if (saved)
		s.states = (float *)saved->at;
	return s;
}

/* Fills steps, norms, inverse and P. */
template <typename real>
void delta_begin(const struct op_run *r, const delta<real> &s);

#endif
