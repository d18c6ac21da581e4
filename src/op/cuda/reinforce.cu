/*
 * reinforce on the GPU. Forward, in two launches: a warp sums 512 tokens, one warp adds these sums up, in
 * float64. Backward a warp does a token.
 */
extern "C" {
#include "op/reinforce.h"
}
#include "op/cuda/moe.cuh"

namespace {

enum { PART_TOKENS = 512 };

struct policy_run {
	rows<const float> s;
	by_token<const int> expert, mask;	/* mask.at NULL: absent */
	by_token<const float> nll;
	const float *baseline, *dloss;
	float *sum_P, *n_P, *share, *loss;
	rows<float> ds;
	long n, parts;
	int E;
	bool add;
};

/* The expert of token t; -1: the token does not count. */
__device__ __forceinline__ int expert_of(const policy_run &p, long t)
{
	return p.mask.at && p.mask[t] < 0 ? -1 : p.expert[t];
}

__global__ void sum_parts(policy_run p)
{
	long part = row_of_warp();
	float sum = 0, n = 0;

	if (part >= p.parts)
		return;
	for (long t = part * PART_TOKENS + threadIdx.x % WARP_LANES; t < (part + 1) * PART_TOKENS && t < p.n;
		t += WARP_LANES) {
		int e = expert_of(p, t);
		if (e < 0)
			continue;
		sum += (p.nll[t] - *p.baseline) * logf(fmaxf(p.s[t][e], REINFORCE_TINY));
		n++;
	}
	sum = warp_sum(sum);
	n = warp_sum(n);
	if (threadIdx.x % WARP_LANES == 0) {
		p.sum_P[part] = sum;
		p.n_P[part] = n;
	}
}

/* One warp. */
__global__ void settle(policy_run p)
{
	double sum = sum_units(p.sum_P, p.parts), n = sum_units(p.n_P, p.parts);

	if (threadIdx.x == 0) {
		*p.share = n > 0 ? (float)(1 / n) : 0;
		*p.loss = n > 0 ? (float)(sum / n) : 0;
	}
}

__global__ void make_ds(policy_run p)
{
	long t = row_of_warp();

	if (t >= p.n)
		return;
	int own = expert_of(p, t);
	float d = own < 0 ? 0 : *p.dloss * *p.share * (p.nll[t] - *p.baseline);
	for (int e = threadIdx.x % WARP_LANES; e < p.E; e += WARP_LANES)
		p.ds[t][e] = (e == own ? d / fmaxf(p.s[t][e], REINFORCE_TINY) : 0) + (p.add ? p.ds[t][e] : 0);
}

policy_run run_of(const struct op_run *r)
{
	const struct tensor *s = r->in[REINFORCE_S_BTE];
	policy_run p = {};

	p.s = rows_of<const float>(s);
	p.expert = by_token_of<const int>(r->in[REINFORCE_EXPERT_BTK]);
	p.mask = by_token_of<const int>(r->in[REINFORCE_MASK_BT]);
	p.nll = by_token_of<const float>(r->in[REINFORCE_NLL_BT]);
	p.baseline = (const float *)r->in[REINFORCE_BASELINE]->at;
	p.dloss = floats_of(r->d_out[REINFORCE_LOSS]);
	p.share = (float *)r->saved[REINFORCE_SHARE]->at;
	p.loss = floats_of(r->out[REINFORCE_LOSS]);
	p.ds = rows_of<float>(r->d_in[REINFORCE_S_BTE]);
	p.n = tensor_rows(s);
	p.parts = ceil_div(p.n, PART_TOKENS);
	p.sum_P = (float *)r->workspace;
	p.n_P = p.sum_P + p.parts;
	p.E = (int)tensor_width(s);
	p.add = op_adds(r, REINFORCE_S_BTE);
	return p;
}

}  // namespace

extern "C" void reinforce_room_cuda(struct op_shapes *s)
{
	s->forward_workspace = 2 * (size_t)ceil_div(tensor_rows(s->in[REINFORCE_S_BTE]), PART_TOKENS) *
		sizeof(float);
}

extern "C" void reinforce_forward_cuda(const struct op_run *r)
{
	policy_run p = run_of(r);

	launch(r, sum_parts, grid_of_rows(p.parts), ROW_THREADS, 0, p);
	launch(r, settle, dim3(1), WARP_LANES, 0, p);
}

extern "C" void reinforce_backward_cuda(const struct op_run *r)
{
	policy_run p = run_of(r);

	launch(r, make_ds, grid_of_rows(p.n), ROW_THREADS, 0, p);
}
