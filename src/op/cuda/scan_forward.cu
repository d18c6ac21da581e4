/* The scan's forward kernel: op/cuda/scan.cuh says how, op/scan.h what. */
#include "op/cuda/scan.cuh"

namespace {

enum {
	THREADS = SCAN_FORWARD_THREADS,
	TILE = 16,			/* tokens that a block fetches at once */
	HALF = SCAN_GROUP / 2,		/* states of a channel that a thread has */
};

static_assert((int)TILE <= (int)SCAN_GROUP, "a tile's sums find place in a resting place");
static_assert((int)SCAN_FORWARD_THREADS == (int)SCAN_CHANNELS, "each thread finishes one channel");

enum { U, DTRAW, Z, N_WIDE };	/* operands, each fetched by a warp of its own */

template <typename real>
struct forward_stage {
	real wide[N_WIDE][TILE][SCAN_CHANNELS];
	alignas(16) real b[TILE][SCAN_GROUP], c[TILE][SCAN_GROUP];
	int start[TILE];
};

template <typename real>
struct forward_shared {
	forward_stage<real> stage[2];
	float b[TILE][SCAN_GROUP], c[TILE][SCAN_GROUP];
};

/* A thread: its own channel is i, the other one of the pair i ^ 1; of both it has HALF states. */
struct seat {
	int lane, i, half;
};

/* What a thread carries through time: [0] own channel, [1] the other one. */
struct walker {
	float a[2][HALF], h[2][HALF];	/* A log2(e); states */
};

/* The warp's operand. */
template <typename real>
__device__ __forceinline__ supply<real> own_supply(const scan<real> &s, const scan_place &at)
{
	int warp = (int)threadIdx.x / 32;

	return supply_of(s, at, warp == U ? s.u : warp == DTRAW ? s.dtraw : s.z);
}

template <bool aligned, typename real>
__device__ __forceinline__ void fetch_tile(const scan<real> &s, const scan_place &at,
	const supply<real> &own, int t0, forward_stage<real> &to)
{
	int n_tokens = min(TILE, at.to - t0), warp = (int)threadIdx.x / 32;
	long row = (long)at.b * s.n.T + t0;

	if (n_tokens > 0 && warp < N_WIDE) {
		own.template fetch_tile<aligned>(to.wide[warp], t0, n_tokens);
	} else if (n_tokens > 0) {
		fetch<aligned>(to.b, s.b[row], (int)s.b.ld, n_tokens, s.n.N);
		fetch<aligned>(to.c, s.c[row], (int)s.c.ld, n_tokens, s.n.N);
		fetch_start(to.start, s, at.b, t0, n_tokens);
	}
	__pipeline_commit();
}

/* B and C of the tile as float. */
template <typename real>
__device__ __forceinline__ void spread(const forward_stage<real> &f, forward_shared<real> &sh)
{
	int t = (int)threadIdx.x / (SCAN_GROUP / 2), n = (int)threadIdx.x % (SCAN_GROUP / 2) * 2;
	two<real> b = *(const two<real> *)&f.b[t][n], c = *(const two<real> *)&f.c[t][n];

	static_assert(TILE * SCAN_GROUP / 2 == THREADS, "two states a thread");
	*(float2 *)&sh.b[t][n] = make_float2(to_float(b.low), to_float(b.high));
	*(float2 *)&sh.c[t][n] = make_float2(to_float(c.low), to_float(c.high));
}

/* The same of a further group of states. */
template <typename real>
__device__ __forceinline__ void spread_group(const scan<real> &s, const scan_place &at, int t0,
	int n0, forward_shared<real> &sh)
{
	for (int k = threadIdx.x; k < TILE * SCAN_GROUP; k += THREADS) {
		int t = k / SCAN_GROUP, n = k % SCAN_GROUP;
		long row = (long)at.b * s.n.T + t0 + t;
		bool there = t0 + t < at.to && n0 + n < s.n.N;
		sh.b[t][n] = there ? to_float(s.b[row][n0 + n]) : 0;
		sh.c[t][n] = there ? to_float(s.c[row][n0 + n]) : 0;
	}
}

/* Which of the tile's tokens begin a document, as bits. */
template <typename real>
__device__ __forceinline__ unsigned beginnings(const scan<real> &s, const forward_stage<real> &f,
	int t0)
{
	int t = (int)threadIdx.x % 32;

	return s.start.at ? __ballot_sync(~0u, t < TILE && f.start[t % TILE] == t0 + t) : 0;
}

/* What a token of a channel is apart from its states. */
struct point {
	float dt, x, u, gate;		/* x = dt u; dt is ENDLESS at a document's first token */
};

/* carries: behind the last token states stay as they are, for they go on. */
template <bool carries, typename real>
__device__ __forceinline__ point point_of(const forward_stage<real> &f, int t, int n_tokens, int lane,
	float bias, bool gated, unsigned begins)
{
	float z = gated ? to_float(f.wide[Z][t][lane]) : 0;
	point p;

	p.u = to_float(f.wide[U][t][lane]);
	p.dt = softplus<real>(to_float(f.wide[DTRAW][t][lane]) + bias);
	p.x = p.dt * p.u;
	p.gate = gated ? z * sigmoid_fast(z) : 1;
	if (begins >> t & 1)
		p.dt = ENDLESS;
	if (carries && t >= n_tokens)
		p.dt = p.x = 0;
	return p;
}

/* h = e h + x B for the thread's states; returns sum_n C h of its own channel. */
__device__ __forceinline__ float step(walker &w, const point &p, const float *b, const float *c)
{
	float dt[2] = {p.dt, __shfl_xor_sync(~0u, p.dt, 1)},
	      x[2] = {p.x, __shfl_xor_sync(~0u, p.x, 1)};
	float sum[2][2] = {};

	#pragma unroll
	for (int k = 0; k < HALF; k += 4) {
		float4 b4 = *(const float4 *)(b + k), c4 = *(const float4 *)(c + k);
		float B[4] = {b4.x, b4.y, b4.z, b4.w}, C[4] = {c4.x, c4.y, c4.z, c4.w};
		#pragma unroll
		for (int j = 0; j < 4; j++)
			#pragma unroll
			for (int m = 0; m < 2; m++) {
				float &h = w.h[m][k + j];
				h = exp2_fast(dt[m] * w.a[m][k + j]) * h + x[m] * B[j];
				sum[m][j % 2] += C[j] * h;
			}
	}
	return sum[0][0] + sum[0][1] + __shfl_xor_sync(~0u, sum[1][0] + sum[1][1], 1);
}

/* Where the tile's results of the thread's own channel go, in which offsets are of 32 bits;
   NULL: none, or the channel is not there. Of the other channel the kept states lie 16 further. */
template <typename real>
struct results {
	real *y, *ungated, *kept;
	int y_ld, ungated_ld, kept_ld;
	int n_tokens;
};

template <typename real>
__device__ __forceinline__ results<real> results_of(const scan<real> &s, const scan_place &at,
	const seat &me, int t0, int group)
{
	long row = (long)at.b * s.n.T + t0;
	results<real> to = {NULL, NULL, NULL, (int)s.y.ld, s.n.I,
		s.n.n_groups * ((s.n.I + 1) / 2 * 32), min(TILE, at.to - t0)};

	if (me.i < s.n.I)
		to.y = s.y[row] + me.i;
	if (me.i < s.n.I && s.ungated)
		to.ungated = s.ungated + row * s.n.I + me.i;
	if ((me.i & ~1) < s.n.I && s.states)
		to.kept = kept_states(s, at.b, t0 / SCAN_KEPT, group, me.half, me.i);
	return to;
}

template <typename real>
__device__ __forceinline__ void keep_states(const results<real> &to, int kept, const walker &w)
{
	real *at = to.kept + kept * to.kept_ld;

	if (!to.kept)
		return;
	#pragma unroll
	for (int m = 0; m < 2; m++) {
		eight h;
		#pragma unroll
		for (int k = 0; k < HALF; k++)
			h.v[k] = w.h[m][k];
		store8(at + 16 * m, h);
	}
}

template <typename real>
__device__ __forceinline__ void put_token(const results<real> &to, int t, float y, float gate)
{
	if (to.ungated)
		to.ungated[t * to.ungated_ld] = from_float<real>(y);
	if (to.y)
		to.y[t * to.y_ld] = from_float<real>(y * gate);
}

/* The tile's tokens in pairs: what does not depend on the states is done for both at once, so
   that one hides the other's latency. */
template <bool many, bool carries, typename real>
__device__ __forceinline__ void walk(const scan<real> &s, const seat &me,
	const forward_shared<real> &sh, const forward_stage<real> &f, float *so_far, int t0,
	int group, float bias, float d, const results<real> &to, walker &w)
{
	unsigned begins = beginnings(s, f, t0);
	bool gated = s.z.at;

	#pragma unroll 4	/* SCAN_KEPT tokens */
	for (int t = 0; t < TILE; t += 2) {
		point p[2] = {point_of<carries>(f, t, to.n_tokens, me.lane, bias, gated, begins),
			point_of<carries>(f, t + 1, to.n_tokens, me.lane, bias, gated, begins)};
		if (t % SCAN_KEPT == 0 && t < to.n_tokens)
			keep_states(to, t / SCAN_KEPT, w);
		#pragma unroll
		for (int k = 0; k < 2; k++) {
			float sum = step(w, p[k], sh.b[t + k] + me.half * HALF,
				sh.c[t + k] + me.half * HALF);
			float y = sum + (many && group ? so_far[(t + k) * THREADS] : d * p[k].u);
			if (many)
				so_far[(t + k) * THREADS] = y;
			if ((!many || group == s.n.n_groups - 1) && t + k < to.n_tokens)
				put_token(to, t + k, y, p[k].gate);
		}
	}
}

/* A and the states with which a segment begins. */
template <typename real>
__device__ __forceinline__ void begin(const scan<real> &s, const scan_place &at, const seat &me,
	int group, walker &w)
{
	#pragma unroll
	for (int m = 0; m < 2; m++)
		#pragma unroll
		for (int k = 0; k < HALF; k++) {
			int i = me.i ^ m, n = group * SCAN_GROUP + me.half * HALF + k;
			w.a[m][k] = decay_rate(s, i, n);
			w.h[m][k] = !s.ends ? first_state(s, at.b, n, i)
				: i < s.n.I ? *end_of(s, at.b, at.segment, n, i) : 0;
		}
}

/* The states behind the last token are those that the next window begins with. */
template <typename real>
__device__ __forceinline__ void leave(const scan<real> &s, const scan_place &at, const seat &me,
	int group, const walker &w)
{
	#pragma unroll
	for (int m = 0; m < 2; m++)
		#pragma unroll
		for (int k = 0; k < HALF; k++) {
			int i = me.i ^ m, n = group * SCAN_GROUP + me.half * HALF + k;
			if (i < s.n.I && n < s.n.N)
				s.carried[(long)at.b * s.n.I + i][n] = w.h[m][k];
		}
}

/* All groups of states, one after the other, through a tile. */
template <bool carries, typename real>
__device__ void walk_groups(const scan<real> &s, const scan_place &at, const seat &me,
	forward_shared<real> &sh, const forward_stage<real> &f, int t0, float bias, float d)
{
	float *so_far = resting_place(s, s.n.n_groups, THREADS);

	for (int group = 0; group < s.n.n_groups; group++) {
		float *rest = resting_place(s, group, THREADS);
		walker w;
		begin(s, at, me, group, w);
		for (int k = 0; t0 > at.from && k < SCAN_GROUP; k++)
			w.h[k / HALF][k % HALF] = rest[k * THREADS];
		__syncthreads();
		spread_group(s, at, t0, group * SCAN_GROUP, sh);
		__syncthreads();
		walk<true, carries>(s, me, sh, f, so_far, t0, group, bias, d,
			results_of(s, at, me, t0, group), w);
		if (carries && t0 + TILE >= s.n.T)
			leave(s, at, me, group, w);
		for (int k = 0; k < SCAN_GROUP; k++)
			rest[k * THREADS] = w.h[k / HALF][k % HALF];
	}
}

/* Launched on segments x sequences x blocks of channels. many: more than one group of states; carries:
   op/scan_carried.h. */
template <typename real, bool aligned, bool many, bool carries>
__global__ void __launch_bounds__(THREADS, aligned ? 4 : 2) scan_forward_kernel(const scan<real> s)
{
	forward_shared<real> &sh = *shared_memory<forward_shared<real>>();
	scan_place at = place_of(s.n, blockIdx.x, s.n.n_blocks, SCAN_CHANNELS);
	int lane = (int)threadIdx.x;
	seat me = {lane, at.i0 + lane, lane % 2};
	supply<real> own = own_supply(s, at);
	bool there = me.i < s.n.I;
	float bias = there ? s.dt_bias.at[me.i] : 0, d = there ? s.d.at[me.i] : 0;
	walker w;

	if (!many)
		begin(s, at, me, 0, w);
	fetch_tile<aligned>(s, at, own, at.from, sh.stage[0]);
	for (int t0 = at.from, k = 0; t0 < at.to; t0 += TILE, k ^= 1) {
		__pipeline_wait_prior(0);
		__syncthreads();
		fetch_tile<aligned>(s, at, own, t0 + TILE, sh.stage[k ^ 1]);
		if (many) {
			walk_groups<carries>(s, at, me, sh, sh.stage[k], t0, bias, d);
			continue;
		}
		spread(sh.stage[k], sh);
		__syncthreads();
		walk<false, carries>(s, me, sh, sh.stage[k], NULL, t0, 0, bias, d,
			results_of(s, at, me, t0, 0), w);
	}
	if (carries && !many && at.to == s.n.T)
		leave(s, at, me, 0, w);
}

template <typename real, bool carries>
void forward(const struct op_run *r)
{
	scan<real> s = scan_of<real>(r);
	bool many = s.n.n_groups > 1, aligned = scan_aligned(r);
	auto kernel = many ? scan_forward_kernel<real, false, true, carries>
		: aligned ? scan_forward_kernel<real, true, false, carries>
		: scan_forward_kernel<real, false, false, carries>;
	long blocks = (long)s.n.n_segments * s.n.B * s.n.n_blocks;

	scan_find_ends(r, s, false);
	launch(r, kernel, dim3((unsigned)blocks), THREADS,
		sizeof(forward_shared<real>), s);
}

}  // namespace

void scan_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		if (r->in[SCAN_H_BIN])
			forward<decltype(zero), true>(r);
		else
			forward<decltype(zero), false>(r);
	});
}
