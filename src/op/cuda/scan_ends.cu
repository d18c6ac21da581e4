/*
 * Time in segments that blocks walk through side by side: with what each of them begins.
 *
 * A first kernel walks through each segment as if nothing came before it, and keeps its last state
 * and the sum of its dt; since exp(dt A) over a segment is exp(A sum dt), a second one has all
 * first states:
 *   h[k + 1] = exp(A sum_k dt) h[k] + end[k]
 * Backward the same holds from the last segment on for e_t g_t, what a token hands to the one
 * before:
 *   carry_t = e_t (carry_{t+1} + ds_t C_t)
 * That is one exponential a state and token beside the one of forward's and two of backward's walk.
 */
#include "op/cuda/scan.cuh"

namespace {

enum {
	THREADS = SCAN_CHANNELS,
	TILE = 16,
	HALF = SCAN_GROUP / 2,
	COMBINE_THREADS = 128,
};

/* Operands, each fetched by a warp of its own. SOURCE: u, or backward dy; Z: backward alone. */
enum { SOURCE, DTRAW, Z, N_WIDE };

/* bc: B, or backward C. */
template <typename real>
struct ends_stage {
	real wide[N_WIDE][TILE][SCAN_CHANNELS];
	real bc[TILE][SCAN_GROUP];
	int start[TILE];
};

template <typename real>
struct ends_shared {
	ends_stage<real> stage[2];
	float bc[TILE][SCAN_GROUP];
};

struct walker {
	float a[2][HALF], h[2][HALF];	/* own channel's, and the other one's of the pair */
	float steps;
};

/* The warp's operand. */
template <bool backward, typename real>
__device__ __forceinline__ supply<real> own_supply(const scan<real> &s, const scan_place &at)
{
	const rows<const real> nothing = {NULL, 0};
	int warp = (int)threadIdx.x / 32;

	return supply_of(s, at, warp == SOURCE ? (backward ? s.dy : s.u) : warp == DTRAW ? s.dtraw
		: backward ? s.z : nothing);
}

template <bool aligned, bool backward, typename real>
__device__ __forceinline__ void fetch_tile(const scan<real> &s, const scan_place &at,
	const supply<real> &own, int n0, int t0, ends_stage<real> &to)
{
	int n_tokens = min(TILE, at.to - t0), warp = (int)threadIdx.x / 32;
	const rows<const real> &bc = backward ? s.c : s.b;

	if (t0 >= at.from && n_tokens > 0 && warp < N_WIDE) {
		own.template fetch_tile<aligned>(to.wide[warp], t0, n_tokens);
	} else if (t0 >= at.from && n_tokens > 0) {
		fetch<aligned>(to.bc, bc[(long)at.b * s.n.T + t0] + n0, (int)bc.ld, n_tokens,
			s.n.N - n0);
		fetch_start(to.start, s, at.b, t0, n_tokens);
	}
	__pipeline_commit();
}

template <typename real>
__device__ __forceinline__ void spread(const ends_stage<real> &f, ends_shared<real> &sh)
{
	#pragma unroll
	for (int k = threadIdx.x; k < TILE * SCAN_GROUP; k += THREADS)
		sh.bc[k / SCAN_GROUP][k % SCAN_GROUP] =
			to_float(f.bc[k / SCAN_GROUP][k % SCAN_GROUP]);
}

/* Token t of the tile: dt, and dt u or ds. */
template <bool backward, typename real>
__device__ __forceinline__ void step(const scan<real> &s, const ends_stage<real> &f,
	const float *bc, int t0, int t, float bias, walker &w)
{
	int lane = threadIdx.x;
	float own_dt = softplus<real>(to_float(f.wide[DTRAW][t][lane]) + bias),
	      own_x = to_float(f.wide[SOURCE][t][lane]);

	if (backward && s.z.at) {
		float z = to_float(f.wide[Z][t][lane]);
		own_x *= z * sigmoid_fast(z);
	}
	if (!backward)
		own_x *= own_dt;
	if (s.start.at && f.start[t] == t0 + t)
		own_dt = ENDLESS;
	w.steps += own_dt;
	float dt[2] = {own_dt, __shfl_xor_sync(~0u, own_dt, 1)};
	float x[2] = {own_x, __shfl_xor_sync(~0u, own_x, 1)};
	#pragma unroll
	for (int k = 0; k < HALF; k += 4) {
		float4 b4 = *(const float4 *)(bc + k);
		float b[4] = {b4.x, b4.y, b4.z, b4.w};
		#pragma unroll
		for (int j = 0; j < 8; j++) {
			float &h = w.h[j % 2][k + j / 2],
			      e = exp2_fast(dt[j % 2] * w.a[j % 2][k + j / 2]);
			h = backward ? e * (h + x[j % 2] * b[j / 2]) : e * h + x[j % 2] * b[j / 2];
		}
	}
}

template <bool backward, typename real>
__device__ __forceinline__ void walk(const scan<real> &s, const scan_place &at,
	const ends_stage<real> &f, const ends_shared<real> &sh, int t0, float bias, walker &w)
{
	int n_tokens = min(TILE, at.to - t0), half = threadIdx.x % 2 * HALF;

	#pragma unroll 4
	for (int k = 0; k < TILE; k++) {
		int t = backward ? TILE - 1 - k : k;
		if (t < n_tokens)
			step<backward>(s, f, sh.bc[t] + half, t0, t, bias, w);
	}
}

/* Launched on groups of states x segments x sequences x blocks of channels. */
template <typename real, bool aligned, bool backward>
__global__ void __launch_bounds__(THREADS, aligned ? 4 : 2) scan_ends_kernel(const scan<real> s)
{
	ends_shared<real> &sh = *shared_memory<ends_shared<real>>();
	unsigned blocks = (unsigned)(s.n.n_segments * s.n.B * s.n.n_blocks);
	scan_place at = place_of(s.n, blockIdx.x % blocks, s.n.n_blocks, SCAN_CHANNELS);
	int n0 = (int)(blockIdx.x / blocks) * SCAN_GROUP, half = (int)threadIdx.x % 2 * HALF;
	int i = at.i0 + (int)threadIdx.x, n_tiles = (at.to - at.from + TILE - 1) / TILE;
	float bias = i < s.n.I ? s.dt_bias.at[i] : 0;
	supply<real> own = own_supply<backward>(s, at);
	walker w = {};

	if (at.segment == (backward ? 0 : s.n.n_segments - 1))
		return;		/* nobody asks how it ends */
	for (int k = 0; k < SCAN_GROUP; k++)
		w.a[k / HALF][k % HALF] = decay_rate(s, i ^ k / HALF, n0 + half + k % HALF);
	int t0 = backward ? at.from + (n_tiles - 1) * TILE : at.from,
	    next = backward ? -TILE : TILE;
	fetch_tile<aligned, backward>(s, at, own, n0, t0, sh.stage[0]);
	for (int k = 0; k < n_tiles; k++, t0 += next) {
		__pipeline_wait_prior(0);
		__syncthreads();
		fetch_tile<aligned, backward>(s, at, own, n0, t0 + next, sh.stage[(k + 1) % 2]);
		spread(sh.stage[k % 2], sh);
		__syncthreads();
		walk<backward>(s, at, sh.stage[k % 2], sh, t0, bias, w);
	}
	for (int k = 0; k < SCAN_GROUP; k++)
		if ((i ^ k / HALF) < s.n.I)
			*end_of(s, at.b, at.segment, n0 + half + k % HALF, i ^ k / HALF) =
				w.h[k / HALF][k % HALF];
	if (n0 == 0 && i < s.n.I)
		s.steps[((long)at.b * s.n.n_segments + at.segment) * s.n.I + i] = w.steps;
}

/* Each segment's end becomes what it begins with. One thread per sequence, state and channel. */
template <typename real, bool backward>
__global__ void scan_combine_kernel(const scan<real> s)
{
	long k = (long)blockIdx.x * COMBINE_THREADS + threadIdx.x,
	     n_states = s.n.n_groups * SCAN_GROUP;
	int i = (int)(k % s.n.I), n = (int)(k / s.n.I % n_states), b = (int)(k / s.n.I / n_states);
	float a, h;

	if (b >= s.n.B)
		return;
	a = decay_rate(s, i, n);
	h = backward ? 0 : first_state(s, b, n, i);
	#pragma unroll 4
	for (int j = 0; j < s.n.n_segments; j++) {
		int segment = backward ? s.n.n_segments - 1 - j : j;
		float *at = end_of(s, b, segment, n, i), end = 0, steps = 0;
		if (j < s.n.n_segments - 1) {
			end = *at;
			steps = s.steps[((long)b * s.n.n_segments + segment) * s.n.I + i];
		}
		*at = h;
		h = exp2_fast(fminf(steps, ENDLESS) * a) * h + end;
	}
}

template <typename real, bool backward>
void find_ends(const struct op_run *r, const scan<real> &s)
{
	auto kernel = scan_aligned(r) ? scan_ends_kernel<real, true, backward>
		: scan_ends_kernel<real, false, backward>;
	long blocks = (long)s.n.n_groups * s.n.n_segments * s.n.B * s.n.n_blocks;
	long states = (long)s.n.B * s.n.n_groups * SCAN_GROUP * s.n.I;

	launch(r, kernel, dim3((unsigned)blocks), THREADS, sizeof(ends_shared<real>), s);
	launch(r, scan_combine_kernel<real, backward>,
		dim3((unsigned)ceil_div(states, COMBINE_THREADS)), COMBINE_THREADS, 0, s);
}

}  // namespace

template <typename real>
void scan_find_ends(const struct op_run *r, const scan<real> &s, bool backward)
{
	if (s.n.n_segments == 1)
		return;
	if (backward)
		find_ends<real, true>(r, s);
	else
		find_ends<real, false>(r, s);
}

template void scan_find_ends<float>(const struct op_run *r, const scan<float> &s, bool backward);
template void scan_find_ends<bf16>(const struct op_run *r, const scan<bf16> &s, bool backward);
