/* merge on the GPU (mixing.cuh). */
#include "op/cuda/mixing.cuh"

extern "C" void merge_forward_cuda(const struct op_run *r)
{
	mixing_merge(r, r->in[MERGE_X_BTD], r->in[MERGE_S_BTE], r->out[MERGE_XE_EGD],
		(int *)r->out[MERGE_FIRST_E1]->at, false);
}

extern "C" void merge_backward_cuda(const struct op_run *r)
{
	const struct tensor *dxe = r->d_out[MERGE_XE_EGD];

	if (r->d_in[MERGE_X_BTD])
		mixing_emit(r, dxe, r->in[MERGE_S_BTE], r->d_in[MERGE_X_BTD], op_adds(r, MERGE_X_BTD));
	if (r->d_in[MERGE_S_BTE])
		mixing_dots(r, r->in[MERGE_X_BTD], dxe, r->d_in[MERGE_S_BTE], op_adds(r, MERGE_S_BTE));
}
