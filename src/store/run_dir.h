/*
 * A run directory: the files that are the truth about a run, readable without moelab.
 *
 *   ROOT/runs/LABEL-sSEED-HASH8/   run.json        who it is (struct run_info)
 *                                  config.yaml     complete, resolved
 *                                  metrics.jsonl   what it told (store/record.h)
 *                                  attempt.json    its newest process, a record of kind "attempt"
 *                                  log.txt         what its processes printed
 *                                  CLAIM           who works on it (cluster/claim.h)
 *                                  DONE | FAILED | DIVERGED    one line: why
 *                                  EXCLUDED, tags.txt   what people say of it (store/mark.h)
 *                                  products.txt    on GPUs (train/products.h)
 *                                  ckpt/step_N.safetensors
 *   ROOT/sweeps/NAME.json          what a sweep consists of (store/catalog.h)
 */
#ifndef STORE_RUN_DIR_H
#define STORE_RUN_DIR_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/process.h"
#include "base/str.h"
#include "cluster/claim.h"

/* run.json: one object with these keys ("run" is the identity). */
struct run_info {
	const char *identity, *label, *sweep;
	const char *variant;	/* NULL: the label */
	long seed;
	long steps;		/* when complete; 0: not known */
	int jobs;		/* workers side by side, on GPUs for each: above 1 its seconds are no measurement */
	const char *config;	/* JSON object of dotted keys: config.yaml once more, flat */
	bool foreign;		/* as read: a curve of another program, as its config tells */
};

/* Its text, which the caller frees; NULL after a message. */
char *run_info_text(const struct run_info *info);
/* 0, or -1 after a message. */
int run_info_write(const struct run_info *info, const char *dir);
int run_info_read(struct run_info *info, const char *dir, struct arena *a);

/* "LABEL-sSEED-HASH8", in a. */
const char *run_dir_name(const char *label, long seed, const char *identity, struct arena *a);

/*
 * The states of a run, as its files tell them (run_dir_status), and the function that takes it on:
 *
 *   queued ---start_worker()---> running              supervise/slot.c, behind the lock of log.txt
 *                                running ---> done      finish(), train/worker.c: all steps; DONE
 *                                        ---> diverged  finish(): loss or gradient not finite; DIVERGED
 *                                        ---> stopped   finish(): told by a signal; a checkpoint, no marker
 *                                        ---> failed    run(), finish(): an error of its own; FAILED
 *                                        ---> failed    settle_run(), supervise/slot.c: a crash; FAILED
 *                                        ---> lost      nobody: its process is gone without a word
 *   stopped, lost, failed ---start_worker()---> running   from the newest checkpoint; write_orders()
 *                                                         takes the marker away
 *   done, diverged                                        ends: jobs_decide(), plan/job.c, gives no work
 *
 * slot_end() tries a crash again at once, a few times; jobs_decide() makes of a state what is to be done.
 * The column run.state follows by catalog_set_state(), and by store/ingest.h from the files.
 */
enum run_state {
	RUN_QUEUED, RUN_RUNNING, RUN_DONE, RUN_FAILED, RUN_DIVERGED, RUN_STOPPED, RUN_LOST,
	N_RUN_STATES
};
extern const char *const run_state_name[N_RUN_STATES];	/* as in the column run.state */

struct run_status {
	enum run_state state;
	long checkpoint;	/* step of the newest checkpoint; 0: none */
	const char *reason;	/* marker's line, or what is known; "" if nothing. In the arena */
};

/*
 * What the files say. A run without a marker is queued before its first attempt, running while its
 * process lives (on another host: while metrics.jsonl grew within ten minutes, unless the caller has
 * the claim), stopped if it said so, else lost.
 */
void run_dir_status(const char *dir, struct arena *a, struct run_status *status);

/* Steps of the checkpoints in the folder RUN_DIR/ckpt, newest first; the caller frees them. */
long *run_dir_checkpoints(const char *folder, int *n);

/* Replaces any marker; state: RUN_DONE, RUN_FAILED, RUN_DIVERGED, or RUN_QUEUED for none. */
int run_dir_mark(const char *dir, enum run_state state, const char *reason);

/*
 * Whoever works on a run holds the lock of its log.txt, the supervisor and, after its death, its worker,
 * and for other machines the claim in its directory (cluster/claim.h). run_dir_lock() gives the
 * descriptor that holds the lock; makes folder and file where they are missing. A file system without
 * locks has the claim alone. CLAIM_TAKEN: another process has it; CLAIM_FAILED: after a message.
 */
int run_dir_lock(const char *dir);
/* Does anybody hold the lock, or a claim whose owner is not known to be gone? */
bool run_dir_is_claimed(const char *dir);
/* Is its newest process one of this host, and alive? */
bool run_dir_is_worked(const char *dir);

/* metrics.jsonl, for appending whole lines: a torn last one is ended first. -1 after a message. */
int run_dir_open_metrics(const char *dir);

#endif
