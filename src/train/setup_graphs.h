/* Which graphs a set-up has, and how they are recorded: for what opens and reads them. */
#ifndef TRAIN_SETUP_GRAPHS_H
#define TRAIN_SETUP_GRAPHS_H

#include "train/setup.h"

/* What a set-up is for, where it is not training. */
struct purpose {
	struct net_trace trace;
	long micro_batch;		/* 0: the spec's */
	long longest;			/* decoding; 0: not for it */
	struct net_env losses;		/* batch, context, carry; batch 0: not for them */
	bool tests;			/* scores on a dataset's test sets */
};

/* Records them all, with the names of the routers. -1 after a message, if a model does not fit; then what
   is recorded stays. */
int setup_record(struct setup *s, const struct purpose *p);
/* First weights are made on the host, so that they have the same bits on every device. */
const struct device *setup_init_device(const struct setup *s);
/* The first experts of a router, by the name of one of its metrics; NULL: there are none. */
const struct op_shapes *setup_experts(const struct graph *g, const char *metric);

#endif
