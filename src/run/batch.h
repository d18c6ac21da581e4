/*
 * Records on their way into the database: gathered in one transaction, committed when the owner says.
 * A batch that fails is lost here and not in the run directory; ingest at the run's end heals it.
 */
#ifndef RUN_BATCH_H
#define RUN_BATCH_H

#include "store/db.h"
#include "store/record.h"

struct batch {
	struct db *db;		/* NULL: records go nowhere */
	struct recorder recorder;
	bool open;
	double begun_s;
};

void batch_add(struct batch *b, long long run_id, const struct record *r);	/* run_id < 0: ignored */
void batch_commit(struct batch *b);
double batch_age_s(const struct batch *b);	/* since its first record; 0: empty */
struct db *batch_db(const struct batch *b);	/* NULL: none, or broken */

#endif
