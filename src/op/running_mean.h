/*
 * running_mean: what stands behind a token is the mean of its document so far, itself included:
 *   y_t = sum over s = start_t .. t of x_s / (t - start_t + 1)
 *   dx_s = sum over the t >= s of its document of dy_t / (t - start_t + 1)
 * At the last token it is the mean over all of them, by which sequences are classified (pooling).
 */
#ifndef OP_RUNNING_MEAN_H
#define OP_RUNNING_MEAN_H

#include "op/op.h"

enum {
	RUNNING_MEAN_X_BTD,
	RUNNING_MEAN_START_BT,		/* optional, int: documents (op/document_start.h) */
	RUNNING_MEAN_N_IN
};
enum { RUNNING_MEAN_Y_BTD, RUNNING_MEAN_N_OUT };

op_kernel running_mean_forward_cuda, running_mean_backward_cuda;
extern const struct op op_running_mean;

#endif
