/*
 * Speed-up to a target over seeds: pairs of one seed and the same batches. Pure functions over
 * curves that a rule has smoothed already (rule_smooth).
 */
#ifndef STUDY_SPEEDUP_H
#define STUDY_SPEEDUP_H

#include "study/curve.h"
#include "study/stat.h"

/* Curves of seed i: both arrays have n entries. */
struct pairs {
	const struct rule *rule;
	const struct curve *const *baseline, *const *variant;
	int n;
	double target;		/* nats; NaN: the final loss of the pair's baseline */
};

struct speedup {
	int n, reached;				/* pairs, and variants that reached the target */
	bool defined;				/* all variants and all baselines reached it */
	struct interval ratio[N_AXES];		/* baseline / variant; NaN unless defined */
	/* Geometric mean of the variants' x at the target; NaN unless all reached it. */
	double at[N_AXES];
	double best;				/* smallest loss of any seed */
};

struct speedup speedup_of(const struct pairs *p);

/*
 * The null: what the same computation makes of the baseline's seeds against each other. Their
 * common target is the worst of their final losses (or p->target), which all of them reach.
 * p->variant is not read.
 */
struct null_speedup {
	int n, reached;
	double widest;		/* largest ratio of two seeds in tokens; NaN for fewer than 2 */
	double smallest;	/* ratio (> 1) that n seeds could tell from 1; NaN likewise */
};

struct null_speedup null_speedup_of(const struct pairs *p);

/* Is a ratio (or its inverse) below what the seeds could show? false where that is unknown. */
bool speedup_unseen(const struct null_speedup *null, double ratio);

#endif
