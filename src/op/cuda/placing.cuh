/*
 * What route and place share: choices, counted by units of a warp and by group, get their rows in the
 * buffer sorted by expert (op/place.h).
 */
#ifndef OP_CUDA_PLACING_CUH
#define OP_CUDA_PLACING_CUH

extern "C" {
#include "op/place.h"
}
#include "op/cuda/moe.cuh"

namespace {

struct placing {
	long groups;
	int E, capacity;	/* choices an expert takes of a group */
	long stride;		/* rows of a segment, 0: as many as it needs */
	int *count_GE;		/* choices that name an expert, before dropping */
	int *start_EG;		/* row of rank 0, counted from FIRST */
	int *first, *count_E;
};

/* Counts of n units become the numbers before them; returns the number of all. */
__device__ __forceinline__ int rank_units(int *at, long n)
{
	int lane = threadIdx.x % WARP_LANES, total = 0;

	for (long u0 = lane; u0 - lane < n; u0 += AHEAD * WARP_LANES) {
		int count[AHEAD], running[AHEAD];
		#pragma unroll
		for (int k = 0; k < AHEAD; k++)
			count[k] = u0 + k * WARP_LANES < n ? at[u0 + k * WARP_LANES] : 0;
		#pragma unroll
		for (int k = 0; k < AHEAD; k++)
			running[k] = warp_running_sum(count[k]);
		#pragma unroll
		for (int k = 0; k < AHEAD; k++) {
			if (u0 + k * WARP_LANES < n)
				at[u0 + k * WARP_LANES] = total + running[k] - count[k];
			total += __shfl_sync(0xffffffffu, running[k], WARP_LANES - 1);
		}
	}
	return total;
}

/* Starts of the groups within the segment of an expert, by a warp; the rows it has in all, and the
   choices that wanted it. */
__device__ __forceinline__ int2 settle_expert(const placing &p, int e)
{
	int lane = threadIdx.x % WARP_LANES, rows = 0, wanted = 0;

	for (long g0 = 0; g0 < p.groups; g0 += WARP_LANES) {
		long g = g0 + lane;
		int count = g < p.groups ? p.count_GE[g * p.E + e] : 0;
		int kept = min(count, p.capacity), running = warp_running_sum(kept);
		if (g < p.groups)
			p.start_EG[e * p.groups + g] = rows + running - kept;
		rows += __shfl_sync(0xffffffffu, running, WARP_LANES - 1);
		wanted += __shfl_sync(0xffffffffu, warp_running_sum(count), WARP_LANES - 1);
	}
	return {rows, wanted};
}

/* FIRST and COUNT from the rows of all experts, by one warp. */
__device__ __forceinline__ void settle_segments(const placing &p, const int *rows_E)
{
	int lane = threadIdx.x, at = 0;

	for (int e0 = 0; e0 < p.E; e0 += WARP_LANES) {
		int e = e0 + lane, rows = e < p.E ? rows_E[e] : 0;
		int length = p.stride ? (int)p.stride
					: (rows + PLACE_ROUND - 1) / PLACE_ROUND * PLACE_ROUND;
		length = e < p.E ? length : 0;
		int running = warp_running_sum(length);
		if (e < p.E) {
			p.first[e] = at + running - length;
			p.count_E[e] = rows;
		}
		at += __shfl_sync(0xffffffffu, running, WARP_LANES - 1);
	}
	if (lane == 0)
		p.first[p.E] = at;
}

}  // namespace

#endif
