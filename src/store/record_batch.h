/*
 * Records on their way into the database: gathered in one transaction, committed when the owner says.
 * A batch that fails is lost here and not in the run directory; ingest at the run's end heals it.
 */
#ifndef STORE_RECORD_BATCH_H
#define STORE_RECORD_BATCH_H

#include "store/db.h"
#include "store/record.h"

struct record_batch {
	struct db *db;		/* NULL: records go nowhere */
	struct recorder recorder;
	bool open;
	double begun_s;
};

void record_batch_add(struct record_batch *b, long long run_id, const struct record *r);	/* run_id < 0: ignored */
void record_batch_commit(struct record_batch *b);
double record_batch_age_s(const struct record_batch *b);	/* since its first record; 0: empty */
struct db *record_batch_db(const struct record_batch *b);	/* NULL: none, or broken */

#endif
