/*
 * Mixture of experts with top-1 Switch routing (Fedus, Zoph, Shazeer 2022, arXiv:2101.03961):
 *
 *	p = softmax(W_r x),  e = argmax p,  y = p_e W2[e] f(W1[e] x)
 *
 * An expert takes capacity_factor * tokens / E tokens of each routing group; what is beyond gets 0,
 * so only the residual carries it on. Formulas of the losses: op/route.h.
 */
#ifndef NN_MOE_H
#define NN_MOE_H

#include "nn/net.h"

struct moe_spec {
	long n_experts, d_expert;	/* d_expert 0: 3 d_model */
	double capacity_factor;
	long group_tokens;		/* 0: the whole batch of a step */
	double balance, z_loss;		/* weights */
	const char *aux_reduce;		/* over routers: "mean" | "sum" */
	const char *init_fan;		/* fan-in of W2: "all_experts" (E * F, the paper's) | "one" (F) */
	const char *activation;
};


/* The residual branch, under the name "moe". */
struct tensor *moe(struct net *net, const void *moe_spec, struct tensor *x_BTD);
/* A mixture in place of a projection to `out` channels, under the given name. */
struct tensor *moe_project(struct net *net, const char *name, const struct moe_spec *s,
	struct tensor *x_BTD, long out);

#endif
