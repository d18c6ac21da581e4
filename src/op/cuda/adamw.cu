/* Bytes: 28 an element, and 2 where there is a working copy in bf16. */
extern "C" {
#include "op/adamw.h"
}
#include "op/cuda/segments.cuh"

struct operands {
	float *w, *m, *v;
	const float *g, *norm;
	const struct step_state *state;
	float beta1, rest1, beta2, rest2, eps, decay;
	double clip;
};

/* As every thread needs them in float. */
struct update {
	float clip, lr, scale_m, scale_v;
};

/* Thread 0 does the float64 part; false: the norm is not finite. */
__device__ __forceinline__ bool read_update(const operands &o, update *u)
{
	update *shared = (update *)(shared_memory<double>() + SEGMENT_WARPS);
	double norm = *o.norm;

	if (threadIdx.x == 0) {
		shared->clip = (float)(o.clip > 0 && norm > o.clip ? o.clip / norm : 1);
		shared->lr = (float)o.state->lr;
		shared->scale_m = (float)(1 / o.state->correction1);
		shared->scale_v = (float)(1 / sqrt(o.state->correction2));
	}
	__syncthreads();
	*u = *shared;
	return isfinite(norm);
}

/* Four elements of a piece; adds to the sums of squares of update and weight. */
template <typename real>
__device__ __forceinline__ void update4(const operands &o, const update &u, real *work,
	const piece &p, long at, double (&sum)[2])
{
	four w = load4(o.w, at, p.begin, p.end), m = load4(o.m, at, p.begin, p.end);
	four v = load4(o.v, at, p.begin, p.end), g = load4(o.g, at, p.begin, p.end);
	float decay = p.decay ? o.decay : 0;

	#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (at + i < p.begin || at + i >= p.end)
			continue;
		float grad = g.v[i] * u.clip;
		m.v[i] = o.beta1 * m.v[i] + o.rest1 * grad;
		v.v[i] = o.beta2 * v.v[i] + o.rest2 * grad * grad;
		float adam = m.v[i] * u.scale_m / (sqrtf(v.v[i]) * u.scale_v + o.eps);
		float step = u.lr * (adam + decay * w.v[i]);
		w.v[i] -= step;
		sum[0] += (double)step * step;
		sum[1] += (double)w.v[i] * w.v[i];
	}
	store4(o.w, at, p.begin, p.end, w);
	store4(o.m, at, p.begin, p.end, m);
	store4(o.v, at, p.begin, p.end, v);
	if (work)
		store4(work, at, p.begin, p.end, w);
}

template <typename real>
__global__ void adamw_kernel(__grid_constant__ const segments s, operands o, real *work,
	double *part)
{
	update u;
	bool finite = read_update(o, &u);

	each_piece<2>(s, part, [&](const piece &p, double (&sum)[2]) {
		long at = p.begin / 4 * 4 + threadIdx.x * 4;

		for (; finite && at < p.end; at += SEGMENT_THREADS * 4)
			update4(o, u, work, p, at, sum);
	});
}

static operands operands_of(const struct op_run *r)
{
	const struct adamw_attr *a = (const struct adamw_attr *)r->attr;

	for (int i = ADAMW_W_N; i < ADAMW_N_IN; i++)
		CHECK(i == ADAMW_NORM || !r->in[i] || (size_t)r->in[i]->at % sizeof(float4) == 0);
	return operands{(float *)r->in[ADAMW_W_N]->at, (float *)r->in[ADAMW_M_N]->at,
		(float *)r->in[ADAMW_V_N]->at, (const float *)r->in[ADAMW_G_N]->at,
		(const float *)r->in[ADAMW_NORM]->at, r->state, (float)a->beta1,
		(float)(1 - a->beta1), (float)a->beta2, (float)(1 - a->beta2), (float)a->eps,
		(float)a->weight_decay, a->clip};
}

extern "C" void adamw_forward_cuda(const struct op_run *r)
{
	const struct adamw_attr *attr = (const struct adamw_attr *)r->attr;
	const struct tensor *work = r->in[ADAMW_WORK_N];
	long size = tensor_size(r->in[ADAMW_W_N]);
	double *part = (double *)r->workspace;
	operands o = operands_of(r);

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;

		each_segments(attr->segments, attr->n_segments, attr->n_groups, size,
			[&](const segments &s) {
				launch(r, adamw_kernel<real>, dim3(segment_blocks(s)),
					SEGMENT_THREADS,
					SEGMENT_WARPS * sizeof(double) + sizeof(update), s, o,
					work ? (real *)work->at : (real *)NULL, part);
			});
	});
	sum_segments_cuda(r, part, size, attr->n_groups, r->out[ADAMW_UPDATESQ_G], NULL);
	sum_segments_cuda(r, part + grad_norm_blocks(size) * attr->n_groups, size, attr->n_groups,
		r->out[ADAMW_WEIGHTSQ_G], NULL);
}
