extern "C" {
#include "op/scale.h"
}
#include "op/cuda/kit.cuh"

static __global__ void multiply(const float *x, const float *a, float *y, bool add)
{
	*y = *a * *x + (add ? *y : 0);
}

static void run(const struct op_run *r, const struct tensor *x, const struct tensor *y, bool add)
{
	launch(r, multiply, dim3(1), 1, 0, (const float *)x->at, (const float *)r->in[SCALE_A]->at,
		(float *)y->at, add);
}

extern "C" void scale_forward_cuda(const struct op_run *r)
{
	run(r, r->in[SCALE_X], r->out[SCALE_Y], false);
}

extern "C" void scale_backward_cuda(const struct op_run *r)
{
	run(r, r->d_out[SCALE_Y], r->d_in[SCALE_X], op_adds(r, SCALE_X));
}
