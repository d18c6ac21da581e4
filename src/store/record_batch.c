#include "store/record_batch.h"

#include "base/clock.h"

struct db *record_batch_db(const struct record_batch *b)
{
	return b->db && !b->db->broken ? b->db : NULL;
}

void record_batch_add(struct record_batch *b, long long run_id, const struct record *r)
{
	struct db *db = record_batch_db(b);

	if (!db || run_id < 0)
		return;
	if (!b->open) {
		if (db_begin(db))
			return;
		recorder_open(&b->recorder, db);
		b->open = true;
		b->begun_s = clock_s();
	}
	recorder_add(&b->recorder, run_id, r);
}

void record_batch_commit(struct record_batch *b)
{
	if (!b->open)
		return;
	b->open = false;
	if (recorder_close(&b->recorder))
		db_rollback(b->db);
	else
		db_commit(b->db);
}

double record_batch_age_s(const struct record_batch *b)
{
	return b->open ? clock_s() - b->begun_s : 0;
}
