/* The scan's forward kernel: op/scan_cuda.h says how, op/scan.h what. */
#include "op/scan_cuda.cuh"

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

/* h = e h + dt u B for all states; returns sum_n C h. */
__device__ __forceinline__ float step_forward(float h[STATES], const float a[STATES], float dt,
	float u, const float b[STATES], const float c[STATES])
{
	float x = dt * u, sum[4] = {0, 0, 0, 0};

	#pragma unroll
	for (int n = 0; n < STATES; n += 4) {
		float4 b4 = *(const float4 *)(b + n), c4 = *(const float4 *)(c + n);
		h[n] = exp2_fast(dt * a[n]) * h[n] + x * b4.x;
		h[n + 1] = exp2_fast(dt * a[n + 1]) * h[n + 1] + x * b4.y;
		h[n + 2] = exp2_fast(dt * a[n + 2]) * h[n + 2] + x * b4.z;
		h[n + 3] = exp2_fast(dt * a[n + 3]) * h[n + 3] + x * b4.w;
		sum[0] += c4.x * h[n];
		sum[1] += c4.y * h[n + 1];
		sum[2] += c4.z * h[n + 2];
		sum[3] += c4.w * h[n + 3];
	}
	return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Launched on (blocks of channels, sequences). n0: first state; the launch with 0 has D u. */
template <bool whole>
__global__ void __launch_bounds__(WIDE, 4) scan_forward_kernel(const scan_cuda s, int n0)
{
	forward_stage *stage = shared_memory<forward_stage>();
	int lane = threadIdx.x, i = blockIdx.x * WIDE + lane, b = blockIdx.y;
	float a[STATES], h[STATES] = {0};
	float bias = i < s.I ? s.dt_bias.at[i] : 0, d = i < s.I && n0 == 0 ? s.d.at[i] : 0;

	for (int n = 0; n < STATES; n++)
		a[n] = decay_rate(s, i, n0 + n);
	for (int k = lane; k < TILE * STATES; k += WIDE)	/* beyond N there must be no NaN */
		for (int side = 0; side < 2; side++) {
			stage[side].b[k / STATES][k % STATES] = 0;
			stage[side].c[k / STATES][k % STATES] = 0;
		}
	__syncthreads();
	fetch_forward<whole>(s, 0, n0, stage[0]);
	for (int t0 = 0; t0 < s.T; t0 += TILE) {
		forward_stage &f = stage[t0 / TILE % 2];
		int n_tokens = i < s.I ? min(TILE, s.T - t0) : 0;
		long row = (long)b * s.T + t0;
		fetch_forward<whole>(s, t0 + TILE, n0, stage[(t0 / TILE + 1) % 2]);
		__pipeline_wait_prior(1);
		__syncthreads();
		for (int n = 0; s.states && i < s.I && n < STATES && n0 + n < s.N; n++)
			s.states[state_index(s, b, t0 / TILE, n0 + n, i)] = h[n];
		#pragma unroll 4
		for (int t = 0; t < n_tokens; t++, row++) {
			float u = f.u[t][lane], z = f.z[t][lane];
			float dt = softplus(f.dtraw[t][lane] + bias);
			float sum = d * u + step_forward(h, a, dt, u, f.b[t], f.c[t]);
			put(s.ungated, row, i, sum, n0 > 0);
			if (s.z.at)
				sum *= z * sigmoid(z);
			put(s.y, row, i, sum, n0 > 0);
		}
		__syncthreads();
	}
}

}  // namespace

size_t scan_cuda_states(const struct scan_cuda *s)
{
	return (size_t)(s->B * ceil_div(s->T, TILE) * s->N * s->I) * sizeof(float);
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
