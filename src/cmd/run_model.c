#include "cmd/run_model.h"

#include "base/path.h"
#include "store/query.h"

const char *run_model_dir(const char *run, const char *database, struct arena *a)
{
	struct selection one = {.selectors = &run, .n = 1};
	struct run_row row;
	struct db db;
	int ret;

	if (path_exists(arena_printf(a, "%s/config.yaml", run)))
		return run;
	if (db_open(&db, database, DB_READ))
		return NULL;
	ret = query_one(&db, &one, a, &row);
	db_close(&db);
	return ret ? NULL : row.dir;
}
