/* Inside the supervisor: supervisor.c has the tasks and the loop, slot.c the life of a worker. */
#ifndef SUPERVISE_SUPERVISION_H
#define SUPERVISE_SUPERVISION_H

#include <sys/types.h>

#include "base/str.h"
#include "store/record_batch.h"
#include "store/run_dir.h"
#include "supervise/cores.h"
#include "supervise/display.h"
#include "supervise/supervisor.h"

#define RETRY_PAUSE_S 1.0

enum task_state { TASK_WAITING, TASK_ACTIVE, TASK_OVER };

struct task {
	struct job *job;
	int turn;			/* who waits with the least begins first */
	enum task_state state;
	enum run_state outcome;		/* when over */
	const char *reason;
	int crashes;
	double not_before_s;
	struct claim claim;		/* ours while its token is not empty */
};

struct slot {
	struct task *task;		/* NULL: free */
	long long run_id;		/* -1: not in the database */
	const char *dir;		/* in s->arena */
	pid_t pid;
	int pipe, log;			/* log.txt, locked */
	struct str text;		/* read, and not yet a whole line */
	struct display_row row;
	bool asked;			/* to stop, or killed */
	char gpu[64];			/* its GPU's UUID; empty: none */
	int workers;			/* side by side, or of those one GPU's share */
};

struct supervision {
	const struct supervisor *s;
	struct task *tasks;
	int n_tasks;
	struct slot *slots;
	int n_slots;
	bool pin;
	struct core_claim cores;	/* where pin */
	int signals;			/* a pipe of their numbers, a byte each */
	int stop_signal;		/* what asked to stop; 0: nothing */
	bool stopping;			/* nothing new starts */
	bool killed;			/* workers are gone without a checkpoint */
	int n_failed;			/* in this call: failed or diverged */
	struct claims claims;
	struct record_batch batch;
	double begun_s;
	double idle_s;			/* since when only others' runs are waited for; 0: not */
	struct display display;
	struct display_row *rows;	/* room for all slots */
	double steps_done, steps_all;	/* of the missing work */
};

/*
 * Claims the task's run directory and starts its worker in the free slot; or settles the task, if
 * there is nothing to do; or puts it off, if another process is at it.
 */
void slot_start(struct supervision *v, struct slot *slot, struct task *t);
void slot_read(struct supervision *v, struct slot *slot);	/* all that is in the pipe now */
/* The worker has ended, with this status of waitpid(): its run is settled or tried again. */
void slot_end(struct supervision *v, struct slot *slot, int status);
void stop_workers(struct supervision *v, int signal);
void claims_let_go(struct supervision *v);	/* those of tasks that were never begun */

#endif
