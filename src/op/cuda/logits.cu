extern "C" {
#include "op/logits.h"
}
#include "op/cuda/gemm.h"

extern "C" void logits_forward_cuda(const struct op_run *r)
{
	const struct tensor *x = r->in[LOGITS_X_BTD], *w = r->in[LOGITS_W_VD];
	const struct tensor *y = r->out[LOGITS_Y_BTV];
	struct gpu_gemm g = gpu_gemm_of(GPU_GEMM_N, GPU_GEMM_T, x, w, y);

	gpu_gemm(r, (struct gpu_gemm_plan *)r->plan, &g, x->at, w->at, NULL, false, y->at,
		r->workspace);
}
