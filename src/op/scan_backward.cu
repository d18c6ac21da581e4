/* The scan's backward kernels: op/scan_cuda.h says how, op/scan.h what. */
#include "op/scan_cuda.cuh"

namespace {

enum {
	QUADS = STATES / 4,		/* threads that share a channel */
	EACH = 2,			/* channels of a thread: what they share is loaded and
					   summed once */
	CHANNELS = 64,			/* of a block */
	APART = CHANNELS / EACH,	/* between a thread's channels */
	THREADS = APART * QUADS,
	WARPS = THREADS / 32,
	PITCH = CHANNELS + 8,		/* floats per token in shared memory: the rows of a quad's
					   four tokens lie in different banks */
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
	float dt, u, ds, slope;		/* slope of softplus */
};

struct backward_stage {
	float u[TILE][PITCH];		/* in the end du */
	float dtraw[TILE][PITCH];	/* in the end ddtraw */
	float dy[TILE][PITCH];
	float z[TILE][PITCH];		/* in the end dz */
	float ungated[TILE][PITCH];
	float b[TILE][STATES], c[TILE][STATES];
};

struct backward_shared {
	backward_stage stage[2];
	point points[TILE][CHANNELS + 2];	/* the padding as in PITCH */
	float b[TILE][4][STATES], c[TILE][4][STATES];	/* in each of the four orders */
	float sums[WARPS][TILE][32];			/* dB and dC over a warp's channels */
};

/* Partial results. */
struct backward_parts {
	float *bc;			/* [block of channels][token][32]: place_of_sum() */
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
__device__ __forceinline__ void prepare(const scan_cuda &s, int t0, float bias, backward_shared &sh,
	backward_stage &f)
{
	int c = threadIdx.x % CHANNELS, i = blockIdx.x * CHANNELS + c;

	#pragma unroll
	for (int j = 0; j < TILE; j += THREADS / CHANNELS) {
		int t = j + threadIdx.x / CHANNELS;
		float v = f.dtraw[t][c] + bias, dy = f.dy[t][c], ds = dy;
		if (s.z.at) {
			float z = f.z[t][c], gate = sigmoid(z);
			ds = dy * z * gate;
			f.z[t][c] = dy * gate * (1 + z * (1 - gate)) * f.ungated[t][c];
		}
		if (whole || (t0 + t < s.T && i < s.I))
			sh.points[t][c] = {softplus(v), f.u[t][c], ds, sigmoid(v)};
		else
			sh.points[t][c] = {0, 0, 0, 0};
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
	prepare<whole>(s, tile * TILE, bias, sh, sh.stage[tile % 2]);
	spread<whole>(s, tile * TILE, n0, sh.stage[tile % 2], sh);
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

/* Where sum_channels() leaves state n of dB (side 0) or dC (1): the lane. */
__device__ __forceinline__ int place_of_sum(int side, int n)
{
	return side * 16 + n % 4 * 4 + n / 4;
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
	float h[TILE + 1][4];		/* states: in front of the tile, after each of its tokens */
};

/* States after each token of the tile. */
__device__ __forceinline__ void replay(const backward_shared &sh, const seat &at, walker w[EACH])
{
	#pragma unroll
	for (int t = 0; t < TILE; t++) {
		quad_values b = ordered(sh.b[t], at);
		#pragma unroll
		for (int m = 0; m < EACH; m++) {
			const point &p = sh.points[t][at.channel + m * APART];
			float dt = p.dt, x = dt * p.u;
			#pragma unroll
			for (int k = 0; k < 4; k++)
				w[m].h[t + 1][k] = exp2_fast(dt * w[m].a[k]) * w[m].h[t][k] +
					x * b.v[k];
		}
	}
}

/* Gradients of one token and channel from the sums over states: g_b = sum g B,
   q_a = sum e g h_{t-1} A log2(e). */
__device__ __forceinline__ void finish_token(const backward_shared &sh, backward_stage &f, int t,
	int c, float g_b, float q_a, walker &w)
{
	point p = sh.points[t][c];
	float ddtraw = (p.u * g_b + LN2 * q_a) * p.slope;

	w.d_d += p.ds * p.u;
	w.d_bias += ddtraw;
	f.u[t][c] = p.dt * g_b + w.d * p.ds;
	f.dtraw[t][c] = ddtraw;
}

/* Back through the tile. */
__device__ __forceinline__ void walk_back(backward_shared &sh, backward_stage &f, const seat &at,
	walker w[EACH])
{
	float g_b[EACH][4], q_a[EACH][4];

	#pragma unroll
	for (int t = TILE - 1; t >= 0; t--) {
		quad_values b = ordered(sh.b[t], at), c = ordered(sh.c[t], at);
		float d_b[4] = {}, d_c[4] = {};
		#pragma unroll
		for (int m = 0; m < EACH; m++) {
			point p = sh.points[t][at.channel + m * APART];
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
			if (t % 4 == 0)
				finish_token(sh, f, t + at.quad, at.channel + m * APART,
					sum_quad(g_b[m], at.quad),
					sum_quad(q_a[m], at.quad), w[m]);
		}
		sh.sums[at.warp][t][at.lane] = sum_channels(d_b, d_c, at.lane);
	}
}

/* The block's share of dB and dC: the warps' sums in order. `bc`: the tile's first token. */
template <bool whole>
__device__ __forceinline__ void put_sums(const backward_shared &sh, int n_tokens, float *bc)
{
	int lane = threadIdx.x % 32;

	#pragma unroll
	for (int j = 0; j < TILE; j += WARPS) {
		int t = j + threadIdx.x / 32;
		float sum = 0;
		#pragma unroll
		for (int warp = 0; warp < WARPS; warp++)
			sum += sh.sums[warp][t][lane];
		if (whole || t < n_tokens)
			bc[t * 32 + lane] = sum;
	}
}

template <bool whole>
__device__ __forceinline__ void load_states(const scan_cuda &s, const seat &at, int tile, int n0,
	float h[EACH][4])
{
	#pragma unroll
	for (int m = 0; m < EACH; m++) {
		int i = blockIdx.x * CHANNELS + at.channel + m * APART;
		const float *from = s.states + state_index(s, blockIdx.y, tile, n0, i);
		#pragma unroll
		for (int k = 0; k < 4; k++) {
			int n = state_of(at, k);
			h[m][k] = whole || (i < s.I && n0 + n < s.N) ? from[n * s.I] : 0;
		}
	}
}

template <bool whole>
__device__ __forceinline__ void store_tile(const scan_cuda &s, const backward_shared &sh,
	const backward_stage &f, int t0, bool add, float *bc)
{
	long row = (long)blockIdx.y * s.T + t0, rows = (long)s.B * s.T;
	int i = blockIdx.x * CHANNELS, n_tokens = min(TILE, s.T - t0);

	store<CHANNELS, THREADS, whole>(s.du, f.u, row, n_tokens, i, s.I, add);
	store<CHANNELS, THREADS, whole>(s.ddtraw, f.dtraw, row, n_tokens, i, s.I, add);
	if (!add)	/* dz needs all states: the first launch has it */
		store<CHANNELS, THREADS, whole>(s.dz, f.z, row, n_tokens, i, s.I, false);
	put_sums<whole>(sh, n_tokens, bc + (blockIdx.x * rows + row) * 32);
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

/* Launched on (blocks of channels, sequences). */
template <bool whole>
__global__ void __launch_bounds__(THREADS, 2) scan_backward_kernel(const scan_cuda s,
	const backward_parts parts, int n0)
{
	backward_shared &sh = *shared_memory<backward_shared>();
	seat at = seat_of();
	int last = (s.T - 1) / TILE;
	int column = blockIdx.x * CHANNELS + threadIdx.x % CHANNELS;	/* of prepare() */
	float bias = column < s.I ? s.dt_bias.at[column] : 0;
	walker w[EACH] = {};
	float ahead[EACH][4];

	#pragma unroll
	for (int m = 0; m < EACH; m++) {
		int i = blockIdx.x * CHANNELS + at.channel + m * APART;
		w[m].d = i < s.I && n0 == 0 ? s.d.at[i] : 0;
		#pragma unroll
		for (int k = 0; k < 4; k++)
			w[m].a[k] = decay_rate(s, i, n0 + state_of(at, k));
	}
	fetch_backward<whole>(s, last * TILE, n0, sh.stage[last % 2]);
	load_states<whole>(s, at, last, n0, ahead);
	__pipeline_wait_prior(0);
	__syncthreads();
	enter_tile<whole>(s, last, n0, bias, sh);
	__syncthreads();
	for (int tile = last; tile >= 0; tile--) {
		backward_stage &f = sh.stage[tile % 2];
		#pragma unroll
		for (int m = 0; m < EACH; m++)
			#pragma unroll
			for (int k = 0; k < 4; k++)
				w[m].h[0][k] = ahead[m][k];
		fetch_backward<whole>(s, (tile - 1) * TILE, n0, sh.stage[(tile + 1) % 2]);
		if (tile > 0)
			load_states<whole>(s, at, tile - 1, n0, ahead);
		replay(sh, at, w);
		walk_back(sh, f, at, w);
		__pipeline_wait_prior(0);
		__syncthreads();
		store_tile<whole>(s, sh, f, tile * TILE, n0 > 0, parts.bc);
		if (tile > 0)
			enter_tile<whole>(s, tile - 1, n0, bias, sh);
		__syncthreads();
	}
	#pragma unroll
	for (int m = 0; m < EACH; m++)
		put_parameters(s, at, w[m], blockIdx.x * CHANNELS + at.channel + m * APART, parts);
}

/* dB and dC: the blocks' shares in order. One thread per token and state. */
__global__ void sum_blocks_kernel(const scan_cuda s, const float *bc, int n_blocks, int n0)
{
	long k = blockIdx.x * (long)blockDim.x + threadIdx.x;
	long rows = (long)s.B * s.T, row = k / STATES;
	int n = (int)(k % STATES);
	float b = 0, c = 0;

	if (row >= rows || n0 + n >= s.N)
		return;
	for (int block = 0; block < n_blocks; block++) {
		const float *at = bc + (block * rows + row) * 32;
		b += at[place_of_sum(0, n)];
		c += at[place_of_sum(1, n)];
	}
	put(s.db, row, n0 + n, b, false);
	put(s.dc, row, n0 + n, c, false);
}

/* Parameters: the sequences' shares in order. One thread per channel and state. */
__global__ void sum_sequences_kernel(const scan_cuda s, const backward_parts parts, int n0)
{
	int k = blockIdx.x * blockDim.x + threadIdx.x, i = k / STATES, n = k % STATES;
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

enum { BLOCK = 128 };	/* threads of the kernels that sum */

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
	long sums = (long)s->B * s->T * STATES, parameters = (long)s->I * STATES;
	dim3 grid((unsigned)n_blocks, (unsigned)s->B);
	backward_parts p;

	p.bc = s->workspace;
	p.a = p.bc + n_blocks * s->B * s->T * 32;
	p.d = p.a + channels * STATES;
	p.bias = p.d + channels;
	allow_shared(kernel, sizeof(backward_shared));
	for (int n0 = 0; n0 < s->N; n0 += STATES) {
		launch(kernel, grid, THREADS, sizeof(backward_shared), stream, *s, p, n0);
		launch(sum_blocks_kernel, blocks(sums), BLOCK, 0, stream, *s, p.bc, (int)n_blocks, n0);
		launch(sum_sequences_kernel, blocks(parameters), BLOCK, 0, stream, *s, p, n0);
	}
}
