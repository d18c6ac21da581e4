/* The scan's backward kernel: op/cuda/scan.cuh and op/cuda/scan_backward.cuh say how, op/scan.h
   what. */
#include "op/cuda/scan_backward_tile.cuh"

namespace {

/* What a thread carries from tile to tile. */
struct walker {
	float a[2][4], carry[2][4], d_a[2][4];	/* A log2(e); e_{t+1} g_{t+1}; sum over time */
};

struct channel_sums {
	float d[2];			/* D */
	float d_d[2], d_bias[2];
};

/* The states in front of token t. */
template <typename real>
__device__ __forceinline__ void load_states(const scan<real> &s, const scan_place &at,
	const seat &me, int t, int group, past<real> &h)
{
	const float none[2][4] = {};

	if (t < at.from || t >= at.to || me.i >= s.n.I) {
		h.set(none);
		return;
	}
	#pragma unroll
	for (int m = 0; m < 2; m++)
		h.load(m,
			kept_states(s, at.b, t / SCAN_KEPT, group, me.state / 8, me.i + m) +
				me.state % 8);
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
		float4 p = load_again(&sh.walk[t0 + t][me.pair]),
		       c4 = *(const float4 *)&sh.c[t0 + t][me.state];
		float dt[2] = {p.x, p.z}, ds[2] = {p.y, p.w}, c[4] = {c4.x, c4.y, c4.z, c4.w},
		      g[2][4];
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
	backward_shared<real> &sh, int first, int group, past<real> &ahead, walker &w,
	channel_sums &own)
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
	int half = (int)threadIdx.x / 64, side = (int)threadIdx.x / 32 % 2,
	    lane = (int)threadIdx.x % 32;
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
			w.carry[m][k] =
				s.ends && i < s.n.I ? *end_of(s, at.b, at.segment, n, i) : 0;
			w.d_a[m][k] = 0;
		}
}

/* The block's share of the parameters' gradients: rows of states, then D and the bias of dt. */
template <typename real>
__device__ __forceinline__ float *parameter(const scan<real> &s, const scan_place &at, int row,
	int i)
{
	long sequence = (long)at.b * s.n.n_segments + at.segment;

	return s.parameters + (sequence * (s.n.n_groups * SCAN_GROUP + 2) + row) * s.n.I + i;
}

template <typename real>
__device__ __forceinline__ void put_states_sums(const scan<real> &s, const scan_place &at,
	const seat &me, int group, const walker &w)
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
	const unsigned none[] = {
		(unsigned)s.n.B >> 31, (unsigned)s.n.T >> 31, (unsigned)s.n.I >> 31};
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
