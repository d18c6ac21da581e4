/* route on the GPU, forward: what its launches hand on, and the third of them (route_forward.cu). */
#ifndef OP_CUDA_ROUTE_SETTLE_CUH
#define OP_CUDA_ROUTE_SETTLE_CUH

#include "op/cuda/placing.cuh"
#include "op/cuda/route.cuh"

namespace {

enum {
	SETTLE_THREADS = 512,
	SETTLE_WARPS = SETTLE_THREADS / WARP_LANES,
};

/* What the launches hand on; sums over valid tokens. U: units. */
struct route_room {
	int *rank_EU;			/* tokens by argmax; then rank of the first in its group */
	int *start_EG;			/* of placing */
	float *p_EU, *z_U, *entropy_U;
	double *p_GE, *z_G, *entropy_G;
};

struct route_forward {
	route_sizes s;
	route_room room;
	rows<const float> w;
	by_token<const int> mask;	/* at NULL: absent */
	by_token<float> gate;
	by_token<int> slot, expert;
	placing place;
	int *token;
	long S;				/* rows of the buffer */
	float *p_EN, *lse_N, *load_E, *balance, *z, *dropped, *entropy;
	bool logits_shared;		/* in choose() */
	bool logits_made;		/* before it: in p_EN */
};

inline size_t room_bytes(const route_sizes &s)
{
	size_t units = s.tiles * UNITS;

	return (size_t)s.groups * (s.E + 2) * sizeof(double) +
		units * s.E * (sizeof(int) + sizeof(float)) + 2 * units * sizeof(float) +
		(size_t)s.groups * s.E * sizeof(int);
}

inline route_room room_of(const route_sizes &s, void *workspace)
{
	long units = s.tiles * UNITS;
	route_room room;

	room.p_GE = (double *)workspace;
	room.z_G = room.p_GE + s.groups * s.E;
	room.entropy_G = room.z_G + s.groups;
	room.p_EU = (float *)(room.entropy_G + s.groups);
	room.z_U = room.p_EU + units * s.E;
	room.entropy_U = room.z_U + units;
	room.rank_EU = (int *)(room.entropy_U + units);
	room.start_EG = room.rank_EU + units * s.E;
	return room;
}

/* Sums over groups, of those that a warp did; then of all. */
struct group_sums {
	double balance, z, entropy, valid, groups;
};

/* A group's part of the losses, by a warp; in its first lane. */
__device__ __forceinline__ void settle_group(const route_forward &f, long g, group_sums &sums)
{
	double valid = 0, product = 0;

	for (int e = threadIdx.x % WARP_LANES; e < f.s.E; e += WARP_LANES) {
		valid += f.place.count_GE[g * f.s.E + e];
		product += f.place.count_GE[g * f.s.E + e] * f.room.p_GE[g * f.s.E + e];
	}
	valid = warp_sum_f64(valid);
	product = warp_sum_f64(product);
	sums.entropy += f.room.entropy_G[g];
	if (valid > 0) {
		sums.balance += f.s.E * product / (valid * valid);
		sums.z += f.room.z_G[g] / valid;
		sums.valid += valid;
		sums.groups++;
	}
}

__device__ __forceinline__ void settle_metrics(const route_forward &f, const group_sums *of_warp,
	const int *rows_E)
{
	group_sums all = {};
	double kept = 0;

	for (int k = 0; k < SETTLE_WARPS; k++) {
		all.balance += of_warp[k].balance;
		all.z += of_warp[k].z;
		all.entropy += of_warp[k].entropy;
		all.valid += of_warp[k].valid;
		all.groups += of_warp[k].groups;
	}
	for (int e = 0; e < f.s.E; e++)
		kept += rows_E[e];
	*f.balance = (float)(all.balance / fmax(all.groups, 1.0));
	*f.z = (float)(all.z / fmax(all.groups, 1.0));
	*f.entropy = (float)(all.entropy / fmax(all.valid, 1.0));
	f.dropped[0] = (float)(all.valid - kept);
	f.dropped[1] = (float)all.valid;
}

/* One block. Shared: sums of its warps, then rows of the experts and the tokens that wanted
   each. */
__global__ void __launch_bounds__(SETTLE_THREADS) settle(route_forward f)
{
	group_sums *of_warp = shared_memory<group_sums>(), mine = {};
	int *rows_E = (int *)(of_warp + SETTLE_WARPS), *wanted_E = rows_E + f.s.E;
	int warp = threadIdx.x / WARP_LANES, lane = threadIdx.x % WARP_LANES;

	for (int e = warp; e < f.s.E; e += SETTLE_WARPS) {
		int2 n = settle_expert(f.place, e);
		if (lane == 0) {
			rows_E[e] = n.x;
			wanted_E[e] = n.y;
		}
	}
	for (long g = warp; g < f.s.groups; g += SETTLE_WARPS)
		settle_group(f, g, mine);
	if (lane == 0)
		of_warp[warp] = mine;
	__syncthreads();
	if (warp == 0)
		settle_segments(f.place, rows_E);
	else if (threadIdx.x == WARP_LANES)
		settle_metrics(f, of_warp, rows_E);
	double valid = 0;
	for (int k = 0; k < SETTLE_WARPS; k++)
		valid += of_warp[k].valid;
	for (int e = threadIdx.x; e < f.s.E; e += SETTLE_THREADS)
		f.load_E[e] = (float)(wanted_E[e] / fmax(valid, 1.0));
}

}  // namespace

#endif
