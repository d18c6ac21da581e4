/* The scan's kernels by device, in files of their own; op/scan.h has the formula. */
#ifndef OP_SCAN_KERNELS_H
#define OP_SCAN_KERNELS_H

#include "op/op.h"

#ifdef __cplusplus
extern "C" {
#endif

struct scan_dims {
	long B, T, I, N;	/* sequences, tokens of each, channels, states of a channel */
};

struct scan_dims scan_dims(const struct tensor *const *in);

/* What scan, scan_step and scan_carried share; the inputs of the others begin with those of scan. */
void scan_shape(struct op_shapes *s);
void scan_cost(const struct op_shapes *s, struct op_cost *c);
/* The reference, from the states of each channel, which end as they are behind the last token; NULL: from 0. */
void scan_forward_from(const struct op_run *r, const struct tensor *h_BIN);
/* Backward where forward began with these, which stay as they are. */
void scan_backward_from(const struct op_run *r, const struct tensor *h_BIN);

/* Set saved and workspace for the kernels of a device (op/cpu/scan.c, op/cuda/scan_room.c). With an input
   behind scan's, the states to begin with (op/scan_carried.h), forward begins and ends there. */
void scan_room_ref(struct op_shapes *s);
void scan_room_cpu(struct op_shapes *s);
void scan_room_cuda(struct op_shapes *s);
op_kernel scan_forward_cpu, scan_backward_cpu;

/* On host tensors: they stage inputs to the GPU and results back (op/cuda/scan_staged.cu). */
op_kernel scan_forward_cuda_scan, scan_backward_cuda_scan;

#ifdef __cplusplus
}
#endif

#endif
