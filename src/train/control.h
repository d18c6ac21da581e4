/*
 * State of a run beside its weights that changes once a step by what was counted in it: the table of
 * controllers. State lies among the parameters, without gradient or decay, so that checkpoints hold it
 * and every graph sees it. Training alone moves it, between steps, so choices depend on batches of the
 * past and never on their own.
 *
 *   state           statistic                          target       rule
 *   router.bias     choices that name each expert,     their mean   b += rate (sign(mean - c) - mean of
 *                   before dropping, of all                         these signs): routes as without the
 *                   micro-batches of a step                         second term, but b does not drift
 *   router.cutoff   least score that each expert       itself       b += rate (c - b), c the mean over
 *                   took (op/take.h)                                micro-batches: a running mean
 *
 * Loss-free balancing: Wang et al. 2024, arXiv:2408.15664, algorithm 1.
 */
#ifndef TRAIN_CONTROL_H
#define TRAIN_CONTROL_H

#include <stdbool.h>

struct setup;

struct control {
	struct controller {
		int param;		/* in setup.params */
		const char *metric;	/* of GRAPH_TRAIN */
		double *sum;		/* of the step's */
		long n;
	} *list;
	int n;
};

/* All states of the set-up; in its arena. */
void control_open(struct control *c, struct setup *s);
/* After a micro-batch, its metrics fetched; first: of a step. */
void control_add(const struct control *c, const struct setup *s, bool first);
/* After the update of a step. */
void control_update(const struct control *c, struct setup *s);

#endif
