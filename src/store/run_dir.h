/*
 * A run directory: the files that are the truth about a run, readable without moelab.
 *
 *   ROOT/runs/LABEL-sSEED-HASH8/   run.json        who it is (struct run_info), written at its claim
 *                                  config.yaml     complete, resolved
 *                                  metrics.jsonl   what it told (store/record.h)
 *                                  attempt.json    its newest process, as a record of kind "attempt"
 *                                  log.txt         what its processes printed
 *                                  DONE | FAILED | DIVERGED    one line: why
 *                                  ckpt/step_N.safetensors, samples/
 *   ROOT/sweeps/NAME.json          what a sweep consists of (store/catalog.h)
 */
#ifndef STORE_RUN_DIR_H
#define STORE_RUN_DIR_H

#include <stdbool.h>

#include "base/arena.h"

/* run.json, written by whoever starts the worker. */
struct run_info {
	const char *identity, *label, *sweep;
	long seed;
	long steps;	/* when complete; 0: not known */
	int jobs;	/* workers that run side by side; their seconds are no measurement above 1 */
};

int run_info_write(const struct run_info *info, const char *dir);
int run_info_read(struct run_info *info, const char *dir, struct arena *a);	/* -1 after a message */

/* "LABEL-sSEED-HASH8", in a. */
const char *run_dir_name(const char *label, long seed, const char *identity, struct arena *a);

/* A process, so that a number used again is not taken for it. */
struct process {
	const char *host;	/* NULL: this one */
	long long pid, start_time;	/* clock ticks since boot */
	const char *boot_id;
};

void process_self(struct process *p, struct arena *a);
bool process_alive(const struct process *p);	/* on this host; false for other hosts */

enum run_state {
	RUN_NEW, RUN_RUNNING, RUN_DONE, RUN_FAILED, RUN_DIVERGED, RUN_STOPPED, RUN_LOST, N_RUN_STATES
};
extern const char *const run_state_name[N_RUN_STATES];	/* as in the column run.state; NEW is "queued" */

struct run_status {
	enum run_state state;
	long checkpoint;	/* step of the newest checkpoint; 0: none */
	const char *reason;	/* marker's line, or what is known; in the arena */
};

/*
 * What the files say. A run without a marker is running while its process lives (on another host:
 * while metrics.jsonl grew within ten minutes), stopped if its last event says so, else lost.
 */
void run_dir_status(const char *dir, struct arena *a, struct run_status *status);

/* Replaces any marker; state is DONE, FAILED or DIVERGED. NEW: only removes. */
int run_dir_mark(const char *dir, enum run_state state, const char *reason);

#endif
