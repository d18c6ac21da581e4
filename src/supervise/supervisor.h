/*
 * The supervisor: does the missing work of a list of jobs with N workers side by side, and is the
 * only writer of the database. Workers are processes of their own (a crash of one harms no other),
 * one run each; they are told everything by their run directory:
 *
 *	WORKER... RUN_DIR --fd 3 --threads T --claim TOKEN OPTIONS...
 *
 * stdin is /dev/null, stdout and stderr go to RUN_DIR/log.txt, records come up descriptor 3. Exit
 * code 0 done, 10 diverged, 75 stopped with a checkpoint, 76 the run is another's by now; 1, 2, 4 failed;
 * anything else, and a signal, is a crash, which is tried again `retries` times.
 *
 * SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2: workers get SIGTERM, checkpoint and stop; a second
 * SIGINT kills them. Each run that is worked on is locked (log.txt) and claimed (cluster/claim.h), so two
 * supervisors never run the same one, on one machine or on two that share the folder.
 */
#ifndef SUPERVISE_SUPERVISOR_H
#define SUPERVISE_SUPERVISOR_H

#include "plan/job.h"
#include "store/db.h"

struct supervisor_end {
	int signal;		/* the last one that asked to stop; 0: none did */
	double steps;		/* that were trained */
};

struct supervisor {
	const char *root;		/* folder of results: run directories are ROOT/runs/NAME */
	struct db *db;			/* open for writing; NULL: run directories only */
	const char *sweep;		/* name, for run.json */
	int workers;			/* side by side */
	int threads;			/* of each */
	bool oversubscribe;		/* more threads than cores are allowed; not pinned then */
	bool fail_fast;			/* the first failure stops all */
	int max_failures;		/* after so many nothing new starts; 0: no limit */
	int retries;			/* of a crash */
	long long failed_since;		/* runs that failed at this time of the files or later stay so, since other
					   supervisors of the same work have tried; 0: none do */
	double limit_s;			/* all stop after this time; 0: no limit */
	const char *const *worker;	/* ended by NULL; NULL: {"/proc/self/exe", "worker"} */
	bool on_gpus;			/* each worker sees one GPU (supervise/gpus.h) */
	double worker_bytes;		/* of GPU memory that one needs at most; 0: not known */
	const char *const *options;	/* passed on to workers, ended by NULL; may be NULL */
	struct arena *arena;		/* texts of the jobs, and what it needs itself */
	struct supervisor_end *end;	/* filled in if not NULL */
};

/*
 * jobs: decided (jobs_decide). Returns an exit code: EXIT_DONE; EXIT_RUN_FAILED if any run failed
 * or diverged, now or before; EXIT_STOPPED if stopped; 130 if killed; EXIT_USAGE for more threads
 * than cores; EXIT_ENVIRONMENT for a full disk or a broken database.
 */
int supervisor_run(const struct supervisor *s, struct job *jobs, int n);

#endif
