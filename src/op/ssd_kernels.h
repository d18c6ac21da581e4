/* The kernels of ssd by device, in files of their own; op/ssd.h has the formula. */
#ifndef OP_SSD_KERNELS_H
#define OP_SSD_KERNELS_H

#include "op/ssd.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ssd_dims {
	long B, T, H, P, G, N;	/* sequences, tokens of each, heads, their channels, groups, states */
	long Q, n_chunks;	/* tokens of a chunk */
};

/* Are decays and weights given? Never of ssd_step, which has dtraw. */
static inline bool ssd_is_given(const struct tensor *const *in)
{
	return !in[SSD_DTRAW_BTH];
}

/* Q is at most `longest`. */
struct ssd_dims ssd_dims(const struct tensor *const *in, const struct ssd_attr *attr, long longest);

/* What ssd, ssd_step and ssd_carried share. Where there is SSD_H_BIN, forward begins and ends there. */
void ssd_shape(struct op_shapes *s);
void ssd_cost(const struct op_shapes *s, struct op_cost *c);

#define SSD_INPUTS(start) \
	[SSD_X_BTI] = {"x_BTI", 0}, \
	[SSD_DTRAW_BTH] = {"dtraw_BTH", IN_OPTIONAL}, \
	[SSD_ALOG_H] = {"A_log_H", IN_OPTIONAL | IN_MASTER}, \
	[SSD_B_BTN] = {"B_BTN", 0}, \
	[SSD_C_BTN] = {"C_BTN", 0}, \
	[SSD_D_H] = {"D_H", IN_MASTER}, \
	[SSD_DTBIAS_H] = {"dt_bias_H", IN_OPTIONAL | IN_MASTER}, \
	[SSD_START_BT] = {"start_BT", (start) | IN_INDEX}, \
	[SSD_DECAY_BTH] = {"decay_BTH", IN_OPTIONAL | IN_MASTER}, \
	[SSD_WEIGHT_BTH] = {"weight_BTH", IN_OPTIONAL | IN_MASTER}, \
	[SSD_OWN_BTH] = {"own_BTH", IN_OPTIONAL | IN_MASTER}

/* Of examples, without documents. */
#define SSD_SHAPES(B, T, H, P, N_ALL) \
	[SSD_X_BTI] = {B, T, (H) * (P)}, [SSD_DTRAW_BTH] = {B, T, H}, [SSD_ALOG_H] = {H}, \
	[SSD_B_BTN] = {B, T, N_ALL}, [SSD_C_BTN] = {B, T, N_ALL}, [SSD_D_H] = {H}, [SSD_DTBIAS_H] = {H}

/* Set saved and workspace for the kernels of a device. */
void ssd_room_ref(struct op_shapes *s);
void ssd_room_cpu(struct op_shapes *s);
void ssd_room_cuda(struct op_shapes *s);
op_kernel ssd_forward_ref, ssd_backward_ref, ssd_forward_cpu, ssd_backward_cpu;
op_kernel ssd_forward_cuda, ssd_backward_cuda;

#ifdef __cplusplus
}
#endif

#endif
