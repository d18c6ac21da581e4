/* The scan's backward kernels: op/scan_cuda.h says how, op/scan.h what. */
#include "op/cuda/scan_cuda.cuh"

namespace {

enum {
	QUADS = STATES / 4,		/* threads that share a channel */
	EACH = 2,			/* channels of a thread: what they share is loaded and
					   summed once */
	CHANNELS = 64,			/* of a block */
	APART = CHANNELS / EACH,	/* between a thread's channels */
	THREADS = APART * QUADS,
	WARPS = THREADS / 32,
	HALF = SCAN_KEPT,		/* tokens whose states a thread holds */
};

/* A quad of threads has EACH channels, four states of each a thread; a warp has eight quads. So that
   sums over channels need no selection, a thread holds its states in the order k ^ (channel % 4). */
struct seat {
	int lane, warp, quad, channel, order;	/* channel: its first, the next APART away */
};

__device__ __forceinline__ seat seat_of()
{
	int k = threadIdx.x;

	return {k % 32, k / 32, k % QUADS, k / QUADS, k / QUADS % 4};
}

__device__ __forceinline__ int state_of(const seat &at, int k)
{
	return at.quad * 4 + (k ^ at.order);
}

/* A token and channel, as one access. */
struct alignas(16) point {
	float dt, u, ds, slope;		/* ds: dy times the gate; slope of softplus */
};

struct backward_stage {
	float u[TILE][CHANNELS], dtraw[TILE][CHANNELS], dy[TILE][CHANNELS];
	float z[TILE][CHANNELS], ungated[TILE][CHANNELS];
	float b[TILE][STATES], c[TILE][STATES];
};

struct backward_shared {
	backward_stage stage;
	point points[TILE][CHANNELS + 2];	/* padded: a quad's tokens in different banks */
	float b[TILE][4][STATES], c[TILE][4][STATES];	/* in each of the four orders */
	float sums[WARPS][TILE][32];			/* dB and dC over a warp's channels */
};

/* Partial results. */
struct backward_parts {
	float *bc;			/* [block of channels][token][32]: state_of_place() */
	float *a, *d, *bias;		/* [sequence][channel][STATES], [sequence][channel] */
};

template <bool whole>
__device__ __forceinline__ void fetch_backward(const scan_cuda &s, int t0, int n0,
	backward_stage &to)
{
	long row = (long)blockIdx.y * s.T + t0;
	int i = blockIdx.x * CHANNELS, n_tokens = min(TILE, s.T - t0);

	if (t0 >= 0) {
		fetch<CHANNELS, THREADS, whole>(to.u, s.u, row, n_tokens, i, s.I);
		fetch<CHANNELS, THREADS, whole>(to.dtraw, s.dtraw, row, n_tokens, i, s.I);
		fetch<CHANNELS, THREADS, whole>(to.dy, s.dy, row, n_tokens, i, s.I);
		fetch<CHANNELS, THREADS, whole>(to.z, s.z, row, n_tokens, i, s.I);
		fetch<CHANNELS, THREADS, whole>(to.ungated, s.ungated, row, n_tokens, i, s.I);
		fetch<STATES, THREADS, whole>(to.b, s.b, row, n_tokens, n0, s.N);
		fetch<STATES, THREADS, whole>(to.c, s.c, row, n_tokens, n0, s.N);
	}
	__pipeline_commit();
}

/* What is element by element; 0 beyond T and I. */
template <bool whole>
__device__ __forceinline__ void prepare(const scan_cuda &s, int t0, int n0, float bias,
	backward_shared &sh)
{
	const backward_stage &f = sh.stage;
	int c = threadIdx.x % CHANNELS, i = blockIdx.x * CHANNELS + c;
	long row = (long)blockIdx.y * s.T + t0;

	#pragma unroll
	for (int j = 0; j < TILE; j += THREADS / CHANNELS) {
		int t = j + threadIdx.x / CHANNELS;
		bool real = whole || (t0 + t < s.T && i < s.I);
		float v = f.dtraw[t][c] + bias, dy = f.dy[t][c], ds = dy;
		if (s.z.at) {
			float z = f.z[t][c], gate = sigmoid(z);
			ds = dy * z * gate;
			if (real && n0 == 0)
				put(s.dz, row + t, i, dy * gate * (1 + z * (1 - gate)) *
					f.ungated[t][c], false);
		}
		sh.points[t][c] = real ? point{softplus(v), f.u[t][c], ds, sigmoid(v)} : point{};
	}
}

/* B and C in each of the four orders; 0 beyond T and N. */
template <bool whole>
__device__ __forceinline__ void spread(const scan_cuda &s, int t0, int n0, const backward_stage &f,
	backward_shared &sh)
{
	int k = threadIdx.x, n = k % STATES, order = k / STATES % 4, from = n ^ order;

	#pragma unroll
	for (int j = 0; j < TILE; j += THREADS / (4 * STATES)) {
		int t = j + k / (4 * STATES);
		bool real = whole || (t0 + t < s.T && n0 + from < s.N);
		sh.b[t][order][n] = real ? f.b[t][from] : 0;
		sh.c[t][order][n] = real ? f.c[t][from] : 0;
	}
}

/* The tile that has arrived, made ready for the walk. */
template <bool whole>
__device__ __forceinline__ void enter_tile(const scan_cuda &s, int tile, int n0, float bias,
	backward_shared &sh)
{
	prepare<whole>(s, tile * TILE, n0, bias, sh);
	spread<whole>(s, tile * TILE, n0, sh.stage, sh);
}

/* Of four tokens' values summed over the quad, the one of token `quad`. */
__device__ __forceinline__ float sum_quad(const float v[4], int quad)
{
	bool odd = quad & 1, high = quad & 2;
	float low2 = (odd ? v[1] : v[0]) + __shfl_xor_sync(~0u, odd ? v[0] : v[1], 1);
	float high2 = (odd ? v[3] : v[2]) + __shfl_xor_sync(~0u, odd ? v[2] : v[3], 1);

	return (high ? high2 : low2) + __shfl_xor_sync(~0u, high ? low2 : high2, 2);
}

/* Of 16 values of dB and 16 of dC summed over the warp's channels, one for each lane. */
__device__ __forceinline__ float sum_channels(float b[4], float c[4], int lane)
{
	bool second = lane & 16;

	b[0] += __shfl_xor_sync(~0u, b[1], 4);
	b[2] += __shfl_xor_sync(~0u, b[3], 4);
	c[0] += __shfl_xor_sync(~0u, c[1], 4);
	c[2] += __shfl_xor_sync(~0u, c[3], 4);
	b[0] += __shfl_xor_sync(~0u, b[2], 8);
	c[0] += __shfl_xor_sync(~0u, c[2], 8);
	return (second ? c[0] : b[0]) + __shfl_xor_sync(~0u, second ? b[0] : c[0], 16);
}

/* The state whose sum sum_channels() leaves in a lane: of dB in the lower 16, of dC above. */
__device__ __forceinline__ int state_of_place(int lane)
{
	return lane % 4 * 4 + lane / 4 % 4;
}

struct quad_values {
	float v[4];
};

__device__ __forceinline__ quad_values ordered(const float (*tile)[STATES], const seat &at)
{
	float4 v = *(const float4 *)&tile[at.order][at.quad * 4];

	return {{v.x, v.y, v.z, v.w}};
}

/* What a thread carries from tile to tile for one channel. */
struct walker {
	float a[4], carry[4];		/* A log2(e); e_{t+1} g_{t+1} */
	float d_a[4], d_d, d_bias;	/* sums over time */
	float d;
	float h[HALF + 1][4];		/* states: in front of HALF tokens, after each of them */
};

/* States after each token from t0. */
__device__ __forceinline__ void replay(const backward_shared &sh, const seat &at, int t0,
	walker w[EACH])
{
	#pragma unroll
	for (int t = 0; t < HALF; t++) {
		quad_values b = ordered(sh.b[t0 + t], at);
		#pragma unroll
		for (int m = 0; m < EACH; m++) {
			const point &p = sh.points[t0 + t][at.channel + m * APART];
			float dt = p.dt, x = dt * p.u;
			#pragma unroll
			for (int k = 0; k < 4; k++)
				w[m].h[t + 1][k] = exp2_fast(dt * w[m].a[k]) * w[m].h[t][k] +
					x * b.v[k];
		}
	}
}

/* Gradients of token t and the block's channel c from the sums over states: g_b = sum g B,
   q_a = sum e g h_{t-1} A log2(e). */
template <bool whole>
__device__ __forceinline__ void finish_token(const scan_cuda &s, const point &p, long t, int c,
	bool add, float g_b, float q_a, walker &w)
{
	float ddtraw = (p.u * g_b + LN2 * q_a) * p.slope;
	int i = blockIdx.x * CHANNELS + c;
	long row = (long)blockIdx.y * s.T + t;

	w.d_d += p.ds * p.u;
	w.d_bias += ddtraw;
	if (whole || (t < s.T && i < s.I)) {
		put(s.du, row, i, p.dt * g_b + w.d * p.ds, add);
		put(s.ddtraw, row, i, ddtraw, add);
	}
}

/* Back through HALF tokens of the tile that begins with token `first`, from t0 of the tile. */
template <bool whole>
__device__ __forceinline__ void walk_back(const scan_cuda &s, backward_shared &sh, const seat &at,
	long first, int t0, bool add, walker w[EACH])
{
	float g_b[EACH][4], q_a[EACH][4];

	#pragma unroll
	for (int t = HALF - 1; t >= 0; t--) {
		quad_values b = ordered(sh.b[t0 + t], at), c = ordered(sh.c[t0 + t], at);
		float d_b[4] = {}, d_c[4] = {};
		#pragma unroll
		for (int m = 0; m < EACH; m++) {
			point p = sh.points[t0 + t][at.channel + m * APART];
			float x = p.dt * p.u;
			g_b[m][t % 4] = q_a[m][t % 4] = 0;
			#pragma unroll
			for (int k = 0; k < 4; k++) {
				float g = w[m].carry[k] + p.ds * c.v[k], q;
				d_b[k] += g * x;
				d_c[k] += p.ds * w[m].h[t + 1][k];
				g_b[m][t % 4] += g * b.v[k];
				w[m].carry[k] = g * exp2_fast(p.dt * w[m].a[k]);
				q = w[m].carry[k] * w[m].h[t][k];
				q_a[m][t % 4] += q * w[m].a[k];
				w[m].d_a[k] += q * p.dt;
			}
			if (t % 4 == 0) {
				int own = t0 + t + at.quad, channel = at.channel + m * APART;
				finish_token<whole>(s, sh.points[own][channel], first + own,
					channel, add, sum_quad(g_b[m], at.quad),
					sum_quad(q_a[m], at.quad), w[m]);
			}
		}
		sh.sums[at.warp][t0 + t][at.lane] = sum_channels(d_b, d_c, at.lane);
	}
}

/* The block's share of dB and dC of a tile: the warps' sums in order. */
template <bool whole>
__device__ __forceinline__ void put_sums(const scan_cuda &s, const backward_shared &sh, int t0,
	float *bc)
{
	int lane = threadIdx.x % 32;
	long rows = (long)s.B * s.T, row = (long)blockIdx.y * s.T + t0;
	float *to = bc + (blockIdx.x * rows + row) * 32;

	#pragma unroll
	for (int j = 0; j < TILE; j += WARPS) {
		int t = j + threadIdx.x / 32;
		float sum = 0;
		#pragma unroll
		for (int warp = 0; warp < WARPS; warp++)
			sum += sh.sums[warp][t][lane];
		if (whole || t0 + t < s.T)
			to[t * 32 + lane] = sum;
	}
}

/* The states in front of the HALF tokens number `half`. */
template <bool whole>
__device__ __forceinline__ void load_states(const scan_cuda &s, const seat &at, int half, int n0,
	float4 h[EACH])
{
	#pragma unroll
	for (int m = 0; m < EACH; m++) {
		int i = blockIdx.x * CHANNELS + at.channel + m * APART, n = n0 + at.quad * 4;
		if (whole || (i < s.I && n < s.N && half * HALF < s.T))
			h[m] = *kept_states(s, blockIdx.y, half, n / 4, i);
		else
			h[m] = {0, 0, 0, 0};
	}
}

/* The four of them in the thread's order. */
__device__ __forceinline__ void take_states(const seat &at, const float4 &v, float h[4])
{
	bool odd = at.order & 1, high = at.order & 2;
	float a = odd ? v.y : v.x, b = odd ? v.x : v.y, c = odd ? v.w : v.z, d = odd ? v.z : v.w;

	h[0] = high ? c : a;
	h[1] = high ? d : b;
	h[2] = high ? a : c;
	h[3] = high ? b : d;
}

/* A channel's sums over time. */
__device__ __forceinline__ void put_parameters(const scan_cuda &s, const seat &at, walker &w, int i,
	const backward_parts &parts)
{
	long own = (long)blockIdx.y * s.I + i;

	for (int m = 1; m < QUADS; m *= 2) {
		w.d_d += __shfl_xor_sync(~0u, w.d_d, m);
		w.d_bias += __shfl_xor_sync(~0u, w.d_bias, m);
	}
	if (i >= s.I)
		return;
	#pragma unroll
	for (int k = 0; k < 4; k++)
		parts.a[own * STATES + state_of(at, k)] = w.d_a[k];
	if (at.quad == 0) {
		parts.d[own] = w.d_d;
		parts.bias[own] = w.d_bias;
	}
}

/* The tile's tokens, half by half. */
template <bool whole>
__device__ __forceinline__ void walk_tile(const scan_cuda &s, backward_shared &sh, const seat &at,
	int tile, int n0, float4 ahead[EACH], walker w[EACH])
{
	#pragma unroll 1
	for (int t0 = TILE - HALF; t0 >= 0; t0 -= HALF) {
		int half = (tile * TILE + t0) / HALF;
		#pragma unroll
		for (int m = 0; m < EACH; m++)
			take_states(at, ahead[m], w[m].h[0]);
		if (half > 0)
			load_states<whole>(s, at, half - 1, n0, ahead);
		replay(sh, at, t0, w);
		walk_back<whole>(s, sh, at, tile * TILE, t0, n0 > 0, w);
	}
}

/* Launched on (blocks of channels, sequences). */
template <bool whole>
__global__ void __launch_bounds__(THREADS, 3) scan_backward_kernel(const scan_cuda s,
	const backward_parts parts, int n0)
{
	backward_shared &sh = *shared_memory<backward_shared>();
	seat at = seat_of();
	int last = (s.T - 1) / TILE;
	int column = blockIdx.x * CHANNELS + threadIdx.x % CHANNELS;	/* of prepare() */
	float bias = column < s.I ? s.dt_bias.at[column] : 0;
	walker w[EACH] = {};
	float4 ahead[EACH];

	#pragma unroll
	for (int m = 0; m < EACH; m++) {
		int i = blockIdx.x * CHANNELS + at.channel + m * APART;
		w[m].d = i < s.I && n0 == 0 ? s.d.at[i] : 0;
		#pragma unroll
		for (int k = 0; k < 4; k++)
			w[m].a[k] = decay_rate(s, i, n0 + state_of(at, k));
	}
	fetch_backward<whole>(s, last * TILE, n0, sh.stage);
	load_states<whole>(s, at, (last + 1) * (TILE / HALF) - 1, n0, ahead);
	__pipeline_wait_prior(0);
	__syncthreads();
	enter_tile<whole>(s, last, n0, bias, sh);
	__syncthreads();
	for (int tile = last; tile >= 0; tile--) {
		fetch_backward<whole>(s, (tile - 1) * TILE, n0, sh.stage);
		walk_tile<whole>(s, sh, at, tile, n0, ahead, w);
		__pipeline_wait_prior(0);
		__syncthreads();
		put_sums<whole>(s, sh, tile * TILE, parts.bc);
		if (tile > 0)
			enter_tile<whole>(s, tile - 1, n0, bias, sh);
		__syncthreads();
	}
	#pragma unroll
	for (int m = 0; m < EACH; m++)
		put_parameters(s, at, w[m], blockIdx.x * CHANNELS + at.channel + m * APART, parts);
}

/* dB and dC: the blocks' shares in order. One thread per token, side and state. */
__device__ __forceinline__ void sum_blocks(const scan_cuda &s, const float *bc, int n_blocks,
	int n0, long k)
{
	long floats = (long)s.B * s.T * 32;
	int place = (int)(k % 32), n = n0 + state_of_place(place);
	float sum = 0;

	if (k >= floats || n >= s.N)
		return;
	for (int block = 0; block < n_blocks; block++)
		sum += bc[block * floats + k];
	put(place < STATES ? s.db : s.dc, k / 32, n, sum, false);
}

/* Parameters: the sequences' shares in order. One thread per channel and state. */
__device__ __forceinline__ void sum_sequences(const scan_cuda &s, const backward_parts &parts,
	int n0, int k)
{
	int i = k / STATES, n = k % STATES;
	float a = 0, d = 0, bias = 0;

	if (i >= s.I)
		return;
	for (int b = 0; b < s.B; b++)
		a += parts.a[((long)b * s.I + i) * STATES + n];
	if (n0 + n < s.N)	/* dA_log = dA A */
		put(s.da_log, i, n0 + n, a * decay_rate(s, i, n0 + n) * LN2, false);
	if (n > 0)
		return;
	for (int b = 0; b < s.B; b++) {
		d += parts.d[(long)b * s.I + i];
		bias += parts.bias[(long)b * s.I + i];
	}
	if (n0 == 0)
		put(s.dd, 0, i, d, false);
	put(s.ddt_bias, 0, i, bias, n0 > 0);
}

/* The first `few` blocks have the parameters: long sums, which so begin first. */
__global__ void sum_parts_kernel(const scan_cuda s, const backward_parts parts, int n_blocks,
	int n0, unsigned few)
{
	if (blockIdx.x < few)
		sum_sequences(s, parts, n0, blockIdx.x * blockDim.x + threadIdx.x);
	else
		sum_blocks(s, parts.bc, n_blocks, n0,
			(blockIdx.x - few) * (long)blockDim.x + threadIdx.x);
}

enum { BLOCK = 128 };	/* threads of the kernel that sums */

unsigned blocks(long threads)
{
	return (unsigned)ceil_div(threads, BLOCK);
}

}  // namespace

