/* ssd on the GPU: steps, scores and states, and the forward direction; op/cuda/ssd.cuh. */
#include "op/cuda/ssd.cuh"

namespace {

enum { THREADS = 256 };

template <typename real>
__global__ void __launch_bounds__(CHUNK_THREADS) scores_kernel(ssd<real> s)
{
	int g = blockIdx.x % s.G;
	chunk k = chunk_of(s.time, blockIdx.x / s.G);
	float *to = scores_of(s, k, g);
	chunk_tile<real> tile;

	chunk_clear(tile);
	tile.add(s.N, group_lines<true>(s, k, s.c, g, 0), group_lines<true>(s, k, s.b, g, 0),
		shared_memory<void>());
	tile.each([&](int t, int j, float &v) { to[t * CHUNK_SIDE + j] = v; });
}

/* A chunk's share of the state behind it, or of the gradient of the state in front: 64 x 64 of it. */
template <typename real>
__global__ void __launch_bounds__(CHUNK_THREADS) share_kernel(ssd<real> s, bool back)
{
	struct memory {
		char tile[chunk_tile<real>::shared_bytes];
		float factor[CHUNK_SIDE];
	} *m = shared_memory<memory>();
	int tiles_p = (int)ceil_div(s.P, CHUNK_SIDE), tiles = tiles_p * (int)ceil_div(s.N, CHUNK_SIDE);
	int tile_at = blockIdx.x % tiles, h = blockIdx.x / tiles % s.H;
	int n = tile_at / tiles_p * CHUNK_SIDE, p = tile_at % tiles_p * CHUNK_SIDE;
	chunk k = chunk_of(s.time, blockIdx.x / tiles / s.H);
	const chunk_steps *w = steps_of(s.time, k, h);
	float *to = state_of(s, back ? s.d_states : s.states, k, h);
	int own = threadIdx.x;
	chunk_tile<real> tile;

	if (back ? k.c == 0 : k.c == s.time.n_chunks - 1 && !s.begins)
		return;
	if (own < k.n)
		m->factor[own] = back ? w->enters[own] : w->leaves[own] * w->dt[own];
	__syncthreads();
	chunk_clear(tile);
	tile.add(k.n, group_lines<false>(s, k, back ? s.c : s.b, group_of(s, h), n),
		head_lines<false>(s, k, back ? s.dy : s.x, h, p, m->factor), m->tile);
	tile.each([&](int i, int j, float &v) {
		if (n + i < s.N && p + j < s.P)
			to[(n + i) * s.P + p + j] = v;
	});
}

/* One element of a state over all chunks. */
template <typename real>
__global__ void pass_kernel(ssd<real> s, bool back)
{
	long size = (long)s.N * s.P, i = (long)blockIdx.x * THREADS + threadIdx.x, sequence = i / size / s.H;
	int h = (int)(i / size % s.H), last = s.time.n_chunks - 1;
	float *states = back ? s.d_states : s.states, state = 0;

	if (i >= s.B * s.H * size)
		return;
	int n = (int)(i % size / s.P), p = (int)(i % size % s.P);
	float *own = back || !s.begins ? NULL : s.carried[(sequence * s.H + h) * s.P + p] + n;
	state = own ? *own : 0;
	for (int step = 0; step <= last; step++) {
		chunk k = chunk_of(s.time, sequence * s.time.n_chunks + (back ? last - step : step));
		float *at = state_of(s, states, k, h) + i % size;
		float share = step < last || own ? *at : 0;
		*at = state;
		state = steps_of(s.time, k, h)->enters[k.n - 1] * state + share;
	}
	if (own)
		*own = state;
}

template <typename real>
struct output_memory {
	char tile[chunk_tile<real>::shared_bytes];
	float m[CHUNK_MATRIX];
	chunk_steps w;
};

/* y of one head, 64 channels of it. */
template <typename real>
__global__ void __launch_bounds__(CHUNK_THREADS) output_kernel(ssd<real> s)
{
	output_memory<real> *m = shared_memory<output_memory<real>>();
	int tiles = (int)ceil_div(s.P, CHUNK_SIDE), p = blockIdx.x % tiles * CHUNK_SIDE;
	int h = blockIdx.x / tiles % s.H, g = group_of(s, h);
	chunk k = chunk_of(s.time, blockIdx.x / tiles / s.H);
	const float *scores = scores_of(s, k, g);
	chunk_tile<real> tile;

	load_steps(&m->w, steps_of(s.time, k, h));
	for (int i = threadIdx.x; i < CHUNK_SIDE * CHUNK_SIDE; i += CHUNK_THREADS) {
		int t = i / CHUNK_SIDE, j = i % CHUNK_SIDE;
		*chunk_at(m->m, t, j) = !sees(&m->w, k.n, j, t) ? 0
			: scores[i] * decay_between(&m->w, j, t) * (j == t ? m->w.own[j] : m->w.dt[j]);
	}
	chunk_clear(tile);
	if (k.c || s.begins)
		tile.add(s.N, group_lines<true>(s, k, s.c, g, 0),
			state_lines<false>(s, state_of(s, s.states, k, h), 0, p), m->tile);
	tile.each([&](int t, int, float &v) { v *= t < k.n ? m->w.enters[t] : 0; });
	tile.add(k.n, chunk_lines<true>(m->m), head_lines<false>(s, k, s.x, h, p), m->tile);
	tile.each([&](int t, int j, float &v) {
		int i = h * s.P + p + j;
		if (t < k.n && p + j < s.P)
			s.y[k.row + t][i] = from_float<real>(v + s.d[h] * to_float(s.x[k.row + t][i]));
	});
}

template <typename real>
dim3 chunks_of(const ssd<real> &s, long each)
{
	return dim3((unsigned)(s.time.n * each));
}

}

template <typename real>
void ssd_begin(const struct op_run *r, const ssd<real> &s)
{
	launch_steps(r, s.time);
	launch(r, scores_kernel<real>, chunks_of(s, s.G), CHUNK_THREADS, chunk_tile<real>::shared_bytes, s);
}

template <typename real>
void ssd_pass_states(const struct op_run *r, const ssd<real> &s, bool back)
{
	long tiles = ceil_div(s.P, CHUNK_SIDE) * ceil_div(s.N, CHUNK_SIDE);
	long elements = (long)s.B * s.H * s.N * s.P;

	launch(r, share_kernel<real>, chunks_of(s, s.H * tiles), CHUNK_THREADS,
		chunk_tile<real>::shared_bytes + CHUNK_SIDE * sizeof(float), s, back);
	launch(r, pass_kernel<real>, dim3((unsigned)ceil_div(elements, THREADS)), THREADS, 0, s, back);
}

template void ssd_begin(const struct op_run *r, const ssd<float> &s);
template void ssd_begin(const struct op_run *r, const ssd<bf16> &s);
template void ssd_pass_states(const struct op_run *r, const ssd<float> &s, bool back);
template void ssd_pass_states(const struct op_run *r, const ssd<bf16> &s, bool back);

extern "C" void ssd_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		ssd<real> s = ssd_of<real>(r, false);

		ssd_begin(r, s);
		ssd_pass_states(r, s, false);
		launch(r, output_kernel<real>, chunks_of(s, s.H * ceil_div(s.P, CHUNK_SIDE)), CHUNK_THREADS,
			sizeof(output_memory<real>), s);
	});
}
