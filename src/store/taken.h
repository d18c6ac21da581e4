/*
 * How far the files are taken into the database, so that the next look reads what is new alone: tables
 * `taken`, of a run's files, and `taken_sweep`, of ROOT/sweeps/NAME.json. Each row is written in one
 * transaction with what it tells of.
 */
#ifndef STORE_TAKEN_H
#define STORE_TAKEN_H

#include "store/db.h"

struct taken {
	long long inode, size;		/* of metrics.jsonl, or of the sweep's file; 0: none */
	long long bytes;		/* of it taken in: its whole lines. Not of sweeps */
	long long changed;		/* last change of the run directory, or of the file: ns since 1970 */
};

/*
 * What stands on disk now; bytes 0. False: no such run directory, or file. `changed` is 0 while it is
 * so young that another change might get the same time: such a look is taken again.
 */
bool taken_of_run(const char *dir, struct taken *now);
bool taken_of_file(const char *path, struct taken *now);
/* Is there anything that was not there at the earlier look? */
bool taken_is_old(const struct taken *had, const struct taken *now);

/* 0, or -1 after a message. */
int taken_keep_run(struct db *db, long long run_id, const struct taken *t);
int taken_keep_sweep(struct db *db, const char *name, const struct taken *t);
/* The rows; zeros where there is none. 0, or -1 after a message. */
int taken_get_run(struct db *db, long long run_id, struct taken *t);
int taken_get_sweep(struct db *db, const char *name, struct taken *t);

#endif
