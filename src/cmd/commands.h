/* Runs of a plan as lines for a shell: `plan --commands`. */
#ifndef CMD_COMMANDS_H
#define CMD_COMMANDS_H

#include "plan/plan.h"

struct commands {
	const char *sweep, *device, *root;	/* as given to `plan` */
	const char *const *overrides;
	int n_overrides;
	int threads;				/* of each run */
};

/*
 * A line on stdout for each run to do, that does this one from any folder: "cd HERE && moelab run SWEEP
 * --restrict ... --shared". Several may run at once, on hosts that share the folder of results; the
 * database is brought up to them by `ingest`. An exit code; check: EXIT_PENDING where there are any.
 */
int commands_print(const struct plan *p, const struct commands *c, bool check);

#endif
