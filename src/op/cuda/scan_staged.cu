/*
 * The scan of device cuda_scan: host tensors are copied to the GPU, the kernels run, results come
 * back. Backward runs forward once more on the GPU rather than copy its states to and fro.
 */
#include <cuda_runtime.h>

#include "op/cuda/scan_cuda.h"

extern "C" {
#include "op/cuda/cuda.h"
#include "op/scan.h"
#include "op/scan_kernels.h"
}

namespace {

/* A host tensor and its place on the GPU. */
struct staged {
	const tensor *host;
	scan_rows *rows;
	bool in, out;		/* copied before, after */
};

struct staging {
	scan_cuda scan;
	staged list[2 * SCAN_N_IN + 1];
	int n;
	size_t bytes;
};

void stage(staging &g, const tensor *host, scan_rows *rows, bool in, bool out)
{
	if (!host)
		return;
	rows->ld = tensor_width(host);
	rows->add = in && out;
	g.list[g.n++] = {host, rows, in, out};
}

void stage_inputs(staging &g, const op_run *r)
{
	scan_cuda &s = g.scan;
	struct scan_dims d = scan_dims(r->in);
	scan_rows *rows[SCAN_N_IN] = {&s.u, &s.dtraw, &s.a_log, &s.b, &s.c, &s.d, &s.dt_bias, &s.z};

	s.B = (int)d.B;
	s.T = (int)d.T;
	s.I = (int)d.I;
	s.N = (int)d.N;
	for (int i = 0; i < SCAN_N_IN; i++)
		stage(g, r->in[i], rows[i], true, false);
}

void stage_gradients(staging &g, const op_run *r)
{
	scan_cuda &s = g.scan;
	scan_rows *rows[SCAN_N_IN] = {&s.du, &s.ddtraw, &s.da_log, &s.db, &s.dc, &s.dd, &s.ddt_bias,
		&s.dz};

	stage(g, r->d_out[SCAN_Y_BTI], &s.dy, true, false);
	for (int i = 0; i < SCAN_N_IN; i++)
		stage(g, r->d_in[i], rows[i], op_adds(r, i), true);
}

size_t rounded(size_t bytes)
{
	return (bytes + 255) / 256 * 256;
}

/* Gives every staged tensor its place, and returns the one behind them with `more` bytes. */
char *place(staging &g, size_t more)
{
	size_t bytes = rounded(more);
	char *at;

	for (int k = 0; k < g.n; k++)
		bytes += rounded((size_t)tensor_size(g.list[k].host) * sizeof(float));
	at = (char *)cuda_scratch(bytes);
	for (int k = 0; k < g.n; k++) {
		g.list[k].rows->at = (float *)at;
		at += rounded((size_t)tensor_size(g.list[k].host) * sizeof(float));
	}
	return at;
}

void copy(const staging &g, bool to_gpu)
{
	for (int k = 0; k < g.n; k++) {
		const staged &x = g.list[k];
		size_t rows = (size_t)tensor_rows(x.host);
		size_t width = (size_t)x.rows->ld * sizeof(float);
		size_t gap = (size_t)x.host->ld * sizeof(float);
		if (to_gpu && x.in)
			cuda_check(cudaMemcpy2D(x.rows->at, width, x.host->at, gap, width, rows,
				cudaMemcpyHostToDevice), "scan: copy to the GPU");
		if (!to_gpu && x.out)
			cuda_check(cudaMemcpy2D(x.host->at, gap, x.rows->at, width, width, rows,
				cudaMemcpyDeviceToHost), "scan: copy from the GPU");
	}
}

}  // namespace

void scan_forward_cuda_scan(const struct op_run *r)
{
	staging g = {};

	stage_inputs(g, r);
	stage(g, r->out[SCAN_Y_BTI], &g.scan.y, false, true);
	place(g, 0);
	copy(g, true);
	scan_cuda_forward(&g.scan, NULL);
	copy(g, false);
}

void scan_backward_cuda_scan(const struct op_run *r)
{
	staging g = {};
	scan_cuda &s = g.scan;
	size_t states, ungated;
	char *behind;

	stage_inputs(g, r);
	stage_gradients(g, r);
	states = rounded(scan_cuda_states(&s));
	ungated = r->in[SCAN_Z_BTI] ? rounded((size_t)s.B * s.T * s.I * sizeof(float)) : 0;
	behind = place(g, states + ungated + scan_cuda_workspace(&s));
	s.states = (float *)behind;
	s.ungated = {ungated ? (float *)(behind + states) : NULL, s.I, false};
	s.workspace = (float *)(behind + states + ungated);
	copy(g, true);
	scan_cuda_forward(&s, NULL);	/* for what backward reads: y has no place */
	scan_cuda_backward(&s, NULL);
	copy(g, false);
}
