/* Starting a worker process: exec of a program, with a pipe, a log file, and cores of its own. */
#ifndef SUPERVISE_LAUNCH_H
#define SUPERVISE_LAUNCH_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

#include "supervise/supervisor.h"

enum { LAUNCH_FD = 3 };		/* the worker's end of the pipe */

struct launch {
	const char *dir;	/* run directory */
	int log;		/* log.txt; not locked by the worker's copy */
	const cpu_set_t *cores;	/* NULL: all */
	const char *gpu;	/* what CUDA_VISIBLE_DEVICES shows it; NULL: as here */
	int threads;
	const char *claim;	/* its token: the worker writes while the run is claimed with it. NULL: none */
};

/* Gives the process and the non-blocking end to read. 0, or -1 after a message. */
int launch_worker(const struct supervisor *s, const struct launch *l, pid_t *pid, int *from_worker);

#endif
