/*
 * Taking run directories into the database, many in one transaction: on file systems where a commit
 * costs milliseconds, a thousand of them would cost the user's patience.
 *
 *	struct intake in = {.db = db, .count = &count};
 *	for (...)
 *		if (intake_run(&in, &run))
 *			break;
 *	return intake_end(&in);
 */
#ifndef STORE_INTAKE_H
#define STORE_INTAKE_H

#include "store/ingest.h"
#include "store/record.h"
#include "store/run_dir.h"
#include "store/taken.h"

struct intake {
	struct db *db;
	struct ingest_count *count;
	bool joins;			/* known runs join the sweeps that their run.json name, too */
	/* private */
	struct recorder recorder;
	bool open, failed;
	double begun_s;
};

struct intake_run {
	long long run_id;		/* -1: the database does not know it; it is entered from its run.json */
	const char *dir;		/* as a path from here */
	const char *root, *name;	/* of a run that is entered or moves here: ROOT/runs/NAME */
	bool moves;			/* instead of the directory that the database has followed */
	const char *state;		/* column run.state; NULL: set it in any case */
	struct taken had;		/* zeros: its files are read from their beginnings */
};

/* All that the directory says and the database does not. 0, or -1 after a message. */
int intake_run(struct intake *in, const struct intake_run *r);
/* Its records alone. */
int intake_records(struct intake *in, long long run_id, const char *dir, struct taken *t);
/* Commits; or rolls back, if anything failed: -1. Nothing is open then. */
int intake_end(struct intake *in);

#endif
