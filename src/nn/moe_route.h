/* How a mixture's tokens find their experts: the operators that its spec asks for (nn/moe.h). */
#ifndef NN_MOE_ROUTE_H
#define NN_MOE_ROUTE_H

#include "nn/moe.h"

/* [B, T] tensors for Switch routing, else [B, T, K] (op/place.h). */
struct moe_places {
	struct tensor *slot, *first, *token, *gate;
	long choices;		/* that experts compute: capacity and drops apart, for costs */
	struct tensor *one;	/* gates of 1; NULL: not asked for */
};

/* W_r x; W_r is registered as the router's weight. */
struct tensor *moe_logits(struct net *net, const struct moe_spec *s, struct tensor *x_BTD);
/* Records routing under the present scope, the mixture's; metrics and losses of the router with it. alike: with
   gates of 1 besides. */
void moe_route(struct net *net, const struct moe_spec *s, struct tensor *x_BTD, bool alike, struct moe_places *p);

#endif
