#include "cmd/mark.h"

#include "base/error.h"
#include "base/path.h"
#include "store/mark.h"

int mark_find(struct lab *lab, const struct selection *selection, struct run_row *run)
{
	if (query_one(&lab->db, selection, &lab->arena, run))
		return -1;
	if (!path_exists(run->dir))
		return error("%s is not there: the run is %s, so nothing can be said of it yet", run->dir,
			run->state);
	return 0;
}

static int take_in(struct db *db, const struct run_row *run)
{
	if (db_begin(db))
		return -1;
	if (!mark_take_in(db, run->run_id, run->dir))
		return db_commit(db);
	db_rollback(db);
	return -1;
}

int mark_store(struct lab *lab, const struct run_row *run)
{
	if (db_is_written(&lab->db)) {
		info("%s: said in its directory; whoever writes %s now takes it in at the end", run->dir,
			lab->path);
		return EXIT_DONE;
	}
	db_close(&lab->db);
	if (!db_open(&lab->db, lab->path, DB_WRITE) && !take_in(&lab->db, run))
		return EXIT_DONE;
	info("%s: said in its directory; `moelab ingest` takes it into the database", run->dir);
	return EXIT_ENVIRONMENT;
}
