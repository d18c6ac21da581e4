/* The scan's backward kernel: op/cuda/scan.cuh and op/cuda/scan_backward.cuh say how, op/scan.h what. */
#include "op/cuda/scan_backward.cuh"

namespace {

struct seat {
	int lane, warp;
	int pair, i;		/* of channels: in the block; the first channel */
	int state;		/* first of four */
	unsigned one, unit[4];	/* see sum_lanes(), sum_channels() */
};

/* none[k]: 0, but the compiler must not know, or it would set the registers of `unit` anew at each use. */
__device__ __forceinline__ seat seat_of(const scan_place &at, const unsigned none[3])
{
	int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32, pair = warp * 8 + lane / 4;
	unsigned one = lane / 4 % 2 ? 0x3f800000u : 0x3f80u, unit = lane / 8 == lane % 4 ? one : 0;

	return {lane, warp, pair, at.i0 + 2 * pair, lane % 4 * 4, one,
		{unit, none[0], none[1], unit | none[2]}};
}

/* What a thread carries from tile to tile. */
struct walker {
	float a[2][4], carry[2][4], d_a[2][4];	/* A log2(e); e_{t+1} g_{t+1}; sum over time */
};

struct channel_sums {
	float d[2];			/* D */
	float d_d[2], d_bias[2];
};

/* The warp's operand. */
template <typename real>
__device__ __forceinline__ supply<real> own_supply(const scan<real> &s, const scan_place &at)
{
	int warp = (int)threadIdx.x / 32;

	return supply_of(s, at, warp == U ? s.u : warp == DTRAW ? s.dtraw : warp == DY ? s.dy : s.z);
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
			fetch<aligned>(to.wide[UNGATED], s.ungated + row * s.n.I + at.i0, s.n.I, n_tokens,
				s.n.I - at.i0);
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
__device__ __forceinline__ point point_of(real u, real dtraw, float bias, real dy, real z, real ungated)
{
	float v = to_float(dtraw) + bias, w = exp2_fast(-fabsf(v) * LOG2E), half = reciprocal_fast(1 + w);
	point p;

	p.dt = fmaxf(v, 0.0f) + log1p_unit<real>(w);
	p.slope = v < 0 ? w * half : half;
	p.u = to_float(u);
	p.x = p.dt * p.u;
	p.ds = to_float(dy);
	p.dz = 0;
	if (gated) {
		float y = to_float(z), gate = sigmoid(y), g = p.ds * gate;
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
		packed<TERMS<real>> x = pack<TERMS<real>>(p.x, q.x), ds = pack<TERMS<real>>(p.ds, q.ds);
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
__device__ __forceinline__ void put_states(backward_shared<real> &sh, int t, int k, float b0, float b1,
	float c0, float c1)
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
__device__ __forceinline__ void spread_group(const scan<real> &s, const scan_place &at, int t0, int n0,
	backward_shared<real> &sh)
{
	int t = (int)threadIdx.x / 8, k = (int)threadIdx.x % 8, n = n0 + 2 * k;
	long row = (long)at.b * s.n.T + t0 + t;
	bool first = t0 + t < at.to && n < s.n.N, second = t0 + t < at.to && n + 1 < s.n.N;

	if (t < TILE<real>)
		put_states(sh, t, k, first ? to_float(s.b[row][n]) : 0, second ? to_float(s.b[row][n + 1]) : 0,
			first ? to_float(s.c[row][n]) : 0, second ? to_float(s.c[row][n + 1]) : 0);
}

/* The states in front of token t. */
template <typename real>
__device__ __forceinline__ void load_states(const scan<real> &s, const scan_place &at, const seat &me,
	int t, int group, past<real> &h)
{
	const float none[2][4] = {};

	if (t < at.from || t >= at.to || me.i >= s.n.I) {
		h.set(none);
		return;
	}
	#pragma unroll
	for (int m = 0; m < 2; m++)
		h.load(m, kept_states(s, at.b, t / SCAN_KEPT, group, me.state / 8, me.i + m) + me.state % 8);
}

/* States after each of HALF tokens from t0, those in front of them in h[0]. */
template <typename real>
__device__ __forceinline__ void replay(const backward_shared<real> &sh, const seat &me, int t0,
	const walker &w, past<real> h[HALF + 1])
{
	float v[2][4];

	#pragma unroll
	for (int k = 0; k < 8; k++)
		v[k / 4][k % 4] = h[0].get(k / 4, k % 4);
	#pragma unroll
	for (int t = 0; t < HALF; t++) {
		float4 p = sh.walk[t0 + t][me.pair], b4 = *(const float4 *)&sh.b[t0 + t][me.state];
		float2 x2 = sh.x[t0 + t][me.pair];
		float dt[2] = {p.x, p.z}, x[2] = {x2.x, x2.y}, b[4] = {b4.x, b4.y, b4.z, b4.w};
		#pragma unroll
		for (int m = 0; m < 2; m++)
			#pragma unroll
			for (int k = 0; k < 4; k++)
				v[m][k] = exp2_fast(dt[m] * w.a[m][k]) * v[m][k] + x[m] * b[k];
		h[t + 1].set(v);
	}
}

/* Sums of HALF tokens: over states g B and q A log2(e), over channels dB and dC. */
struct products {
	float g_b[4], q_a[4], d_b[4], d_c[4];
};

/* Back through HALF tokens from t0 of the tile. */
template <typename real>
__device__ __forceinline__ void walk_back(const backward_shared<real> &sh, const seat &me, int t0,
	const past<real> h[HALF + 1], walker &w, products &sum)
{
	constexpr int terms = TERMS<real>;
	column<terms> b_column = column_of(sh.b_pairs, t0, 0, me.lane);
	column<terms> x_column = column_of(sh.x_pairs, t0, me.warp * 8, me.lane);
	column<terms> ds_column = column_of(sh.ds_pairs, t0, me.warp * 8, me.lane);
	float q_a[2][4];	/* of four tokens, over the thread's states */

	#pragma unroll
	for (int t = HALF - 1; t >= 0; t--) {
		float4 p = load_again(&sh.walk[t0 + t][me.pair]), c4 = *(const float4 *)&sh.c[t0 + t][me.state];
		float dt[2] = {p.x, p.z}, ds[2] = {p.y, p.w}, c[4] = {c4.x, c4.y, c4.z, c4.w}, g[2][4];
		bool present = me.lane / 4 == t;
		sum_channels<terms>(sum.d_c, h[t + 1].packed(), ds_column, present, me.unit);
		#pragma unroll
		for (int m = 0; m < 2; m++) {
			q_a[m][t % 4] = 0;
			#pragma unroll
			for (int k = 0; k < 4; k++) {
				float q;
				g[m][k] = w.carry[m][k] + ds[m] * c[k];
				w.carry[m][k] = g[m][k] * exp2_fast(dt[m] * w.a[m][k]);
				q = w.carry[m][k] * h[t].get(m, k);
				q_a[m][t % 4] += q * w.a[m][k];
				w.d_a[m][k] += q * dt[m];
			}
		}
		operand<terms> x = operand_of<terms>(g);
		sum_states<terms>(sum.g_b, x, b_column, present);
		sum_channels<terms>(sum.d_b, x, x_column, present, me.unit);
		if (t % 4 == 0)
			sum_lanes<terms>(sum.q_a, q_a, t, me.lane, me.one);
	}
}

/* Gradients of the thread's channels at its two of HALF tokens from t0 of the tile at `first`. */
template <bool aligned, typename real>
__device__ __forceinline__ void finish(const scan<real> &s, const scan_place &at, const seat &me,
	const backward_shared<real> &sh, int first, int t0, const products &sum, channel_sums &own)
{
	long row = (long)at.b * s.n.T + first;
	gradient<real> to_u = tile_of(s.du, row, at.i0), to_dtraw = tile_of(s.ddtraw, row, at.i0);

	#pragma unroll
	for (int j = 0; j < 2; j++) {
		int t = t0 + me.lane % 4 * 2 + j, c = 2 * me.pair;
		float4 p = sh.walk[t][me.pair], f = sh.finish[t][me.pair];
		two<real> u2 = sh.u[t][me.pair];
		float dt[2] = {f.x, f.z}, slope[2] = {f.y, f.w}, ds[2] = {p.y, p.w};
		float u[2] = {to_float(u2.low), to_float(u2.high)}, du[2], ddtraw[2];
		#pragma unroll
		for (int m = 0; m < 2; m++) {
			float g_b = sum.g_b[2 * m + j], q_a = sum.q_a[2 * m + j];
			du[m] = dt[m] * g_b + own.d[m] * ds[m];
			ddtraw[m] = (u[m] * g_b + LN2 * q_a) * slope[m];
			own.d_d[m] += ds[m] * u[m];
			own.d_bias[m] += ddtraw[m];
		}
		if (first + t < at.to) {
			put_two<aligned>(to_u, t, c, s.n.I - me.i, du[0], du[1]);
			put_two<aligned>(to_dtraw, t, c, s.n.I - me.i, ddtraw[0], ddtraw[1]);
		}
	}
}

/* Sums over groups of states: those of the groups before are taken along. */
__device__ __forceinline__ void take_sums(float *so_far, bool begun, bool ends, products &sum)
{
	#pragma unroll
	for (int k = 0; k < 4; k++) {
		float *g_b = so_far + k * THREADS, *q_a = g_b + 4 * THREADS;
		sum.g_b[k] = begun ? sum.g_b[k] + *g_b : sum.g_b[k];
		sum.q_a[k] = begun ? sum.q_a[k] + *q_a : sum.q_a[k];
		if (!ends) {
			*g_b = sum.g_b[k];
			*q_a = sum.q_a[k];
		}
	}
}

/* The tile's tokens, HALF at a time. ahead: states in front of the HALF that comes next. */
template <bool aligned, bool many, typename real>
__device__ __forceinline__ void walk_tile(const scan<real> &s, const scan_place &at, const seat &me,
	backward_shared<real> &sh, int first, int group, past<real> &ahead, walker &w, channel_sums &own)
{
	float *so_far = many ? resting_place(s, s.n.n_groups, THREADS) : NULL;
	bool ends = group == s.n.n_groups - 1;

	#pragma unroll 1
	for (int t0 = TILE<real> - HALF; t0 >= 0; t0 -= HALF) {
		products sum = {};
		past<real> h[HALF + 1];
		if (many)
			load_states(s, at, me, first + t0, group, ahead);
		h[0] = ahead;
		if (!many)
			load_states(s, at, me, first + t0 - HALF, group, ahead);
		replay(sh, me, t0, w, h);
		walk_back(sh, me, t0, h, w, sum);
		if (many)
			take_sums(so_far + t0 * THREADS, group > 0, ends, sum);
		if (!many || ends)
			finish<aligned>(s, at, me, sh, first, t0, sum, own);
		sh.sums[t0 / HALF][0][me.warp][me.lane] =
			make_float4(sum.d_b[0], sum.d_b[1], sum.d_b[2], sum.d_b[3]);
		sh.sums[t0 / HALF][1][me.warp][me.lane] =
			make_float4(sum.d_c[0], sum.d_c[1], sum.d_c[2], sum.d_c[3]);
	}
}

/* The block's share of dB and dC of a tile: the warps' sums in order. */
template <typename real>
__device__ __forceinline__ void put_sums(const scan<real> &s, const scan_place &at,
	const backward_shared<real> &sh, int first, int group)
{
	int half = (int)threadIdx.x / 64, side = (int)threadIdx.x / 32 % 2, lane = (int)threadIdx.x % 32;
	int kept = first / SCAN_KEPT + half;
	float4 sum = make_float4(0, 0, 0, 0);

	if (half >= TILE<real> / HALF || kept >= s.n.n_kept)
		return;
	#pragma unroll
	for (int warp = 0; warp < WARPS; warp++) {
		float4 v = sh.sums[half][side][warp][lane];
		sum = make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w);
	}
	long share = ((long)group * s.n.n_backward_blocks + at.block) * s.n.B + at.b;
	((float4 *)s.bc)[(share * s.n.n_kept + kept) * 64 + side * 32 + lane] = sum;
}

/* A, and the gradient that enters a segment from behind. */
template <typename real>
__device__ __forceinline__ void begin(const scan<real> &s, const scan_place &at, const seat &me,
	int group, walker &w)
{
	#pragma unroll
	for (int m = 0; m < 2; m++)
		#pragma unroll
		for (int k = 0; k < 4; k++) {
			int i = me.i + m, n = group * SCAN_GROUP + me.state + k;
			w.a[m][k] = decay_rate(s, i, n);
			w.carry[m][k] = s.ends && i < s.n.I ? *end_of(s, at.b, at.segment, n, i) : 0;
			w.d_a[m][k] = 0;
		}
}

/* The block's share of the parameters' gradients: rows of states, then D and the bias of dt. */
template <typename real>
__device__ __forceinline__ float *parameter(const scan<real> &s, const scan_place &at, int row, int i)
{
	long sequence = (long)at.b * s.n.n_segments + at.segment;

	return s.parameters + (sequence * (s.n.n_groups * SCAN_GROUP + 2) + row) * s.n.I + i;
}

template <typename real>
__device__ __forceinline__ void put_states_sums(const scan<real> &s, const scan_place &at, const seat &me,
	int group, const walker &w)
{
	for (int k = 0; k < 8; k++)
		if (me.i + k / 4 < s.n.I)
			*parameter(s, at, group * SCAN_GROUP + me.state + k % 4, me.i + k / 4) =
				w.d_a[k / 4][k % 4];
}

template <typename real>
__device__ __forceinline__ void put_channel_sums(const scan<real> &s, const scan_place &at,
	const seat &me, channel_sums &own)
{
	for (int m = 0; m < 2; m++) {
		for (int lanes = 1; lanes < 4; lanes *= 2) {
			own.d_d[m] += __shfl_xor_sync(~0u, own.d_d[m], lanes);
			own.d_bias[m] += __shfl_xor_sync(~0u, own.d_bias[m], lanes);
		}
		if (me.lane % 4 == 0 && me.i + m < s.n.I) {
			*parameter(s, at, s.n.n_groups * SCAN_GROUP, me.i + m) = own.d_d[m];
			*parameter(s, at, s.n.n_groups * SCAN_GROUP + 1, me.i + m) = own.d_bias[m];
		}
	}
}

/* All groups of states, one after the other, through a tile. */
template <bool aligned, typename real>
__device__ void walk_groups(const scan<real> &s, const scan_place &at, const seat &me,
	backward_shared<real> &sh, int first, bool begins, channel_sums &own)
{
	for (int group = 0; group < s.n.n_groups; group++) {
		float *rest = resting_place(s, group, THREADS);
		walker w;
		past<real> ahead;
		begin(s, at, me, group, w);
		for (int k = 0; !begins && k < 8; k++) {
			w.carry[k / 4][k % 4] = rest[k * THREADS];
			w.d_a[k / 4][k % 4] = rest[(k + 8) * THREADS];
		}
		__syncthreads();
		spread_group(s, at, first, group * SCAN_GROUP, sh);
		__syncthreads();
		walk_tile<aligned, true>(s, at, me, sh, first, group, ahead, w, own);
		for (int k = 0; k < 8; k++) {
			rest[k * THREADS] = w.carry[k / 4][k % 4];
			rest[(k + 8) * THREADS] = w.d_a[k / 4][k % 4];
		}
		if (first == at.from)
			put_states_sums(s, at, me, group, w);
		__syncthreads();
		put_sums(s, at, sh, first, group);
	}
}

/* Launched on segments x sequences x blocks of channels. many: more than one group of states. */
template <typename real, bool aligned, bool many>
__global__ void __launch_bounds__(THREADS, sizeof(real) == sizeof(bf16) && aligned ? 4 : 2)
scan_backward_kernel(const scan<real> s)
{
	backward_shared<real> &sh = *shared_memory<backward_shared<real>>();
	constexpr int tile = TILE<real>;
	scan_place at = place_of(s.n, blockIdx.x, s.n.n_backward_blocks, CHANNELS);
	const unsigned none[] = {(unsigned)s.n.B >> 31, (unsigned)s.n.T >> 31, (unsigned)s.n.I >> 31};
	seat me = seat_of(at, none);
	supply<real> operand = own_supply(s, at);
	int last = at.from + (at.to - at.from - 1) / tile * tile;
	int column = at.i0 + (int)threadIdx.x % PAIRS * 2;	/* of prepare() */
	float bias[2] = {column < s.n.I ? s.dt_bias.at[column] : 0,
		column + 1 < s.n.I ? s.dt_bias.at[column + 1] : 0};
	channel_sums own = {};
	past<real> ahead;
	walker w;

	for (int m = 0; m < 2; m++)
		own.d[m] = me.i + m < s.n.I ? s.d.at[me.i + m] : 0;
	if (!many) {
		begin(s, at, me, 0, w);
		load_states(s, at, me, last + tile - HALF, 0, ahead);
	}
	fetch_tile<aligned>(s, at, operand, last, sh.stage);
	for (int first = last + tile; first >= at.from; first -= tile) {
		if (first <= last && !many)
			walk_tile<aligned, false>(s, at, me, sh, first, 0, ahead, w, own);
		if (first <= last && many)
			walk_groups<aligned>(s, at, me, sh, first, first == last, own);
		__pipeline_wait_prior(0);
		__syncthreads();
		if (first <= last && !many)
			put_sums(s, at, sh, first, 0);
		if (first == at.from)
			break;
		if (s.z.at)
			prepare<aligned, true>(s, at, first - tile, bias, sh);
		else
			prepare<aligned, false>(s, at, first - tile, bias, sh);
		if (!many)
			spread(sh);
		__syncthreads();
		fetch_tile<aligned>(s, at, operand, first - 2 * tile, sh.stage);
	}
	if (!many)
		put_states_sums(s, at, me, 0, w);
	put_channel_sums(s, at, me, own);
}

template <typename real>
void backward(const struct op_run *r)
{
	scan<real> s = scan_of<real>(r);
	bool many = s.n.n_groups > 1, aligned = scan_aligned(r);
	auto kernel = many ? scan_backward_kernel<real, false, true>
		: aligned ? scan_backward_kernel<real, true, false>
		: scan_backward_kernel<real, false, false>;
	long blocks = (long)s.n.n_segments * s.n.B * s.n.n_backward_blocks;

	scan_find_ends(r, s, true);
	launch(r, kernel, dim3((unsigned)blocks), THREADS,
		sizeof(backward_shared<real>), s);
	scan_sum_parts(r, s);
}

}  // namespace

void scan_backward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) { backward<decltype(zero)>(r); });
}
