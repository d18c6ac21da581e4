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

/* What ssd, ssd_step and ssd_carried share; the inputs of the others begin with those of ssd. */
void ssd_shape(struct op_shapes *s);
/* The reference, from the states of each channel, which end as they are behind the last token; NULL: from 0. */
void ssd_forward_from(const struct op_run *r, const struct tensor *h_BIN);
/* Backward where forward began with these, which stay as they are. */
void ssd_backward_from(const struct op_run *r, const struct tensor *h_BIN);
void ssd_cost(const struct op_shapes *s, struct op_cost *c);

/* Set saved and workspace for the kernels of a device. With an input behind ssd's, the states to begin with
   (op/ssd_carried.h), forward begins and ends there. */
void ssd_room_ref(struct op_shapes *s);
void ssd_room_cpu(struct op_shapes *s);
void ssd_room_cuda(struct op_shapes *s);
op_kernel ssd_forward_cpu, ssd_backward_cpu;
op_kernel ssd_forward_cuda, ssd_backward_cuda;

#ifdef __cplusplus
}
#endif

#endif
