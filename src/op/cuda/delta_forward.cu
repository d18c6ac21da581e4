/* delta on the GPU: what is of a chunk alone, and the forward direction; op/cuda/delta.cuh. */
#include "op/cuda/delta.cuh"

namespace {

enum { WARPS = CHUNK_THREADS / 32 };

/* A warp has a head of a row. */
template <typename real>
__global__ void norms_kernel(delta<real> s)
{
	long i = (long)blockIdx.x * WARPS + threadIdx.x / 32, row = i / s.H;
	int h = (int)(i % s.H);
	float q = 0, k = 0;

	if (row >= (long)s.B * s.T)
		return;
	for (int j = threadIdx.x % 32; j < s.K; j += 32) {
		float x = to_float(s.q[row][h * s.K + j]), y = to_float(s.k[row][h * s.K + j]);
		q += x * x;
		k += y * y;
	}
	q = warp_sum(q) + (float)DELTA_EPS;
	k = warp_sum(k) + (float)DELTA_EPS;
	if (threadIdx.x % 32)
		return;
	*norm_of(s, 0, row, h) = 1 / sqrtf(q * (float)s.K);
	*norm_of(s, 1, row, h) = 1 / sqrtf(k);
}

template <typename real>
struct pairs_memory {
	char tile[chunk_tile<real>::shared_bytes];
	float m[CHUNK_MATRIX], inverse[CHUNK_MATRIX];
	chunk_steps w;
	delta_factors f;
};

/* (I + M)^-1 by forward substitution: four threads have a column. */
__device__ void invert(const float *m, float *inverse)
{
	int j = threadIdx.x / 4, part = threadIdx.x % 4;

	for (int t = 0; t < CHUNK_SIDE; t++) {
		float sum = 0;
		for (int i = part; i < t; i += 4)
			sum += m[t * CHUNK_PITCH + i] * inverse[i * CHUNK_PITCH + j];
		sum = warp_sum<4>(sum);
		if (part == 0)
			inverse[t * CHUNK_PITCH + j] = (t == j ? 1.0f : 0.0f) - sum;
		__syncwarp();
	}
	__syncthreads();
}

template <typename real>
__global__ void __launch_bounds__(CHUNK_THREADS) pairs_kernel(delta<real> s)
{
	pairs_memory<real> *m = shared_memory<pairs_memory<real>>();
	int h = blockIdx.x % s.H;
	chunk k = chunk_of(s.time, blockIdx.x / s.H);
	float *p = pairs_of(s, s.p, k, h), *inverse = pairs_of(s, s.inverse, k, h);
	chunk_tile<real> tile;

	load_steps(&m->w, steps_of(s.time, k, h));
	load_factors(s, k, h, &m->f);
	chunk_clear(tile);
	tile.add(s.K, key_lines<true>(s, k, s.k, h, 0, m->f.k), key_lines<true>(s, k, s.k, h, 0, m->f.k), m->tile);
	tile.each([&](int t, int j, float &v) {
		*chunk_at(m->m, t, j) = j < t && sees(&m->w, k.n, j, t)
			? m->f.beta[t] * v * decay_between(&m->w, j, t) : 0;
	});
	chunk_clear(tile);
	tile.add(s.K, key_lines<true>(s, k, s.q, h, 0, m->f.q), key_lines<true>(s, k, s.k, h, 0, m->f.k), m->tile);
	tile.each([&](int t, int j, float &v) {
		p[t * CHUNK_SIDE + j] = sees(&m->w, k.n, j, t) ? v * decay_between(&m->w, j, t) : 0;
	});
	invert(m->m, m->inverse);
	for (int i = threadIdx.x; i < CHUNK_SIDE * CHUNK_SIDE; i += CHUNK_THREADS)
		inverse[i] = *chunk_at(m->inverse, i / CHUNK_SIDE, i % CHUNK_SIDE);
}

template <typename real>
struct forward_memory {
	char tile[chunk_tile<real>::shared_bytes];
	float r[CHUNK_MATRIX], u[CHUNK_MATRIX];
	delta_factors f;
};

/* y of 64 channels from j on. */
template <typename real>
__device__ void put_y(const delta<real> &s, const chunk &k, int h, int j, forward_memory<real> *m)
{
	chunk_tile<real> tile;

	chunk_clear(tile);
	if (k.c || s.begins)
		tile.add(s.K, key_lines<true>(s, k, s.q, h, 0, m->f.q_enters),
			state_lines<false>(s, state_of(s, s.states, k, h), 0, j), m->tile);
	tile.add(k.n, pair_lines<true>(pairs_of(s, s.p, k, h)), chunk_lines<false>(m->u), m->tile);
	tile.each([&](int t, int i, float &v) {
		if (t < k.n && j + i < s.V)
			s.y[k.row + t][h * s.V + j + i] = from_float<real>(v);
	});
}

/* 64 channels, from j on, of the state behind the chunk. */
template <typename real>
__device__ void pass_state(const delta<real> &s, const chunk &k, int h, int j, float *behind,
	forward_memory<real> *m)
{
	const float *before = state_of(s, s.states, k, h);
	float carry = m->f.enters[k.n - 1];
	chunk_tile<real> tile;

	for (int i = 0; i < s.K; i += CHUNK_SIDE) {
		chunk_clear(tile);
		tile.add(k.n, key_lines<false>(s, k, s.k, h, i, m->f.k_leaves), chunk_lines<false>(m->u), m->tile);
		tile.each([&](int a, int b, float &v) {
			int at = (i + a) * s.V + j + b;
			if (i + a < s.K && j + b < s.V)
				behind[at] = v + (k.c || s.begins ? carry * before[at] : 0);
		});
	}
}

/* 64 channels, from j on, of the memory that the sequence begins with. */
template <typename real>
__device__ void begin(const delta<real> &s, const chunk &k, int h, int j, const float *from)
{
	float *to = state_of(s, s.states, k, h);

	for (int i = threadIdx.x; i < s.K * CHUNK_SIDE; i += CHUNK_THREADS) {
		int at = i / CHUNK_SIDE * s.V + j + i % CHUNK_SIDE;
		if (j + i % CHUNK_SIDE < s.V)
			to[at] = from[at];
	}
}

template <typename real>
__global__ void __launch_bounds__(CHUNK_THREADS) forward_kernel(delta<real> s)
{
	forward_memory<real> *m = shared_memory<forward_memory<real>>();
	int tiles = (int)ceil_div(s.V, CHUNK_SIDE), j = blockIdx.x % tiles * CHUNK_SIDE;
	int h = blockIdx.x / tiles % s.H;
	long b = blockIdx.x / tiles / s.H;

	for (int c = 0; c < s.time.n_chunks; c++) {
		chunk k = chunk_of(s.time, b * s.time.n_chunks + c);
		float *own = s.begins ? s.carried[(b * s.H + h) * s.K] : NULL;
		if (own && c == 0)
			begin(s, k, h, j, own);
		load_factors(s, k, h, &m->f);
		delta_solve(s, k, h, j, m);
		put_y(s, k, h, j, m);
		if (c < s.time.n_chunks - 1)
			pass_state(s, k, h, j, state_of(s, s.states, k, h) + (long)s.H * s.K * s.V, m);
		else if (own)
			pass_state(s, k, h, j, own, m);
	}
}

}

template <typename real>
void delta_begin(const struct op_run *r, const delta<real> &s)
{
	long rows = (long)s.B * s.T * s.H;

	launch_steps(r, s.time);
	launch(r, norms_kernel<real>, dim3((unsigned)ceil_div(rows, WARPS)), CHUNK_THREADS, 0, s);
	launch(r, pairs_kernel<real>, dim3((unsigned)(s.time.n * s.H)), CHUNK_THREADS,
		sizeof(pairs_memory<real>), s);
}

template void delta_begin(const struct op_run *r, const delta<float> &s);
template void delta_begin(const struct op_run *r, const delta<bf16> &s);

extern "C" void delta_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		delta<real> s = delta_of<real>(r, false);
		long blocks = (long)s.B * s.H * ceil_div(s.V, CHUNK_SIDE);

		delta_begin(r, s);
		launch(r, forward_kernel<real>, dim3((unsigned)blocks), CHUNK_THREADS, sizeof(forward_memory<real>),
			s);
	});
}