size_t scan_cuda_workspace(const struct scan_cuda *s)
{
	long sums = ceil_div(s->I, CHANNELS) * s->B * s->T * 32;
	long parameters = (long)s->B * s->I * (STATES + 2);

	return (size_t)(sums + parameters) * sizeof(float);
}

void scan_cuda_backward(const struct scan_cuda *s, void *stream)
{
	auto kernel = is_whole(*s, CHANNELS) ? scan_backward_kernel<true> : scan_backward_kernel<false>;
	long n_blocks = ceil_div(s->I, CHANNELS), channels = (long)s->B * s->I;
	unsigned few = blocks((long)s->I * STATES), all = few + blocks((long)s->B * s->T * 32);
	dim3 grid((unsigned)n_blocks, (unsigned)s->B);
	backward_parts p;

	p.bc = s->workspace;
	p.a = p.bc + n_blocks * s->B * s->T * 32;
	p.d = p.a + channels * STATES;
	p.bias = p.d + channels;
	allow_shared(kernel, sizeof(backward_shared));
	for (int n0 = 0; n0 < s->N; n0 += STATES) {
		launch(kernel, grid, THREADS, sizeof(backward_shared), stream, *s, p, n0);
		launch(sum_parts_kernel, all, BLOCK, 0, stream, *s, p, (int)n_blocks, n0, few);
	}
}
