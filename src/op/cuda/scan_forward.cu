/* The scan's forward kernel: op/scan_cuda.h says how, op/scan.h what. */
#include "op/cuda/scan_cuda.cuh"

namespace {

enum { WIDE = 128 };	/* channels, and threads, of a block */

struct forward_stage {
	float u[TILE][WIDE], dtraw[TILE][WIDE], z[TILE][WIDE];
	float b[TILE][STATES], c[TILE][STATES];
};

template <bool whole>
__device__ __forceinline__ void fetch_forward(const scan_cuda &s, int t0, int n0, forward_stage &to)
{
	long row = (long)blockIdx.y * s.T + t0;
	int i = blockIdx.x * WIDE, n_tokens = min(TILE, s.T - t0);

	if (t0 < s.T) {
		fetch<WIDE, WIDE, whole>(to.u, s.u, row, n_tokens, i, s.I);
		fetch<WIDE, WIDE, whole>(to.dtraw, s.dtraw, row, n_tokens, i, s.I);
		fetch<WIDE, WIDE, whole>(to.z, s.z, row, n_tokens, i, s.I);
		fetch<STATES, WIDE, whole>(to.b, s.b, row, n_tokens, n0, s.N);
		fetch<STATES, WIDE, whole>(to.c, s.c, row, n_tokens, n0, s.N);
	}
	__pipeline_commit();
}

/* What a token of a channel is apart from its states. */
struct forward_token {
	float dt, u, gate;
};

__device__ __forceinline__ forward_token token_of(const scan_cuda &s, const forward_stage &f, int t,
	float bias)
{
	int lane = threadIdx.x;
	float z = s.z.at ? f.z[t][lane] : 0;

	return {softplus(f.dtraw[t][lane] + bias), f.u[t][lane], s.z.at ? z * sigmoid(z) : 1};
}

/* h = e h + dt u B for all states; returns sum_n C h. */
__device__ __forceinline__ float step_forward(float h[STATES], const float a[STATES],
	const forward_token &p, const float b[STATES], const float c[STATES])
{
	float x = p.dt * p.u, sum[4] = {0, 0, 0, 0};

	#pragma unroll
	for (int n = 0; n < STATES; n += 4) {
		float4 b4 = *(const float4 *)(b + n), c4 = *(const float4 *)(c + n);
		h[n] = exp2_fast(p.dt * a[n]) * h[n] + x * b4.x;
		h[n + 1] = exp2_fast(p.dt * a[n + 1]) * h[n + 1] + x * b4.y;
		h[n + 2] = exp2_fast(p.dt * a[n + 2]) * h[n + 2] + x * b4.z;
		h[n + 3] = exp2_fast(p.dt * a[n + 3]) * h[n + 3] + x * b4.w;
		sum[0] += c4.x * h[n];
		sum[1] += c4.y * h[n + 1];
		sum[2] += c4.z * h[n + 2];
		sum[3] += c4.w * h[n + 3];
	}
	return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

__device__ __forceinline__ void keep_states(const scan_cuda &s, int kept, int n0, int i,
	const float h[STATES])
{
	float4 *to = kept_states(s, blockIdx.y, kept, n0 / 4, i);

	#pragma unroll
	for (int n = 0; n < STATES; n += 4)
		if (n0 + n < s.N)
			to[n / 4 * s.I] = {h[n], h[n + 1], h[n + 2], h[n + 3]};
}

/* What a thread carries from tile to tile. */
struct forward_walker {
	float a[STATES], h[STATES];	/* A log2(e); states */
	float bias, d;
};

/* The tile's tokens of a channel, in pairs: what does not depend on the states is done for both at
   once, so that one hides the other's latency. */
template <bool whole>
__device__ __forceinline__ void walk_forward(const scan_cuda &s, const forward_stage &f, int t0,
	int n0, int i, forward_walker &w)
{
	int n_tokens = min(TILE, s.T - t0);
	long row = (long)blockIdx.y * s.T + t0;

	#pragma unroll 4	/* SCAN_KEPT tokens */
	for (int t = 0; t < TILE; t += 2) {
		forward_token p[2];
		#pragma unroll
		for (int k = 0; k < 2; k++)
			if (whole || t + k < n_tokens)
				p[k] = token_of(s, f, t + k, w.bias);
		if (s.states && t % SCAN_KEPT == 0 && (whole || t < n_tokens))
			keep_states(s, (t0 + t) / SCAN_KEPT, n0, i, w.h);
		#pragma unroll
		for (int k = 0; k < 2; k++)
			if (whole || t + k < n_tokens) {
				float y = w.d * p[k].u + step_forward(w.h, w.a, p[k], f.b[t + k],
					f.c[t + k]);
				put(s.ungated, row + t + k, i, y, n0 > 0);
				put(s.y, row + t + k, i, y * p[k].gate, n0 > 0);
			}
	}
}

/* Launched on (blocks of channels, sequences). n0: first state; the launch with 0 has D u. */
template <bool whole>
__global__ void __launch_bounds__(WIDE, 4) scan_forward_kernel(const scan_cuda s, int n0)
{
	forward_stage *stage = shared_memory<forward_stage>();
	int lane = threadIdx.x, i = blockIdx.x * WIDE + lane;
	forward_walker w = {};

	if (i < s.I) {
		w.bias = s.dt_bias.at[i];
		w.d = n0 == 0 ? s.d.at[i] : 0;
	}
	for (int n = 0; n < STATES; n++)
		w.a[n] = decay_rate(s, i, n0 + n);
	for (int k = lane; k < TILE * STATES; k += WIDE)	/* beyond N there must be no NaN */
		for (int side = 0; side < 2; side++) {
			stage[side].b[k / STATES][k % STATES] = 0;
			stage[side].c[k / STATES][k % STATES] = 0;
		}
	__syncthreads();
	fetch_forward<whole>(s, 0, n0, stage[0]);
	for (int t0 = 0; t0 < s.T; t0 += TILE) {
		fetch_forward<whole>(s, t0 + TILE, n0, stage[(t0 / TILE + 1) % 2]);
		__pipeline_wait_prior(1);
		__syncthreads();
		if (whole || i < s.I)
			walk_forward<whole>(s, stage[t0 / TILE % 2], t0, n0, i, w);
		__syncthreads();
	}
}

}  // namespace

size_t scan_cuda_states(const struct scan_cuda *s)
{
	long quads = s->B * ceil_div(s->T, SCAN_KEPT) * ceil_div(s->N, 4) * s->I;

	return (size_t)quads * sizeof(float4);
}

void scan_cuda_forward(const struct scan_cuda *s, void *stream)
{
	auto kernel = is_whole(*s, WIDE) ? scan_forward_kernel<true> : scan_forward_kernel<false>;
	dim3 grid((unsigned)ceil_div(s->I, WIDE), (unsigned)s->B);
	size_t shared = 2 * sizeof(forward_stage);

	allow_shared(kernel, shared);
	for (int n0 = 0; n0 < s->N; n0 += STATES)
		launch(kernel, grid, WIDE, shared, stream, *s, n0);
}
