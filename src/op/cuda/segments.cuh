/*
 * Walking a blob whose segments are treated apart (op/grad_norm.h): a block of threads takes
 * GRAD_NORM_BLOCK elements and leaves float64 sums by group in part[block][group]. Segments travel
 * as a kernel's parameter, MOST_SEGMENTS a launch; a block that two launches share is added to by
 * the second. Then each group's parts are added up in a fixed order.
 */
#ifndef OP_CUDA_SEGMENTS_CUH
#define OP_CUDA_SEGMENTS_CUH

#include "op/cuda/kit.cuh"
#include "op/cuda/prim.cuh"
extern "C" {
#include "op/grad_norm.h"
}

enum { MOST_SEGMENTS = 160, SEGMENT_THREADS = 256, SEGMENT_WARPS = SEGMENT_THREADS / 32 };

struct segments {
	long begin, end;		/* elements of this launch */
	long n_blocks;			/* of the blob */
	int n, n_groups;
	struct {
		long end;
		int group;
		bool decay;
	} list[MOST_SEGMENTS];
};

/* Elements [begin, end) of this block that lie in one segment. */
struct piece {
	long begin, end;
	int group;
	bool decay;
};

/* Calls work(segments) for one launch after the other. */
template <typename function>
void each_segments(const struct grad_norm_segment *s, int n, int n_groups, long size,
	const function &work)
{
	for (int first = 0; first < n; first += MOST_SEGMENTS) {
		segments list = {};

		list.n = n - first < MOST_SEGMENTS ? n - first : MOST_SEGMENTS;
		list.n_groups = n_groups;
		list.n_blocks = grad_norm_blocks(size);
		list.begin = s[first].begin;
		list.end = s[first + list.n - 1].end;
		for (int i = 0; i < list.n; i++) {
			list.list[i].end = s[first + i].end;
			list.list[i].group = s[first + i].group;
			list.list[i].decay = s[first + i].decay;
		}
		work(list);
	}
}

/* Blocks of threads that a launch needs. */
inline unsigned segment_blocks(const segments &s)
{
	return (unsigned)(ceil_div(s.end, GRAD_NORM_BLOCK) - s.begin / GRAD_NORM_BLOCK);
}

/* Sum of x over the block, in thread 0. */
__device__ __forceinline__ double block_sum(double x)
{
	double *of_warp = shared_memory<double>();

	#pragma unroll
	for (int step = 16; step; step /= 2)
		x += __shfl_xor_sync(0xffffffffu, x, step);
	__syncthreads();
	if (threadIdx.x % 32 == 0)
		of_warp[threadIdx.x / 32] = x;
	__syncthreads();
	for (int k = 1; threadIdx.x == 0 && k < SEGMENT_WARPS; k++)
		x += of_warp[k];
	return x;
}

/* The pieces of this block in turn: work(piece, sum) adds this thread's share to sum[n_sums], whose
   sums over the threads go to part[k][block][group]. */
template <int n_sums, typename function>
__device__ __forceinline__ void each_piece(const segments &s, double *part, const function &work)
{
	long block = s.begin / GRAD_NORM_BLOCK + blockIdx.x;
	long begin = block * GRAD_NORM_BLOCK, end = begin + GRAD_NORM_BLOCK;
	int i = 0;

	if (begin >= s.begin)
		for (int k = threadIdx.x; k < n_sums * s.n_groups; k += SEGMENT_THREADS)
			part[(k / s.n_groups * s.n_blocks + block) * s.n_groups + k % s.n_groups] =
				0;
	begin = begin > s.begin ? begin : s.begin;
	end = end < s.end ? end : s.end;
	while (s.list[i].end <= begin)
		i++;
	for (; begin < end; begin = s.list[i++].end) {
		piece p = {begin, s.list[i].end < end ? s.list[i].end : end, s.list[i].group,
			s.list[i].decay};
		double sum[n_sums] = {};

		work(p, sum);
		#pragma unroll
		for (int k = 0; k < n_sums; k++) {
			double total = block_sum(sum[k]);
			if (threadIdx.x == 0)
				part[(k * s.n_blocks + block) * s.n_groups + p.group] += total;
		}
	}
}

/* Sums over the parts of group blockIdx.x: to out, and for further use to total. */
static __global__ void sum_segments(const double *part, long n_blocks, int n_groups, float *out,
	double *total)
{
	double sum = 0;

	for (long b = threadIdx.x; b < n_blocks; b += SEGMENT_THREADS)
		sum += part[b * n_groups + blockIdx.x];
	sum = block_sum(sum);
	if (threadIdx.x == 0) {
		out[blockIdx.x] = (float)sum;
		if (total)
			total[blockIdx.x] = sum;
	}
}

/* part: [blocks, groups]. */
static inline void sum_segments_cuda(const struct op_run *r, const double *part, long size,
	int n_groups, const struct tensor *out, double *total)
{
	launch(r, sum_segments, dim3((unsigned)n_groups), SEGMENT_THREADS,
		SEGMENT_WARPS * sizeof(double), part, grad_norm_blocks(size), n_groups,
		(float *)out->at, total);
}

/* Four neighbours at `at`, a multiple of 4: those of [begin, end); the rest 0. */
struct four {
	float v[4];
};

__device__ __forceinline__ four load4(const float *a, long at, long begin, long end)
{
	four x = {};

	if (at >= begin && at + 4 <= end) {
		float4 y = *(const float4 *)(a + at);
		return {{y.x, y.y, y.z, y.w}};
	}
	for (int i = 0; i < 4; i++)
		if (at + i >= begin && at + i < end)
			x.v[i] = a[at + i];
	return x;
}

__device__ __forceinline__ void store_four(float *a, const four &x)
{
	*(float4 *)a = make_float4(x.v[0], x.v[1], x.v[2], x.v[3]);
}

__device__ __forceinline__ void store_four(bf16 *a, const four &x)
{
	*(uint2 *)a = make_uint2(bf16_pair(x.v[0], x.v[1]), bf16_pair(x.v[2], x.v[3]));
}

template <typename element>
__device__ __forceinline__ void store4(element *a, long at, long begin, long end, const four &x)
{
	if (at >= begin && at + 4 <= end) {
		store_four(a + at, x);
		return;
	}
	for (int i = 0; i < 4; i++)
		if (at + i >= begin && at + i < end)
			a[at + i] = from_float<element>(x.v[i]);
}

#endif
