/* assign on the GPU: a warp does a token. */
extern "C" {
#include "op/assign_rule.h"
}
#include "op/cuda/moe.cuh"

namespace {

__global__ void assign(struct assign_attr attr, by_token<const int> token, by_token<const int> mask,
	by_token<const int> start, rows<int> expert, rows<float> s, long n)
{
	long t = row_of_warp();
	int lane = threadIdx.x % WARP_LANES, E = (int)attr.n_experts, K = (int)attr.k;

	if (t >= n)
		return;
	bool there = !mask.at || mask[t] >= 0;
	int place = (int)(t % token.width) - (start.at ? start[t] : 0);
	struct assign_walk w = assign_walk(&attr, attr.by_place ? place : token[t]);
	for (int e = lane; e < E; e += WARP_LANES) {
		bool chosen = false;
		for (int k = 0; k < K; k++)
			chosen |= assign_expert(&attr, &w, k) == e;
		s[t][e] = chosen ? 1.0f / K : 0;
	}
	for (int k = lane; k < K; k += WARP_LANES)
		expert[t][k] = there ? assign_expert(&attr, &w, k) : -1;
}

}  // namespace

extern "C" void assign_forward_cuda(const struct op_run *r)
{
	const struct tensor *token = r->in[ASSIGN_TOKEN_BT];

	launch(r, assign, grid_of_rows(tensor_size(token)), ROW_THREADS, 0,
		*(const struct assign_attr *)r->attr, by_token_of<const int>(token),
		by_token_of<const int>(r->in[ASSIGN_MASK_BT]), by_token_of<const int>(r->in[ASSIGN_START_BT]),
		rows_of<int>(r->out[ASSIGN_EXPERT_BTK]), rows_of<float>(r->out[ASSIGN_S_BTE]),
		tensor_size(token));
}
