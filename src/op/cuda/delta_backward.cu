/* delta on the GPU, backward: op/cuda/delta.cuh. */
#include "op/cuda/delta.cuh"
#include "op/cuda/reduce.cuh"

namespace {

enum { WARPS = CHUNK_THREADS / 32 };

/* ---- back over the chunks: u, dr, dv and gradients of states, 64 channels of values ------------- */

template <typename real>
struct walk_memory {
	char tile[chunk_tile<real>::shared_bytes];
	float r[CHUNK_MATRIX], u[CHUNK_MATRIX];	/* then du, and dr */
	delta_factors f;
};

/* A tile of values to the workspace. */
template <typename real>
__device__ void keep(const delta<real> &s, const chunk &k, float *all, int h, int j, const float *matrix)
{
	float *to = values_of(s, all, k, h) + j;

	for (int i = threadIdx.x; i < CHUNK_SIDE * CHUNK_SIDE; i += CHUNK_THREADS) {
		int t = i / CHUNK_SIDE, column = i % CHUNK_SIDE;
		if (t < k.n && j + column < s.V)
			to[(long)t * s.H * s.V + column] = matrix[t * CHUNK_PITCH + column];
	}
	__syncthreads();
}

/* dr from what y and the state behind say of u; dv. */
template <typename real>
__device__ void solve_backward(const delta<real> &s, const chunk &k, int h, int j, walk_memory<real> *m)
{
	chunk_tile<real> tile;

	chunk_clear(tile);
	if (k.c < s.time.n_chunks - 1)
		tile.add(s.K, key_lines<true>(s, k, s.k, h, 0, m->f.k_leaves),
			state_lines<false>(s, state_of(s, s.d_states, k, h), 0, j), m->tile);
	tile.add(k.n, pair_lines<false>(pairs_of(s, s.p, k, h)), value_lines<false>(s, k, s.dy, h, j), m->tile);
	tile.each([&](int t, int i, float &v) { *chunk_at(m->r, t, i) = v; });
	chunk_clear(tile);
	tile.add(k.n, pair_lines<false>(pairs_of(s, s.inverse, k, h)), chunk_lines<false>(m->r), m->tile);
	tile.each([&](int t, int i, float &v) {
		*chunk_at(m->u, t, i) = v;
		if (t < k.n && j + i < s.V)
			put(s.dv, k.row + t, h * s.V + j + i, s.add & READS(DELTA_V_BTV), m->f.beta[t] * v);
	});
	__syncthreads();
}

/* The gradient of the state behind the chunk before. */
template <typename real>
__device__ void pass_gradient(const delta<real> &s, const chunk &k, int h, int j, walk_memory<real> *m)
{
	const float *behind = state_of(s, s.d_states, k, h);
	float *before = state_of(s, s.d_states, k, h) - (long)s.H * s.K * s.V;
	float carry = k.c < s.time.n_chunks - 1 ? m->f.enters[k.n - 1] : 0;
	chunk_tile<real> tile;

	for (int i = 0; i < s.K; i += CHUNK_SIDE) {
		chunk_clear(tile);
		tile.add(k.n, key_lines<false>(s, k, s.q, h, i, m->f.q_enters), value_lines<false>(s, k, s.dy, h, j),
			m->tile);
		tile.add(k.n, key_lines<false>(s, k, s.k, h, i, m->f.k_erased), chunk_lines<false>(m->u), m->tile);
		tile.each([&](int a, int b, float &v) {
			int at = (i + a) * s.V + j + b;
			if (i + a < s.K && j + b < s.V)
				before[at] = v + (carry != 0 ? carry * behind[at] : 0);
		});
	}
}

template <typename real>
__global__ void __launch_bounds__(CHUNK_THREADS) walk_kernel(delta<real> s)
{
	walk_memory<real> *m = shared_memory<walk_memory<real>>();
	int tiles = (int)ceil_div(s.V, CHUNK_SIDE), j = blockIdx.x % tiles * CHUNK_SIDE;
	int h = blockIdx.x / tiles % s.H;
	long b = blockIdx.x / tiles / s.H;

	for (int c = s.time.n_chunks - 1; c >= 0; c--) {
		chunk k = chunk_of(s.time, b * s.time.n_chunks + c);
		load_factors(s, k, h, &m->f);
		delta_solve(s, k, h, j, m);
		__syncthreads();
		keep(s, k, s.u, h, j, m->u);
		solve_backward(s, k, h, j, m);
		keep(s, k, s.dr, h, j, m->u);
		if (c)
			pass_gradient(s, k, h, j, m);
	}
}

/* ---- chunk by chunk: all that sums over values ---------------------------------------------- */

template <typename real>
struct chunk_memory {
	char tile[chunk_tile<real>::shared_bytes];
	float dp[CHUNK_MATRIX], dm[CHUNK_MATRIX];	/* gradients of q.k and k.k */
	float z[CHUNK_MATRIX];		/* of decays; then products that are summed by token */
	chunk_steps w;
	delta_factors f;
	float d_log[CHUNK_SIDE], entered[CHUNK_SIDE], left[CHUNK_SIDE];
	float scratch[CHUNK_THREADS];
};

template <typename real>
__device__ void put_braw(const delta<real> &s, const chunk &k, int h, int t, float d)
{
	if (t < k.n)
		put(s.dbraw, k.row + t, h, s.add & READS(DELTA_BRAW_BTH), d);
}

/* dp, dm, and by them d_log; braw's gradient, (1 - beta) dr . u. */
template <typename real>
__device__ void pairs(const delta<real> &s, const chunk &k, int h, chunk_memory<real> *m)
{
	const float *p = pairs_of(s, s.p, k, h);
	const chunk_steps *w = &m->w;
	chunk_tile<real> tile, kk;

	chunk_clear(tile);
	tile.add(s.V, value_lines<true>(s, k, s.dy, h, 0), kept_lines<true>(s, k, s.u, h, 0), m->tile);
	tile.each([&](int t, int j, float &v) {
		*chunk_at(m->z, t, j) = v * p[t * CHUNK_SIDE + j];
		*chunk_at(m->dp, t, j) = sees(w, k.n, j, t) ? v * decay_between(w, j, t) : 0;
	});
	chunk_clear(tile);
	tile.add(s.V, kept_lines<true>(s, k, s.dr, h, 0), kept_lines<true>(s, k, s.u, h, 0), m->tile);
	tile.each([&](int t, int j, float &v) {
		if (t == j)
			put_braw(s, k, h, t, v * (1 - m->f.beta[t]));
		v = j < t && sees(w, k.n, j, t) ? -v * decay_between(w, j, t) * m->f.beta[t] : 0;
		*chunk_at(m->dm, t, j) = v;
	});
	chunk_clear(kk);
	kk.add(s.K, key_lines<true>(s, k, s.k, h, 0, m->f.k), key_lines<true>(s, k, s.k, h, 0, m->f.k), m->tile);
	kk.each([&](int t, int j, float &v) { *chunk_at(m->z, t, j) += *chunk_at(m->dm, t, j) * v; });
	__syncthreads();
	chunk_sums_below(m->z, m->scratch);
	float row = chunk_row_sum(m->z);
	if (threadIdx.x % 4 == 0)
		m->d_log[threadIdx.x / 4] = row;
	__syncthreads();
}

/* sums[t] += the sum over 64 columns from i on of the tile times x, whose rows have norms. */
template <typename real>
__device__ void add_products(const delta<real> &s, const chunk &k, int h, const rows<const real> &x, int i,
	const float *norms, chunk_tile<real> &tile, chunk_memory<real> *m, float *sums)
{
	int t = threadIdx.x / 4;

	tile.each([&](int row, int j, float &v) {
		*chunk_at(m->z, row, j) = row < k.n && i + j < s.K
			? v * norms[row] * to_float(x[k.row + row][h * s.K + i + j]) : 0;
	});
	__syncthreads();
	float sum = chunk_row_sum(m->z);
	if (threadIdx.x % 4 == 0)
		sums[t] += sum;
	__syncthreads();
}

template <typename real>
__device__ void keep_gradient(const delta<real> &s, const chunk &k, int h, int which, int i,
	chunk_tile<real> &tile)
{
	float *to = s.gradients + (((long)which * s.B * s.T + k.row) * s.H + h) * s.K + i;

	tile.each([&](int t, int j, float &v) {
		if (t < k.n && i + j < s.K)
			to[(long)t * s.H * s.K + j] = v;
	});
}

/* 64 columns of dq, of which `entered` has a share. */
template <typename real>
__device__ void queries(const delta<real> &s, const chunk &k, int h, int i, chunk_memory<real> *m)
{
	chunk_tile<real> tile;

	chunk_clear(tile);
	if (k.c || s.begins) {
		tile.add(s.V, value_lines<true>(s, k, s.dy, h, 0, m->f.enters),
			state_lines<true>(s, state_of(s, s.states, k, h), i, 0), m->tile);
		add_products(s, k, h, s.q, i, m->f.q, tile, m, m->entered);
	}
	tile.add(k.n, chunk_lines<true>(m->dp), key_lines<false>(s, k, s.k, h, i, m->f.k), m->tile);
	keep_gradient(s, k, h, 0, i, tile);
}

/* 64 columns of dk, of which `entered` and `left` have shares. */
template <typename real>
__device__ void keys(const delta<real> &s, const chunk &k, int h, int i, chunk_memory<real> *m)
{
	chunk_tile<real> tile, leaving;

	chunk_clear(tile);
	if (k.c || s.begins) {
		tile.add(s.V, kept_lines<true>(s, k, s.dr, h, 0),
			state_lines<true>(s, state_of(s, s.states, k, h), i, 0), m->tile);
		tile.each([&](int t, int, float &v) { v *= -m->f.beta_enters[t]; });
		add_products(s, k, h, s.k, i, m->f.k, tile, m, m->entered);
	}
	if (k.c < s.time.n_chunks - 1) {
		chunk_clear(leaving);
		leaving.add(s.V, kept_lines<true>(s, k, s.u, h, 0, m->f.leaves),
			state_lines<true>(s, state_of(s, s.d_states, k, h), i, 0), m->tile);
		add_products(s, k, h, s.k, i, m->f.k, leaving, m, m->left);
		#pragma unroll
		for (int a = 0; a < 4; a++)
			#pragma unroll
			for (int b = 0; b < 4; b++)
				tile.sum[a][b] += leaving.sum[a][b];
	}
	tile.add(k.n, chunk_lines<false>(m->dp), key_lines<false>(s, k, s.q, h, i, m->f.q), m->tile);
	tile.add(k.n, chunk_lines<true>(m->dm), key_lines<false>(s, k, s.k, h, i, m->f.k), m->tile);
	tile.add(k.n, chunk_lines<false>(m->dm), key_lines<false>(s, k, s.k, h, i, m->f.k), m->tile);
	keep_gradient(s, k, h, 1, i, tile);
}

template <typename real>
__global__ void __launch_bounds__(CHUNK_THREADS) chunk_kernel(delta<real> s)
{
	chunk_memory<real> *m = shared_memory<chunk_memory<real>>();
	int h = blockIdx.x % s.H;
	chunk k = chunk_of(s.time, blockIdx.x / s.H);
	float *parts = s.parts + k.index * 2 * s.H + h, carried = 0;

	load_steps(&m->w, steps_of(s.time, k, h));
	load_factors(s, k, h, &m->f);
	if (threadIdx.x < CHUNK_SIDE)
		m->entered[threadIdx.x] = m->left[threadIdx.x] = 0;
	__syncthreads();
	pairs(s, k, h, m);
	for (int i = 0; i < s.K; i += CHUNK_SIDE) {
		queries(s, k, h, i, m);
		keys(s, k, h, i, m);
	}
	if ((k.c || s.begins) && k.c < s.time.n_chunks - 1)
		carried = m->f.enters[k.n - 1] * chunk_dot(state_of(s, s.states, k, h),
			state_of(s, s.d_states, k, h), s.K * s.V, m->scratch);
	if (threadIdx.x == 0)
		steps_backward(s.time, k, h, &m->w, m->d_log, m->entered, m->left, carried, (const float *)NULL,
			s.ddtraw, s.add & READS(DELTA_DTRAW_BTH), parts, parts + s.H);
}

/* ---- norms ---------------------------------------------------------------------------------- */

/* From the gradient of a row over its norm to that of the row; scale: the factor beside 1 / norm, squared. */
template <typename real>
__device__ void norm_backward(const delta<real> &s, int which, long row, int h, const rows<const real> &x,
	const rows<real> &dx, float scale, bool add)
{
	const float *g = s.gradients + (((long)which * s.B * s.T + row) * s.H + h) * s.K;
	float norm = *norm_of(s, which, row, h), along = 0;

	if (!dx.at)
		return;
	for (int j = threadIdx.x % 32; j < s.K; j += 32)
		along += g[j] * to_float(x[row][h * s.K + j]);
	along = warp_sum(along) * norm * norm / scale;
	for (int j = threadIdx.x % 32; j < s.K; j += 32)
		put(dx, row, h * s.K + j, add, norm * (g[j] - along * to_float(x[row][h * s.K + j])));
}

/* A warp has a head of a row. */
template <typename real>
__global__ void norms_kernel(delta<real> s)
{
	long i = (long)blockIdx.x * WARPS + threadIdx.x / 32, row = i / s.H;
	int h = (int)(i % s.H);

	if (row >= (long)s.B * s.T)
		return;
	norm_backward(s, 0, row, h, s.q, s.dq, 1 / (float)s.K, s.add & READS(DELTA_Q_BTK));
	norm_backward(s, 1, row, h, s.k, s.dk, 1, s.add & READS(DELTA_K_BTK));
}

}

extern "C" void delta_backward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		delta<real> s = delta_of<real>(r, true);
		long heads = (long)s.B * s.H, rows = heads * s.T;

		delta_begin(r, s);
		launch(r, walk_kernel<real>, dim3((unsigned)(heads * ceil_div(s.V, CHUNK_SIDE))), CHUNK_THREADS,
			sizeof(walk_memory<real>), s);
		launch(r, chunk_kernel<real>, dim3((unsigned)(s.time.n * s.H)), CHUNK_THREADS,
			sizeof(chunk_memory<real>), s);
		launch(r, norms_kernel<real>, dim3((unsigned)ceil_div(rows, WARPS)), CHUNK_THREADS, 0, s);
		for (int k = 0; k < 2; k++) {
			int input = k ? DELTA_DTBIAS_H : DELTA_ALOG_H;
			if (r->d_in[input])
				reduce_parts_cuda(r, (float *)r->d_in[input]->at, s.parts + k * s.H, s.time.n, s.H,
					2L * s.H, op_adds(r, input));
		}
	});
}
