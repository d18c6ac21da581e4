/* emit on the GPU (mixing.cuh). */
extern "C" {
#include "op/emit.h"
}
#include "op/cuda/mixing.cuh"

extern "C" void emit_forward_cuda(const struct op_run *r)
{
	mixing_emit(r, r->in[EMIT_YE_EGO], r->in[EMIT_S_BTE], r->out[EMIT_Y_BTO], false);
}

extern "C" void emit_backward_cuda(const struct op_run *r)
{
	const struct tensor *dy = r->d_out[EMIT_Y_BTO];

	if (r->d_in[EMIT_YE_EGO])
		mixing_merge(r, dy, r->in[EMIT_S_BTE], r->d_in[EMIT_YE_EGO], NULL, op_adds(r, EMIT_YE_EGO));
	if (r->d_in[EMIT_S_BTE])
		mixing_dots(r, dy, r->in[EMIT_YE_EGO], r->d_in[EMIT_S_BTE], op_adds(r, EMIT_S_BTE));
}
