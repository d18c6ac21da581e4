/* moelab bench scale: how the cost of training grows along one axis at a time. */
#ifndef CMD_BENCH_SCALE_H
#define CMD_BENCH_SCALE_H

#include <stdbool.h>

#include "tensor/device.h"

/* Tokens/s of the spec with context, width, experts and threads changed one by one, as a table or as
   JSON on stdout; steps: timed per point. Axes that the architecture lacks are left out. Returns an exit code. */
int bench_scale(const char *spec, const char *const *overrides, int n_overrides,
	const struct device *device, long steps, bool json);

#endif
