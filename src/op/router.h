/*
 * router: how well each expert suits each token, in float32 on every device:
 *   logit[t] = W x[t];   dx[t] = W^T dlogit[t];   dW = sum_t dlogit[t] x[t]^T
 * What comes of the logits is made of one operator each: score, choose, place, gate, router_loss.
 * op/route.h is all of them in one for Switch routing with one choice a token.
 */
#ifndef OP_ROUTER_H
#define OP_ROUTER_H

#include "op/op.h"

enum {
	ROUTER_X_BTD,
	ROUTER_W_ED,	/* master */
	ROUTER_N_IN
};

enum {
	ROUTER_LOGIT_BTE,	/* master */
	ROUTER_N_OUT
};

enum { ROUTER_PART = 512 };	/* tokens, of the sum in the gradient of W */

void router_room_cuda(struct op_shapes *s);
op_kernel router_forward_cuda, router_backward_cuda;

extern const struct op op_router;

#endif
