/* What choose and overflow share: the best of some experts, by a warp. */
#ifndef OP_CUDA_CANDIDATE_CUH
#define OP_CUDA_CANDIDATE_CUH

#include <limits.h>

#include "op/cuda/moe.cuh"

namespace {

/* An expert and its score; none: INT_MAX. */
struct candidate {
	float score;
	int expert;
};

__device__ __forceinline__ bool better(const candidate &a, const candidate &b)
{
	return a.expert != INT_MAX && (b.expert == INT_MAX || a.score > b.score ||
		(a.score == b.score && a.expert < b.expert));
}

/* Of those that the lanes have. */
__device__ __forceinline__ candidate best_of_warp(candidate best)
{
	#pragma unroll
	for (int step = WARP_LANES / 2; step; step /= 2) {
		candidate c = {__shfl_xor_sync(0xffffffffu, best.score, step),
			__shfl_xor_sync(0xffffffffu, best.expert, step)};
		if (better(c, best))
			best = c;
	}
	return best;
}

}  // namespace

#endif
