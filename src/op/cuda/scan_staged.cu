/*
 * The scan of device cuda_scan: host tensors are copied to the GPU, the kernels of cuda_f32 run
 * there, results come back. Backward runs forward once more rather than copy what it keeps to and
 * fro.
 */
#include "op/cuda/kit.cuh"

extern "C" {
#include "op/scan.h"
#include "tensor/device.h"
}
#include "op/scan_kernels.h"

namespace {

/* A host tensor and its place on the GPU. */
struct staged {
	const tensor *host;
	tensor *gpu;
	bool in, out;		/* copied before, after */
};

/* The operator as it runs on the GPU, and what of it is copied. */
struct staging {
	struct queue queue;
	struct op_run run;
	struct op_shapes shapes;
	tensor tensors[2 * SCAN_N_IN + 2 + SCAN_N_SAVED];
	staged list[2 * SCAN_N_IN + 2 + SCAN_N_SAVED];
	int n;
};

/* A tensor on the GPU like t; without `in` and `out` nothing is copied, and the host has none. */
const tensor *stage(staging &g, const tensor *t, bool in, bool out)
{
	tensor *gpu = &g.tensors[g.n];

	if (!t || !t->n_dims)
		return NULL;
	*gpu = *t;
	gpu->ld = tensor_width(t);
	g.list[g.n++] = {t, gpu, in, out};
	return gpu;
}

void stage_run(staging &g, const op_run *r)
{
	const struct device *device = &device_list[CUDA_F32];

	g.run = *r;
	g.run.device = device;
	g.run.queue = &g.queue;
	g.shapes.device = device;
	g.shapes.training = r->d_out[SCAN_Y_BTI];
	for (int i = 0; i < SCAN_N_IN; i++)
		g.run.in[i] = g.shapes.in[i] = stage(g, r->in[i], true, false);
	op_infer(&op_scan, &g.shapes);
	for (int i = 0; i < SCAN_N_SAVED; i++)
		g.run.saved[i] = stage(g, &g.shapes.saved[i], false, false);
}

size_t bytes_of(const tensor *t)
{
	return ((size_t)tensor_size(t) * device_list[CUDA_F32].bytes[t->kind] + 255) / 256 * 256;
}

/* Gives every staged tensor and the workspace their places. */
void place(staging &g)
{
	size_t forward = g.shapes.forward_workspace, backward = g.shapes.backward_workspace;
	size_t bytes = forward > backward ? forward : backward;
	char *at;

	for (int k = 0; k < g.n; k++)
		bytes += bytes_of(g.list[k].gpu);
	at = (char *)cuda_scratch(bytes);
	for (int k = 0; k < g.n; k++) {
		g.list[k].gpu->at = at;
		at += bytes_of(g.list[k].gpu);
	}
	g.run.workspace = at;
}

void copy(const staging &g, bool to_gpu)
{
	for (int k = 0; k < g.n; k++) {
		const staged &x = g.list[k];
		size_t rows = (size_t)tensor_rows(x.host);
		size_t width = (size_t)x.gpu->ld * sizeof(float);	/* as wide as an int */
		size_t gap = (size_t)x.host->ld * sizeof(float);
		if (to_gpu && x.in)
			cuda_check(cudaMemcpy2D(x.gpu->at, width, x.host->at, gap, width, rows,
				cudaMemcpyHostToDevice), "scan: copy to the GPU");
		if (!to_gpu && x.out)
			cuda_check(cudaMemcpy2D(x.host->at, gap, x.gpu->at, width, width, rows,
				cudaMemcpyDeviceToHost), "scan: copy from the GPU");
	}
}

}  // namespace

void scan_forward_cuda_scan(const struct op_run *r)
{
	staging g = {};

	stage_run(g, r);
	g.run.out[SCAN_Y_BTI] = stage(g, r->out[SCAN_Y_BTI], false, true);
	place(g);
	copy(g, true);
	scan_forward_cuda(&g.run);
	copy(g, false);
}

void scan_backward_cuda_scan(const struct op_run *r)
{
	staging g = {};

	stage_run(g, r);
	g.run.out[SCAN_Y_BTI] = stage(g, &g.shapes.out[SCAN_Y_BTI], false, false);
	g.run.d_out[SCAN_Y_BTI] = stage(g, r->d_out[SCAN_Y_BTI], true, false);
	for (int i = 0; i < SCAN_N_IN; i++)
		g.run.d_in[i] = stage(g, r->d_in[i], op_adds(r, i), true);
	place(g);
	copy(g, true);
	scan_forward_cuda(&g.run);	/* for what backward reads */
	scan_backward_cuda(&g.run);
	copy(g, false);
}
