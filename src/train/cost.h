/*
 * What a model costs, from its planned graphs: parameters by a stated rule, FLOPs by part, bytes.
 * Nothing is allocated or run.
 */
#ifndef TRAIN_COST_H
#define TRAIN_COST_H

#include "train/setup.h"

struct cost_params {
	double total, active;		/* without embedding and head */
	double embedding, head;		/* true vocabulary */
	double active_without_routers;	/* other papers' rule */
};

/* One part of the model: "mixer", "moe", "norm", "lm_head", ... */
struct cost_part {
	const char *name;
	double forward, backward;	/* FLOPs per token */
	double params, active;		/* active: of them, used by one token */
};

enum { COST_MAX_PARTS = 24 };

struct cost {
	struct cost_params params;
	struct cost_part parts[COST_MAX_PARTS];	/* in order of first use */
	int n_parts;
	double flops_per_token;		/* model FLOPs, forward + backward, head included */
	double head_per_token;		/* of it, the head's */
	double routed_per_token;	/* of it, the experts': what a token saves that all routers drop */
	double executed_per_token;	/* everything the kernels do, padding and recomputation too */
	double optimiser_per_step;	/* FLOPs */
	double weight_bytes, optimiser_bytes, activation_bytes, kept_bytes, total_bytes;
};

void cost_of(const struct setup *s, struct cost *c);
/* Model FLOPs of so many training tokens. idle: share of the choices counted here that no expert computed, by the
   width of experts, over all routers (exact where these have one mean width); NAN: there are no routers. */
double cost_flops(const struct cost *c, double tokens, double idle);

#endif
