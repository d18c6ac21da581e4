/*
 * A loss curve and the question all of moelab turns on: where does it first reach a target?
 *
 * A rule says which curve is read and how it is smoothed. Every rule treats the baseline and the
 * variant alike, but for one thing: the paper counts the baseline's whole run as the time it took
 * to its final loss, and `paper` does so too.
 */
#ifndef STUDY_CURVE_H
#define STUDY_CURVE_H

#include "base/arena.h"

#include <stdbool.h>

enum axis { AXIS_STEPS, AXIS_TOKENS, AXIS_FLOPS, AXIS_SECONDS, N_AXES };

/* Name ("tokens") and legend ("training tokens") of an axis; axis_find: -1 for no such name. */
extern const char *const axis_name[N_AXES], *const axis_title[N_AXES];
int axis_find(const char *name);

/*
 * One run: n points in order of step; x[axis] are cumulative. loss in nats per token.
 * A view: the arrays belong to an arena of the caller.
 */
struct curve {
	int n;
	double *x[N_AXES], *loss;
	bool diverged;	/* the run did: it has reached nothing */
};

struct curve curve_new(struct arena *a, int n);

/* Where a curve first is at or below a loss: between points at - 1 and at, or on point 0. */
struct crossing {
	bool reached;
	int at;
	double share;	/* of the way from point at - 1 to point at; 1 on a point itself */
};

/*
 * First crossing by linear interpolation. Points with a non-finite loss end the curve: what comes
 * after a divergence is not reached.
 */
struct crossing curve_cross(const struct curve *c, double target);
/* NaN: not reached. */
double curve_x(const struct curve *c, struct crossing at, enum axis axis);
double curve_final(const struct curve *c);		/* last finite loss; NaN if there is none */
double curve_best(const struct curve *c);	/* smallest finite loss; NaN if there is none */

struct rule {
	const char *name, *help;
	bool training;		/* reads the training loss, else the validation loss */
	bool baseline_at_end;	/* the baseline's time to its final loss is its whole run */
	long min_steps;		/* shorter runs are refused */
	double alpha;		/* EMA weight of a new step; 0: raw */
	double alpha_steps;	/* > 0: alpha holds for this many steps and scales as 1 / steps */
	bool from_first;	/* EMA starts at the first loss; else bias-corrected from zero */
};

/* `default`, `paper` (arXiv 2401.04081, 4.1 and appendix D), `paper-scaled`. NULL after a message. */
const struct rule *rule_find(const char *name);
double rule_alpha(const struct rule *r, double steps);	/* at a run of this many steps, at most 1 */
/* The curve as the rule sees it. raw: of training or validation, as rule->training says. */
struct curve rule_smooth(const struct rule *r, const struct curve *raw, struct arena *a);

/*
 * One pair (baseline and variant of the same seed) at one target: how many times less of `axis`
 * the variant needs. NaN unless both reach it.
 */
double rule_ratio(const struct rule *r, const struct curve *baseline, const struct curve *variant,
	double target, enum axis axis);

#endif
