/*
 * jitter: what a router sees, each channel of each token times a number near 1 (Fedus, Zoph, Shazeer 2022,
 * arXiv:2101.03961, section 2.4):
 *   y = x (1 + scale u),   dx = dy (1 + scale u),   u uniform in (-1, 1)
 * Four neighbours share a block of random numbers (op/noise_rule.h). y is of x's type: bf16 rounds to
 * steps of 2^-8, which spreads a small scale but moves no mean.
 */
#ifndef OP_JITTER_H
#define OP_JITTER_H

#include "op/op.h"

enum { JITTER_X_BTD, JITTER_N_IN };
enum { JITTER_Y_BTD, JITTER_N_OUT };

struct jitter_attr {
	double scale;
	uint64_t stream;	/* hash_u64(scope of the router) */
};

op_kernel jitter_forward_cuda, jitter_backward_cuda;

extern const struct op op_jitter;

#endif
