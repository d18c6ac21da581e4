/* How a worker's process ended, and what that means for its run. */
#ifndef SUPERVISE_OUTCOME_H
#define SUPERVISE_OUTCOME_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/arena.h"
#include "store/run_dir.h"

struct outcome {
	enum run_state state;	/* done, failed, diverged, stopped, or lost (killed by us) */
	bool crash;		/* failed in a way that another try may not repeat */
	const char *reason;	/* in the arena */
};

/* status: of waitpid(); step: the last one told; asked: we told it to stop, or killed it. */
struct outcome outcome_of(int status, const char *dir, long step, bool asked, struct arena *a);

/* Adds the end of the process to metrics.jsonl; a failure is only warned about. */
void outcome_record(const char *dir, pid_t pid, int status);

#endif
