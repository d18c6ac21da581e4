/* Bytes: 4 an element. */
extern "C" {
#include "op/grad_norm.h"
}
#include "op/cuda/segments.cuh"

static __global__ void sum_of_squares(__grid_constant__ const segments s, const float *g,
	double *part)
{
	each_piece<1>(s, part, [&](const piece &p, double(&sum)[1]) {
		#pragma unroll 4
		for (long at = p.begin / 4 * 4 + threadIdx.x * 4; at < p.end;
			at += SEGMENT_THREADS * 4) {
			four x = load4(g, at, p.begin, p.end);
			#pragma unroll
			for (int i = 0; i < 4; i++)
				sum[0] += (double)x.v[i] * x.v[i];
		}
	});
}

static __global__ void norm_of(const double *total, int n_groups, float *norm)
{
	double sum = 0;

	for (int group = 0; group < n_groups; group++)
		sum += total[group];
	*norm = (float)sqrt(sum);
}

extern "C" void grad_norm_forward_cuda(const struct op_run *r)
{
	const struct grad_norm_attr *attr = (const struct grad_norm_attr *)r->attr;
	const struct tensor *g = r->in[GRAD_NORM_G_N];
	long size = tensor_size(g);
	double *part = (double *)r->workspace,
	       *total = part + grad_norm_blocks(size) * attr->n_groups;

	CHECK((size_t)g->at % sizeof(float4) == 0);
	each_segments(attr->segments, attr->n_segments, attr->n_groups, size,
		[&](const segments &s) {
			launch(r, sum_of_squares, dim3(segment_blocks(s)), SEGMENT_THREADS,
				SEGMENT_WARPS * sizeof(double), s, (const float *)g->at, part);
		});
	sum_segments_cuda(r, part, size, attr->n_groups, r->out[GRAD_NORM_SUMSQ_G], total);
	launch(r, norm_of, dim3(1), 1, 0, (const double *)total, attr->n_groups,
		(float *)r->out[GRAD_NORM_NORM]->at);
}
