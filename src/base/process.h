/* A process, told from a later one of the same number, and from those of other hosts. */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>

#include "base/arena.h"

struct process {
	const char *host, *boot_id;	/* NULL: not known */
	long long pid, start_time;	/* start_time: clock ticks since boot */
};

void process_self(struct process *p, struct arena *a);
bool process_is_here(const struct process *p);	/* of this host, also before its last boot */
bool process_alive(const struct process *p);	/* on this host; false for others */

#endif
