/*
 * State of a run beside its weights that changes once a step by what was counted in it: the table of
 * controllers. State lies among the parameters, without gradient or decay, so that checkpoints hold it
 * and every graph sees it. Training alone moves it, between steps, so choices depend on batches of the
 * past and never on their own. Statistics are of all micro-batches of a step; c: choices that name an
 * expert, before dropping; N: tokens; l: least score that each expert took (op/take.h), the mean over
 * micro-batches.
 *
 *   rule     state               statistic   state +=
 *   even     router.bias         c           rate (sign(mean c - c) - mean of these signs): routes as without
 *                                            the second term, but the bias does not drift
 *   share    router.threshold    c, N        rate (c / N - target): so that a share of target of the tokens
 *                                            is above it; c of a `mod` (nn/mod.h): tokens picked
 *   follow   router.cutoff       l           rate (l - state): a running mean
 *   reward   router.baseline     loss        rate (mean loss of the step's tokens - state): a running mean
 *   spread   router.balance      c           state (exp(rate (v - target)) - 1), v = max c / mean c - 1: the
 *                                            balance loss weighs more while loads are uneven
 *   drops    router.capacity     d, a        state (exp(rate (d / a - target)) - 1), d of a choices dropped: the
 *                                            capacity grows while more are dropped than target
 *   anneal   router.temperature  none        state (exp(-rate) - 1), not below `least`
 *   fall     router.capacity     none        the same
 *
 * The last four rules keep their state in [least, most].
 * even: Wang et al. 2024, arXiv:2408.15664, algorithm 1. share: the quantile 1 - target of an expert's scores
 * by stochastic approximation (Robbins, Monro 1951). anneal: Jang, Gu, Poole 2017, arXiv:1611.01144.
 */
#ifndef TRAIN_CONTROL_H
#define TRAIN_CONTROL_H

#include <stdbool.h>

struct setup;
struct control_rule;

struct control {
	struct controller {
		const struct control_rule *rule;
		int param;		/* in setup.params */
		const char *metric;	/* of GRAPH_TRAIN; NULL: none */
		double *count;		/* of the step */
		long n_counts;
		double *state;		/* as the last update left it */
		double *by;		/* what that added */
		void *masters;		/* room: the state in the type of masters */
	} *list;
	int n;
};

/* All states of the set-up; in its arena. */
void control_open(struct control *c, struct setup *s);
/* After a micro-batch, its metrics fetched; first: of a step. */
void control_add(const struct control *c, const struct setup *s, bool first);
/* After the update of a step. */
void control_update(const struct control *c, struct setup *s);
/* The share of the capacity that is in force, mean over routers; 1 where no rule moves it. */
double control_capacity(const struct control *c, const struct setup *s);

#endif
