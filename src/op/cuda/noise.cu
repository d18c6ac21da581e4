/* noise on the GPU: a thread draws for a token and an expert. Bytes: logits once each way. */
extern "C" {
#include "op/noise_rule.h"
}
#include "op/cuda/moe.cuh"

namespace {

struct noise_run {
	noise_attr attr;
	const step_state *state;
	rows<const float> logit, width, dy;	/* width.at NULL: absent */
	rows<float> y, dlogit, dwidth;		/* at NULL: not wanted */
	long n;
	int E;
	bool add_logit, add_width;
};

/* The token and expert of this thread; false: there is none. */
__device__ __forceinline__ bool place_of(const noise_run &r, long *t, int *e)
{
	long i = (long)blockIdx.x * ROW_THREADS + threadIdx.x;

	*t = i / r.E;
	*e = (int)(i % r.E);
	return *t < r.n;
}

__device__ __forceinline__ double draw(const noise_run &r, long t, int e)
{
	return noise_draw(&r.attr, r.state, (r.state->micro * r.n + t) * r.E + e);
}

__global__ void add_noise(noise_run r)
{
	long t;
	int e;

	if (!place_of(r, &t, &e))
		return;
	double sigma = noise_sigma(&r.attr, r.width.at ? r.width[t] + e : NULL);
	r.y[t][e] = (float)(r.logit[t][e] + sigma * draw(r, t, e));
}

__global__ void make_gradients(noise_run r)
{
	long t;
	int e;

	if (!place_of(r, &t, &e))
		return;
	float d = r.dy[t][e];
	if (r.dwidth.at) {
		double by = draw(r, t, e) * noise_slope(&r.attr, r.width[t][e]);
		r.dwidth[t][e] = (float)(by * d) + (r.add_width ? r.dwidth[t][e] : 0);
	}
	if (r.dlogit.at)
		r.dlogit[t][e] = d + (r.add_logit ? r.dlogit[t][e] : 0);
}

noise_run run_of(const struct op_run *r, const struct tensor *y)
{
	noise_run n = {};

	n.attr = *(const struct noise_attr *)r->attr;
	n.state = r->state;
	n.logit = rows_of<const float>(r->in[NOISE_LOGIT_BTE]);
	n.width = rows_of<const float>(r->in[NOISE_WIDTH_BTE]);
	n.dy = rows_of<const float>(r->d_out[NOISE_Y_BTE]);
	n.y = rows_of<float>(r->out[NOISE_Y_BTE]);
	n.dlogit = rows_of<float>(r->d_in[NOISE_LOGIT_BTE]);
	n.dwidth = rows_of<float>(r->d_in[NOISE_WIDTH_BTE]);
	n.n = tensor_rows(y);
	n.E = (int)tensor_width(y);
	n.add_logit = op_adds(r, NOISE_LOGIT_BTE);
	n.add_width = op_adds(r, NOISE_WIDTH_BTE);
	return n;
}

dim3 grid_of(const noise_run &n)
{
	return dim3((unsigned)ceil_div(n.n * n.E, ROW_THREADS));
}

}  // namespace

extern "C" void noise_forward_cuda(const struct op_run *r)
{
	noise_run n = run_of(r, r->out[NOISE_Y_BTE]);

	launch(r, add_noise, grid_of(n), ROW_THREADS, 0, n);
}

extern "C" void noise_backward_cuda(const struct op_run *r)
{
	noise_run n = run_of(r, r->d_out[NOISE_Y_BTE]);

	launch(r, make_gradients, grid_of(n), ROW_THREADS, 0, n);
}
