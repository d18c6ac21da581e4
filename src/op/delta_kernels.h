/* The kernels of delta by device, in files of their own; op/delta.h has the formula. */
#ifndef OP_DELTA_KERNELS_H
#define OP_DELTA_KERNELS_H

#include "op/delta.h"

#ifdef __cplusplus
extern "C" {
#endif

struct delta_dims {
	long B, T, H, K, V;	/* sequences, tokens of each, heads, channels of a key, of a value */
	long Q, n_chunks;	/* tokens of a chunk */
};

struct delta_dims delta_dims(const struct tensor *const *in, const struct delta_attr *attr);

/* What delta, delta_step and delta_carried share; the inputs of the others begin with those of delta. */
void delta_shape(struct op_shapes *s);
void delta_room_ref(struct op_shapes *s);
/* The reference, from the memories [B, H K, V], which end as they are behind the last token; NULL: from 0. */
void delta_forward_from(const struct op_run *r, const struct tensor *S_BKV);
/* Backward where forward began with these, which stay as they are. */
void delta_backward_from(const struct op_run *r, const struct tensor *S_BKV);
void delta_cost(const struct op_shapes *s, struct op_cost *c);

/* Set saved and workspace for the kernels of a device. With an input behind delta's, the memories to begin
   with (op/delta_carried.h), forward begins and ends there. */
void delta_room_cpu(struct op_shapes *s);
void delta_room_cuda(struct op_shapes *s);
op_kernel delta_forward_cpu, delta_backward_cpu;
op_kernel delta_forward_cuda, delta_backward_cuda;

#ifdef __cplusplus
}
#endif

#endif
