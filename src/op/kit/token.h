/* Elements of [B, T] tensors on the host: number t is a token's, over all sequences; of [B, T, K] a choice's. */
#ifndef OP_KIT_TOKEN_H
#define OP_KIT_TOKEN_H

#include "tensor/tensor.h"

static inline double *f64_at(const struct tensor *a_BT, long t)
{
	return row_f64(a_BT, t / tensor_width(a_BT)) + t % tensor_width(a_BT);
}

static inline float *f32_at(const struct tensor *a_BT, long t)
{
	return row_f32(a_BT, t / tensor_width(a_BT)) + t % tensor_width(a_BT);
}

static inline int *int_at(const struct tensor *a_BT, long t)
{
	return row_int(a_BT, t / tensor_width(a_BT)) + t % tensor_width(a_BT);
}

/* Is the token there? Those below 0 are not; NULL: all are. */
static inline bool token_there(const struct tensor *mask_BT, long t)
{
	return !mask_BT || *int_at(mask_BT, t) >= 0;
}

#endif
