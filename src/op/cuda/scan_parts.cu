/* What the blocks of the scan's backward kernel leave, added up in order. */
#include "op/cuda/scan_backward.cuh"

namespace {

enum { SUM_THREADS = 128 };

/* dB and dC. One thread per group of states, sequence, SCAN_KEPT tokens, side and lane: two
   states of two tokens. */
template <typename real>
__device__ __forceinline__ void sum_blocks(const scan<real> &s, long k)
{
	long per_block = (long)s.n.B * s.n.n_kept * 64, group = k / per_block,
	     place = k % per_block;
	int lane = (int)(place % 32), kept = (int)(place / 64 % s.n.n_kept);
	long b = place / 64 / s.n.n_kept;
	const gradient<real> &to = place / 32 % 2 ? s.dc : s.db;
	int n = (int)group * SCAN_GROUP + state_of_lane(lane);
	float4 sum = make_float4(0, 0, 0, 0);

	if (group >= s.n.n_groups || !to.at)
		return;
	#pragma unroll 4
	for (int block = 0; block < s.n.n_backward_blocks; block++) {
		float4 v =
			((const float4 *)s.bc)[(group * s.n.n_backward_blocks + block) * per_block +
				place];
		sum = make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w);
	}
	float v[4] = {sum.x, sum.y, sum.z, sum.w};
	for (int j = 0; j < 4; j++) {
		int t = kept * SCAN_KEPT + lane % 4 * 2 + j % 2, state = n + j / 2 * 2;
		if (t < s.n.T && state < s.n.N)
			put(to.at + (b * s.n.T + t) * to.ld + state, to.add, v[j]);
	}
}

/* Parameters: the sequences' and segments' shares. One thread per row of parameter() and
   channel. */
template <typename real>
__device__ __forceinline__ void sum_sequences(const scan<real> &s, long k)
{
	int n_states = s.n.n_groups * SCAN_GROUP, row = (int)(k / s.n.I), i = (int)(k % s.n.I);
	float sum = 0;

	if (row >= n_states + 2)
		return;
	#pragma unroll 8
	for (long j = 0; j < (long)s.n.B * s.n.n_segments; j++)
		sum += s.parameters[(j * (n_states + 2) + row) * s.n.I + i];
	if (row < s.n.N && s.da_log.at)		/* dA_log = dA A */
		put(s.da_log.at + i * s.da_log.ld + row, s.da_log.add,
			sum * decay_rate(s, i, row) * LN2);
	if (row == n_states && s.dd.at)
		put(s.dd.at + i, s.dd.add, sum);
	if (row == n_states + 1 && s.ddt_bias.at)
		put(s.ddt_bias.at + i, s.ddt_bias.add, sum);
}

/* The first `few` blocks have the parameters: long sums, which so begin first. */
template <typename real>
__global__ void scan_parts_kernel(const scan<real> s, unsigned few)
{
	if (blockIdx.x < few)
		sum_sequences(s, (long)blockIdx.x * SUM_THREADS + threadIdx.x);
	else
		sum_blocks(s, (long)(blockIdx.x - few) * SUM_THREADS + threadIdx.x);
}

}  // namespace

template <typename real>
void scan_sum_parts(const struct op_run *r, const scan<real> &s)
{
	long few = ceil_div((long)(s.n.n_groups * SCAN_GROUP + 2) * s.n.I, SUM_THREADS);
	long all = few + ceil_div((long)s.n.n_groups * s.n.B * s.n.n_kept * 64, SUM_THREADS);

	launch(r, scan_parts_kernel<real>, dim3((unsigned)all), SUM_THREADS, 0, s, (unsigned)few);
}

template void scan_sum_parts<float>(const struct op_run *r, const scan<float> &s);
template void scan_sum_parts<bf16>(const struct op_run *r, const scan<bf16> &s);
