/* choose on the GPU: a warp does a token, and goes over its scores once a choice. */
extern "C" {
#include "op/choose.h"
}
#include "op/cuda/candidate.cuh"
#include "op/cuda/moe.cuh"

namespace {

/* The best expert behind `last`, by a warp; last.expert -1: of all. */
__device__ __forceinline__ candidate next_best(const float *s, const float *bias, int E,
	const candidate &last)
{
	candidate best = {0, INT_MAX};

	for (int e = threadIdx.x % WARP_LANES; e < E; e += WARP_LANES) {
		candidate c = {s[e] + (bias ? bias[e] : 0), e};
		bool behind = last.expert < 0 ? c.score == c.score : better(last, c);
		if (behind && better(c, best))
			best = c;
	}
	return best_of_warp(best);
}

__global__ void choose(rows<const float> s, const float *bias, const float *cut,
	by_token<const int> mask, rows<int> expert, long n, int E, struct choose_attr attr)
{
	long t = row_of_warp();
	float top_p = (float)attr.top_p, sum = 0;
	candidate c = {0, -1};

	if (t >= n)
		return;
	bool there = !mask.at || mask[t] >= 0;
	for (int k = 0; k < attr.k; k++) {
		there = there && (top_p == 0 || sum <= top_p);
		if (there)
			c = next_best(s[t], bias, E, c);
		there = there && c.expert != INT_MAX;
		bool taken = there && !(cut && s[t][c.expert] < cut[c.expert]);
		sum += there ? s[t][c.expert] : 0;
		if (threadIdx.x % WARP_LANES == 0)
			expert[t][k] = taken ? c.expert : -1;
	}
}

}  // namespace

extern "C" void choose_forward_cuda(const struct op_run *r)
{
	const struct tensor *s = r->in[CHOOSE_S_BTE], *bias = r->in[CHOOSE_BIAS_E],
		*cut = r->in[CHOOSE_CUT_E], *expert = r->out[CHOOSE_EXPERT_BTK];

	launch(r, choose, grid_of_rows(tensor_rows(s)), ROW_THREADS, 0, rows_of<const float>(s),
		bias ? (const float *)bias->at : (const float *)NULL,
		cut ? (const float *)cut->at : (const float *)NULL,
		by_token_of<const int>(r->in[CHOOSE_MASK_BT]), rows_of<int>(expert), tensor_rows(s),
		(int)tensor_width(s), *(const struct choose_attr *)r->attr);
}
