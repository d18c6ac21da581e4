/*
 * The database from the run directories: all of it, or one run's gaps. Of a run's records those are read
 * that it told since the last time (store/taken.h); what is told again all the same stays the same, so
 * ingest is safe at any time, and repeatable.
 */
#ifndef STORE_INGEST_H
#define STORE_INGEST_H

#include "store/db.h"

struct ingest_count {
	int sweeps, runs, skipped_runs;		/* with news; skipped: no readable run.json */
	long records, skipped_lines;		/* torn or unknown lines */
	int second_runs;			/* directories of runs that are followed elsewhere; left alone */
	char second[512];			/* one of these */
	long benches;				/* lines of bench.jsonl (store/bench.h) */
};

/* All sweeps, runs and benches below ROOT. 0, or -1 after a message; what was whole before it stays. */
int ingest_all(struct db *db, const char *root, struct ingest_count *count);
/* The same without benches: what news_find() finds (store/news.h). */
int ingest_news(struct db *db, const char *root, struct ingest_count *count);

/*
 * What the directories of a sweep say and the database does not: runs that stand otherwise there, as
 * it is another one, an older copy, or was left alone meanwhile; and the sweep's foreign curves. Runs
 * at work are left to their supervisor. Marks of all runs (store/mark.h).
 */
int ingest_gaps(struct db *db, const char *root, const char *sweep, struct ingest_count *count);

/* One run, ROOT/runs/NAME: what it is, how it stands and its records. */
int ingest_run(struct db *db, const char *root, const char *name, struct ingest_count *count);

/* The records of one run directory, in a transaction of its own. */
int ingest_records(struct db *db, long long run_id, const char *dir, struct ingest_count *count);

#endif
