/* gate on the GPU: forward a thread does a token, backward a warp, each lane every so many-th expert. */
extern "C" {
#include "op/gate.h"
}
#include "op/cuda/moe.cuh"

namespace {

struct gate_run {
	rows<const float> s, a;
	rows<const int> expert, slot;
	rows<float> gate, ds;
	long n;
	int E, K;
	enum gate_rule rule;
	float scale;
	bool add;
};

/* r / Z of token t where weights are normalised, else r. */
__device__ __forceinline__ float token_scale(const gate_run &g, long t)
{
	float z = (float)GATE_TINY;

	if (g.rule != GATE_RENORM)
		return g.scale;
	for (int k = 0; k < g.K; k++)
		z += g.expert[t][k] < 0 ? 0 : g.s[t][g.expert[t][k]];
	return g.scale / z;
}

__global__ void weigh(gate_run g)
{
	long t = (long)blockIdx.x * ROW_THREADS + threadIdx.x;

	if (t >= g.n)
		return;
	float scale = token_scale(g, t);
	bool by_score = g.rule == GATE_RAW || g.rule == GATE_RENORM;
	for (int k = 0; k < g.K; k++) {
		float w = g.slot[t][k] < 0 ? 0 : scale;
		g.gate[t][k] = w != 0 && by_score ? w * g.s[t][g.expert[t][k]] : w;
	}
}

__global__ void weigh_backward(gate_run g)
{
	long t = row_of_warp();
	float mean = 0;

	if (t >= g.n)
		return;
	float scale = token_scale(g, t);
	for (int k = 0; k < g.K && g.rule == GATE_RENORM; k++)
		mean += g.slot[t][k] < 0 ? 0 : g.s[t][g.expert[t][k]] * scale * g.a[t][k];
	mean *= scale / g.scale;
	for (int e = threadIdx.x % WARP_LANES; e < g.E; e += WARP_LANES) {
		float d = g.add ? g.ds[t][e] : 0;
		for (int k = 0; k < g.K && g.rule != GATE_ONE; k++)
			if (g.expert[t][k] == e)
				d += (g.slot[t][k] < 0 ? 0 : scale * g.a[t][k]) - mean;
		g.ds[t][e] = d;
	}
}

gate_run run_of(const struct op_run *r)
{
	const struct gate_attr *attr = (const struct gate_attr *)r->attr;
	const struct tensor *s = r->in[GATE_S_BTE], *expert = r->in[GATE_EXPERT_BTK];
	gate_run g = {};

	g.s = rows_of<const float>(s);
	g.a = rows_of<const float>(r->d_out[GATE_GATE_BTK]);
	g.expert = rows_of<const int>(expert);
	g.slot = rows_of<const int>(r->in[GATE_SLOT_BTK]);
	g.gate = rows_of<float>(r->out[GATE_GATE_BTK]);
	g.ds = rows_of<float>(r->d_in[GATE_S_BTE]);
	g.n = tensor_rows(s);
	g.E = (int)tensor_width(s);
	g.K = (int)tensor_width(expert);
	g.rule = attr->rule;
	g.scale = (float)attr->scale;
	g.add = op_adds(r, GATE_S_BTE);
	return g;
}

}  // namespace

extern "C" void gate_forward_cuda(const struct op_run *r)
{
	gate_run g = run_of(r);

	launch(r, weigh, dim3((unsigned)ceil_div(g.n, ROW_THREADS)), ROW_THREADS, 0, g);
}

extern "C" void gate_backward_cuda(const struct op_run *r)
{
	gate_run g = run_of(r);

	launch(r, weigh_backward, grid_of_rows(g.n), ROW_THREADS, 0, g);
}
