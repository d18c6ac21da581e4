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

/* What delta, delta_step and delta_carried share. Where there is DELTA_S_BKV, forward begins and ends there. */
void delta_shape(struct op_shapes *s);
void delta_cost(const struct op_shapes *s, struct op_cost *c);

#define DELTA_INPUTS(start) \
	[DELTA_Q_BTK] = {"q_BTK", 0}, \
	[DELTA_K_BTK] = {"k_BTK", 0}, \
	[DELTA_V_BTV] = {"v_BTV", 0}, \
	[DELTA_BRAW_BTH] = {"braw_BTH", 0}, \
	[DELTA_DTRAW_BTH] = {"dtraw_BTH", 0}, \
	[DELTA_ALOG_H] = {"A_log_H", IN_MASTER}, \
	[DELTA_DTBIAS_H] = {"dt_bias_H", IN_MASTER}, \
	[DELTA_START_BT] = {"start_BT", (start) | IN_INDEX}

/* Of examples, without documents. */
#define DELTA_SHAPES(B, T, H, K, V) \
	[DELTA_Q_BTK] = {B, T, (H) * (K)}, [DELTA_K_BTK] = {B, T, (H) * (K)}, [DELTA_V_BTV] = {B, T, (H) * (V)}, \
	[DELTA_BRAW_BTH] = {B, T, H}, [DELTA_DTRAW_BTH] = {B, T, H}, [DELTA_ALOG_H] = {H}, [DELTA_DTBIAS_H] = {H}

/* For examples: memories that live for many tokens. */
void delta_prepare_long(const struct op_trial *t);

/* Set saved and workspace for the kernels of a device. */
void delta_room_ref(struct op_shapes *s);
void delta_room_cpu(struct op_shapes *s);
void delta_room_cuda(struct op_shapes *s);
op_kernel delta_forward_ref, delta_backward_ref, delta_forward_cpu, delta_backward_cpu;
op_kernel delta_forward_cuda, delta_backward_cuda;

#ifdef __cplusplus
}
#endif

#endif
