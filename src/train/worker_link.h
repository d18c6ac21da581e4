/*
 * The worker's side of a run: its records, its process entry, its stop signal.
 *
 * Records go to metrics.jsonl (all of them) and up the supervisor's pipe (as many as it takes).
 * Nothing here blocks or ends a step: lines wait in memory and are written every LINK_FLUSH_S; a
 * full pipe costs step records (counted, in the file nevertheless), never others; a full disk is
 * told once and tried again.
 *
 *	worker_link_open(&link, run_dir, fd);
 *	r = record_new(RECORD_IS_ATTEMPT); r.attempt.arch = ...; worker_link_attempt(&link, &r);
 *	each step:	r = record_new(RECORD_IS_STEP); r.step.step = ...;
 *			worker_link_add(&link, &r);
 *			if (worker_link_stop())
 *				checkpoint; worker_link_event(&link, "stop", ...); exit 75
 *	checkpoint:	worker_link_flush(&link, true) before, so that a resumed run leaves no gap
 *	end:		worker_link_finish(&link, RUN_DONE, "1000 steps"); worker_link_close(&link);
 */
#ifndef TRAIN_WORKER_LINK_H
#define TRAIN_WORKER_LINK_H

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"
#include "store/record.h"
#include "store/run_dir.h"

#define LINK_FLUSH_S 0.2

struct worker_link {
	struct arena arena;
	const char *dir;
	struct run_info info;		/* run.json */
	int file;			/* metrics.jsonl, locked: one worker a run directory */
	int pipe;			/* -1: no supervisor, or it is gone */
	struct str line;		/* the record at hand */
	struct str to_file, to_pipe;	/* not yet written */
	double flushed_s;
	const char *claim;		/* its token in CLAIM; NULL: none */
	double looked_s;		/* at the claim, */
	bool taken;			/* and found it to be another's: nothing is written any more */
	long dropped;			/* step records that the pipe did not take */
	long lost;			/* step records that memory did not hold: disk full; */
	size_t lost_bytes;		/* in all */
	bool file_failed;		/* told already */
};

/*
 * run_dir holds run.json. pipe: descriptor that the supervisor passed, or -1. Sets the signal
 * handlers and, with a supervisor, SIGTERM at its death. 0, or -1 after a message: no run
 * directory, or another worker is at it.
 */
int worker_link_open(struct worker_link *l, const char *run_dir, int pipe);
/* The run is claimed with this token by whoever started us: without it nothing more is written. */
void worker_link_guard(struct worker_link *l, const char *token);
/* Is the run ours? Looks at the claim now, or where that is `lately` enough, not again. */
bool worker_link_holds(struct worker_link *l, bool lately);
void worker_link_close(struct worker_link *l);	/* flushes; also after a failed open, or twice */

/*
 * Fills in what the link knows (run, label, seed, sweep, jobs, started, host, process), writes
 * attempt.json, and sends the record. 0, or -1 after a message.
 */
int worker_link_attempt(struct worker_link *l, struct record *attempt);

void worker_link_add(struct worker_link *l, const struct record *r);
/* kind: start, resume, checkpoint, diverged, stop, done, failed, warning, sample */
void worker_link_event(struct worker_link *l, const char *kind, long step, const char *format, ...)
	PRINTF_LIKE(4, 5);
/* Writes what waits. -1: not all of it is in the file, or the run is not ours any more; sync: and safe
   against power loss. */
int worker_link_flush(struct worker_link *l, bool sync);
/* Flush, then the marker file of the state: RUN_DONE, RUN_FAILED or RUN_DIVERGED. */
int worker_link_finish(struct worker_link *l, enum run_state state, const char *reason);

/* The signal that asks to stop (INT, TERM, HUP, USR1, USR2), or 0. A second SIGINT kills. */
int worker_link_stop(void);

#endif
