/* The scan's kernels by device, in files of their own; op/scan.h has the formula. */
#ifndef OP_SCAN_KERNELS_H
#define OP_SCAN_KERNELS_H

#include "op/scan.h"

#ifdef __cplusplus
extern "C" {
#endif

struct scan_dims {
	long B, T, I, N;	/* sequences, tokens of each, channels, states of a channel */
};

struct scan_dims scan_dims(const struct tensor *const *in);

/* What scan, scan_step and scan_carried share. Where there is SCAN_H_BIN, forward begins and ends there. */
void scan_shape(struct op_shapes *s);
void scan_cost(const struct op_shapes *s, struct op_cost *c);

#define SCAN_INPUTS \
	[SCAN_U_BTI] = {"u_BTI", 0}, \
	[SCAN_DTRAW_BTI] = {"dtraw_BTI", 0}, \
	[SCAN_ALOG_IN] = {"A_log_IN", IN_MASTER}, \
	[SCAN_B_BTN] = {"B_BTN", 0}, \
	[SCAN_C_BTN] = {"C_BTN", 0}, \
	[SCAN_D_I] = {"D_I", IN_MASTER}, \
	[SCAN_DTBIAS_I] = {"dt_bias_I", IN_MASTER}, \
	[SCAN_Z_BTI] = {"z_BTI", IN_OPTIONAL}, \
	[SCAN_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX}

/* Of examples, without gate and documents. */
#define SCAN_SHAPES(B, T, I, N) \
	[SCAN_U_BTI] = {B, T, I}, [SCAN_DTRAW_BTI] = {B, T, I}, [SCAN_ALOG_IN] = {I, N}, \
	[SCAN_B_BTN] = {B, T, N}, [SCAN_C_BTN] = {B, T, N}, [SCAN_D_I] = {I}, [SCAN_DTBIAS_I] = {I}

/* Set saved and workspace for the kernels of a device (op/cpu/scan.c, op/cuda/scan_room.c). */
void scan_room_ref(struct op_shapes *s);
void scan_room_cpu(struct op_shapes *s);
void scan_room_cuda(struct op_shapes *s);
op_kernel scan_forward_ref, scan_backward_ref, scan_forward_cpu, scan_backward_cpu;
op_kernel scan_forward_cuda, scan_backward_cuda;

/* On host tensors: they stage inputs to the GPU and results back (op/cuda/scan_staged.cu). */
op_kernel scan_forward_cuda_scan, scan_backward_cuda_scan;

#ifdef __cplusplus
}
#endif

#endif
