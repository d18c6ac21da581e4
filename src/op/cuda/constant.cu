extern "C" {
#include "op/constant.h"
}
#include "op/cuda/kit.cuh"

enum { THREADS = 256 };

template <typename element>
__global__ void fill_rows(rows<element> y, long width, long n, element value)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x;

	if (i < n)
		y[i / width][i % width] = value;
}

template <typename element>
static void fill(const struct op_run *r, const struct tensor *y, element value)
{
	long n = tensor_size(y);

	launch(r, fill_rows<element>, dim3((unsigned)ceil_div(n, THREADS)), THREADS, 0,
		rows_of<element>(y), tensor_width(y), n, value);
}

/* The seed of a loss is of kind MASTER, a cleared gradient of its tensor's kind. */
extern "C" void constant_forward_cuda(const struct op_run *r)
{
	const struct constant_attr *attr = (const struct constant_attr *)r->attr;
	const struct tensor *y = r->out[CONSTANT_Y];
	float value = (float)attr->value;

	if (r->device->bytes[y->kind] == sizeof(float))
		fill<float>(r, y, value);
	else
		fill<bf16>(r, y, __float2bfloat16(value));
}
