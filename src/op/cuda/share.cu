/* share on the GPU: a thread does an expert of a group. Bytes: scores twice or thrice each way, by rows. */
extern "C" {
#include "op/share.h"
}
#include "op/cuda/moe.cuh"

namespace {

struct share_run {
	rows<const float> logit, s, ds;
	rows<float> to;
	by_token<const int> mask;	/* at NULL: absent */
	long columns, members, T;
	int E;
	float scale;
	bool add;
};

/* The thread's expert and the first token of its group; false: it has none. */
__device__ __forceinline__ bool column_of(const share_run &r, int *e, long *first)
{
	long i = (long)blockIdx.x * ROW_THREADS + threadIdx.x, g = i / r.E;

	*e = (int)(i % r.E);
	*first = g / r.T * r.members * r.T + g % r.T;
	return i < r.columns;
}

__device__ __forceinline__ bool is_there(const share_run &r, long t)
{
	return !r.mask.at || r.mask[t] >= 0;
}

__global__ void share(share_run r)
{
	float most = -INFINITY, sum = 0;
	long first;
	int e;

	if (!column_of(r, &e, &first))
		return;
	long end = first + r.members * r.T;
	for (long t = first; t < end; t += r.T)
		most = is_there(r, t) ? fmaxf(most, r.logit[t][e] * r.scale) : most;
	for (long t = first; t < end; t += r.T)
		sum += is_there(r, t) ? expf(r.logit[t][e] * r.scale - most) : 0;
	for (long t = first; t < end; t += r.T)
		r.to[t][e] = is_there(r, t) ? expf(r.logit[t][e] * r.scale - most) / sum : 0;
}

__global__ void share_backward(share_run r)
{
	float mean = 0;
	long first;
	int e;

	if (!column_of(r, &e, &first))
		return;
	long end = first + r.members * r.T;
	for (long t = first; t < end; t += r.T)
		mean += r.s[t][e] * r.ds[t][e];
	for (long t = first; t < end; t += r.T) {
		float d = r.s[t][e] * (r.ds[t][e] - mean) * r.scale;
		r.to[t][e] = d + (r.add ? r.to[t][e] : 0);
	}
}

share_run run_of(const struct op_run *r, const struct tensor *any, const struct tensor *to)
{
	const struct share_attr *attr = (const struct share_attr *)r->attr;
	share_run run = {};

	run.logit = rows_of<const float>(r->in[SHARE_LOGIT_BTE]);
	run.s = rows_of<const float>(r->out[SHARE_S_BTE]);
	run.ds = rows_of<const float>(r->d_out[SHARE_S_BTE]);
	run.to = rows_of<float>(to);
	run.mask = by_token_of<const int>(r->in[SHARE_MASK_BT]);
	run.members = attr->members;
	run.columns = tensor_size(any) / attr->members;
	run.T = any->dims[1];
	run.E = (int)tensor_width(any);
	run.scale = (float)(1 / attr->temperature);
	run.add = op_adds(r, SHARE_LOGIT_BTE);
	return run;
}

}  // namespace

extern "C" void share_forward_cuda(const struct op_run *r)
{
	share_run run = run_of(r, r->out[SHARE_S_BTE], r->out[SHARE_S_BTE]);

	launch(r, share, dim3((unsigned)ceil_div(run.columns, ROW_THREADS)), ROW_THREADS, 0, run);
}

extern "C" void share_backward_cuda(const struct op_run *r)
{
	share_run run = run_of(r, r->out[SHARE_S_BTE], r->d_in[SHARE_LOGIT_BTE]);

	launch(r, share_backward, dim3((unsigned)ceil_div(run.columns, ROW_THREADS)), ROW_THREADS, 0, run);
}
