/* extend_start: a thread has one place. */
extern "C" {
#include "op/document_start.h"
#include "op/extend_start.h"
}
#include "op/cuda/kit.cuh"

enum { THREADS = 256 };

__global__ void extend_start_kernel(rows<int> y, rows<const int> start, int n, int S, extend_places places)
{
	int s = (int)blockIdx.x * THREADS + (int)threadIdx.x, b = (int)blockIdx.y;

	if (s >= S)
		return;
	int of = s < n ? -1 : start[b][s - n] == NOT_THERE ? s : n + start[b][s - n];
	if (places == EXTEND_SEEN)
		of = max(0, of);
	else if (places == EXTEND_HELD && of < n)
		of = -1;
	y[b][s] = of;
}

extern "C" void extend_start_forward_cuda(const struct op_run *r)
{
	const struct tensor *y = r->out[EXTEND_START_Y_BS];
	const struct extend_start_attr *attr = (const struct extend_start_attr *)r->attr;
	int S = (int)tensor_width(y);

	launch(r, extend_start_kernel, dim3((unsigned)ceil_div(S, THREADS), (unsigned)tensor_rows(y)), THREADS, 0,
		rows_of<int>(y), rows_of<const int>(r->in[EXTEND_START_BT]), (int)attr->n, S, attr->places);
}
