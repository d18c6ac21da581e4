/* The scan's backward kernel: how a tile of tokens comes into shared memory, ready for the walk. */
#ifndef OP_CUDA_SCAN_BACKWARD_TILE_CUH
#define OP_CUDA_SCAN_BACKWARD_TILE_CUH

#include "op/cuda/scan_backward.cuh"

namespace {

struct seat {
	int lane, warp;
	int pair, i;		/* of channels: in the block; the first channel */
	int state;		/* first of four */
	unsigned one, unit[4];	/* see sum_lanes(), sum_channels() */
};

/* none[k]: 0, but the compiler must not know, or it would set the registers of `unit` anew at
   each use. */
__device__ __forceinline__ seat seat_of(const scan_place &at, const unsigned none[3])
{
	int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, pair = warp * 8 + lane / 4;
	unsigned one = lane / 4 % 2 ? 0x3f800000u : 0x3f80u, unit = lane / 8 == lane % 4 ? one : 0;

	return {lane, warp, pair, at.i0 + 2 * pair, lane % 4 * 4, one,
		{unit, none[0], none[1], unit | none[2]}};
}

/* The warp's operand. */
template <typename real>
__device__ __forceinline__ supply<real> own_supply(const scan<real> &s, const scan_place &at)
{
	int warp = (int)threadIdx.x / 32;

	return supply_of(s, at, warp == U ? s.u : warp == DTRAW ? s.dtraw
		: warp == DY ? s.dy : s.z);
}

template <bool aligned, typename real>
__device__ __forceinline__ void fetch_tile(const scan<real> &s, const scan_place &at,
	const supply<real> &own, int t0, backward_stage<real> &to)
{
	int n_tokens = min(TILE<real>, at.to - t0), warp = (int)threadIdx.x / 32;
	long row = (long)at.b * s.n.T + t0;

	static_assert((int)WARPS == (int)UNGATED, "one warp an operand, but for the last");
	if (t0 >= at.from) {
		own.template fetch_tile<aligned>(to.wide[warp], t0, n_tokens);
		if (warp == 0 && s.ungated)
			fetch<aligned>(to.wide[UNGATED], s.ungated + row * s.n.I + at.i0, s.n.I,
				n_tokens, s.n.I - at.i0);
		if (warp == 1) {
			fetch<aligned>(to.b, s.b[row], (int)s.b.ld, n_tokens, s.n.N);
			fetch<aligned>(to.c, s.c[row], (int)s.c.ld, n_tokens, s.n.N);
			fetch_start(to.start, s, at.b, t0, n_tokens);
		}
	}
	__pipeline_commit();
}

/* What a token of a channel is apart from its states. */
struct point {
	float dt, u, x, ds, slope, dz;	/* x = dt u; ds: dy times the gate */
};

template <bool gated, typename real>
__device__ __forceinline__ point point_of(real u, real dtraw, float bias, real dy, real z,
	real ungated)
{
	float v = to_float(dtraw) + bias, w = exp2_fast(-fabsf(v) * LOG2E),
	      half = reciprocal_fast(1 + w);
	point p;

	p.dt = fmaxf(v, 0.0f) + log1p_unit<real>(w);
	p.slope = v < 0 ? w * half : half;
	p.u = to_float(u);
	p.x = p.dt * p.u;
	p.ds = to_float(dy);
	p.dz = 0;
	if (gated) {
		float y = to_float(z), gate = sigmoid_fast(y), g = p.ds * gate;
		p.dz = g * (1 + y * (1 - gate)) * to_float(ungated);
		p.ds = g * y;
	}
	return p;
}

template <typename real>
__device__ __forceinline__ two<real> two_of(const real *row, int i)
{
	return *(const two<real> *)(row + i);
}

/* What is element by element. A thread takes a pair of channels, `bias` theirs. */
template <bool aligned, bool gated, typename real>
__device__ __forceinline__ void prepare(const scan<real> &s, const scan_place &at, int t0,
	const float bias[2], backward_shared<real> &sh)
{
	const backward_stage<real> &f = sh.stage;
	gradient<real> dz = tile_of(s.dz, (long)at.b * s.n.T + t0, at.i0);
	int k = (int)threadIdx.x % PAIRS, c = 2 * k, n_tokens = at.to - t0;

	#pragma unroll 2
	for (int j = 0; j < TILE<real>; j += THREADS / PAIRS) {
		int t = j + (int)threadIdx.x / PAIRS;
		two<real> u = two_of(f.wide[U][t], c), v = two_of(f.wide[DTRAW][t], c);
		two<real> dy = two_of(f.wide[DY][t], c), z = {}, y = {};
		if (gated) {
			z = two_of(f.wide[Z][t], c);
			y = two_of(f.wide[UNGATED][t], c);
		}
		point p = point_of<gated>(u.low, v.low, bias[0], dy.low, z.low, y.low);
		point q = point_of<gated>(u.high, v.high, bias[1], dy.high, z.high, y.high);
		bool fresh = s.start.at && f.start[t] == t0 + t;
		float dt[2] = {fresh ? ENDLESS : p.dt, fresh ? ENDLESS : q.dt};
		packed<TERMS<real>> x = pack<TERMS<real>>(p.x, q.x),
				    ds = pack<TERMS<real>>(p.ds, q.ds);
		sh.x[t][k] = make_float2(p.x, q.x);
		sh.walk[t][k] = make_float4(dt[0], p.ds, dt[1], q.ds);
		sh.finish[t][k] = make_float4(p.dt, p.slope, q.dt, q.slope);
		sh.u[t][k] = u;
		#pragma unroll
		for (int i = 0; i < TERMS<real>; i++) {
			sh.x_pairs[i][t][k] = x.term[i];
			sh.ds_pairs[i][t][k] = ds.term[i];
		}
		if (gated && t < n_tokens)
			put_two<aligned>(dz, t, c, s.n.I - at.i0 - c, p.dz, q.dz);
	}
}

/* B and C of a pair of states of a token. */
template <typename real>
__device__ __forceinline__ void put_states(backward_shared<real> &sh, int t, int k, float b0,
	float b1, float c0, float c1)
{
	packed<TERMS<real>> b = pack<TERMS<real>>(b0, b1);

	sh.b[t][2 * k] = b0;
	sh.b[t][2 * k + 1] = b1;
	sh.c[t][2 * k] = c0;
	sh.c[t][2 * k + 1] = c1;
	#pragma unroll
	for (int i = 0; i < TERMS<real>; i++)
		sh.b_pairs[i][t][k] = b.term[i];
}

template <typename real>
__device__ __forceinline__ void spread(backward_shared<real> &sh)
{
	int t = (int)threadIdx.x / 8, k = (int)threadIdx.x % 8;
	const backward_stage<real> &f = sh.stage;

	static_assert(TILE<real> <= THREADS / 8, "a thread has two states");
	if (t < TILE<real>)
		put_states(sh, t, k, to_float(f.b[t][2 * k]), to_float(f.b[t][2 * k + 1]),
			to_float(f.c[t][2 * k]), to_float(f.c[t][2 * k + 1]));
}

/* The same of a further group of states. */
template <typename real>
__device__ __forceinline__ void spread_group(const scan<real> &s, const scan_place &at, int t0,
	int n0, backward_shared<real> &sh)
{
	int t = (int)threadIdx.x / 8, k = (int)threadIdx.x % 8, n = n0 + 2 * k;
	long row = (long)at.b * s.n.T + t0 + t;
	bool first = t0 + t < at.to && n < s.n.N, second = t0 + t < at.to && n + 1 < s.n.N;

	if (t < TILE<real>)
		put_states(sh, t, k, first ? to_float(s.b[row][n]) : 0,
			second ? to_float(s.b[row][n + 1]) : 0, first ? to_float(s.c[row][n]) : 0,
			second ? to_float(s.c[row][n + 1]) : 0);
}

}  // namespace

#endif
