/*
 * `tune` of a sweep: each configuration chooses its value of one key, such as the learning rate, by
 * trials of equal number on a split and on seeds that are never reported. Trials are ordinary runs of
 * the sweep NAME.tune; what is chosen follows from their run directories alone.
 */
#ifndef PLAN_TUNE_H
#define PLAN_TUNE_H

#include "plan/plan.h"

/*
 * The plan of the trials. With `extend`, once all are complete and any configuration does best at the
 * first or last value, all get one more value there: still equal numbers. As plan_open().
 */
int tune_open(struct plan *trials, const char *path, const struct sweep_options *options,
	const struct device *device, const char *root);

/*
 * Sets the key of each run to the value whose trials end with the lowest mean loss (a diverged trial
 * is the worst). Warns where that is the first or the last value. trials: all complete. a: of the
 * sweep. 0, or -1 after a message: trials cannot be read, or all of a configuration diverged.
 */
int tune_choose(struct plan *trials, const char *root, struct arena *a, struct sweep *sweep);

#endif
