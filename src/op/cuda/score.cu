/* score on the GPU: a warp does a token. Bytes: logits and scores once each way. */
extern "C" {
#include "op/score.h"
}
#include "op/cuda/moe.cuh"

namespace {

/* 1 / temperature; at NULL: it is `scale`. */
__device__ __forceinline__ float scale_of(const float *temperature, float scale)
{
	return temperature ? (float)(1.0 / *temperature) : scale;
}

__global__ void make_scores(rows<const float> logit, rows<float> s, long n, int E, float scale0,
	const float *temperature, bool softmax)
{
	long t = row_of_warp();
	int lane = threadIdx.x % WARP_LANES;
	float most = -INFINITY, sum = 0, scale = scale_of(temperature, scale0);

	if (t >= n)
		return;
	if (!softmax) {
		for (int e = lane; e < E; e += WARP_LANES)
			s[t][e] = 1 / (1 + expf(-logit[t][e] * scale));
		return;
	}
	for (int e = lane; e < E; e += WARP_LANES)
		most = fmaxf(most, logit[t][e] * scale);
	most = warp_max(most);
	for (int e = lane; e < E; e += WARP_LANES) {
		float p = expf(logit[t][e] * scale - most);
		s[t][e] = p;
		sum += p;
	}
	sum = 1 / warp_sum(sum);
	for (int e = lane; e < E; e += WARP_LANES)
		s[t][e] *= sum;
}

__global__ void make_dlogits(rows<const float> s, rows<const float> ds, rows<float> dlogit, long n,
	int E, float scale0, const float *temperature, bool softmax, bool add)
{
	long t = row_of_warp();
	int lane = threadIdx.x % WARP_LANES;
	float mean = 0, scale = scale_of(temperature, scale0);

	if (t >= n)
		return;
	for (int e = lane; softmax && e < E; e += WARP_LANES)
		mean += s[t][e] * ds[t][e];
	mean = warp_sum(mean);
	for (int e = lane; e < E; e += WARP_LANES) {
		float p = s[t][e], d = softmax ? p * (ds[t][e] - mean) : p * (1 - p) * ds[t][e];
		dlogit[t][e] = d * scale + (add ? dlogit[t][e] : 0);
	}
}

}  // namespace

extern "C" void score_forward_cuda(const struct op_run *r)
{
	const struct score_attr *attr = (const struct score_attr *)r->attr;
	const struct tensor *s = r->out[SCORE_S_BTE];

	launch(r, make_scores, grid_of_rows(tensor_rows(s)), ROW_THREADS, 0,
		rows_of<const float>(r->in[SCORE_LOGIT_BTE]), rows_of<float>(s), tensor_rows(s),
		(int)tensor_width(s), (float)(1 / attr->temperature), floats_of(r->in[SCORE_TEMPERATURE]),
		attr->fn == SCORE_SOFTMAX);
}

extern "C" void score_backward_cuda(const struct op_run *r)
{
	const struct score_attr *attr = (const struct score_attr *)r->attr;
	const struct tensor *s = r->out[SCORE_S_BTE];

	launch(r, make_dlogits, grid_of_rows(tensor_rows(s)), ROW_THREADS, 0,
		rows_of<const float>(s), rows_of<const float>(r->d_out[SCORE_S_BTE]),
		rows_of<float>(r->d_in[SCORE_LOGIT_BTE]), tensor_rows(s), (int)tensor_width(s),
		(float)(1 / attr->temperature), floats_of(r->in[SCORE_TEMPERATURE]), attr->fn == SCORE_SOFTMAX,
		op_adds(r, SCORE_LOGIT_BTE));
}
