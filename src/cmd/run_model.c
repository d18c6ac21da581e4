#include "cmd/run_model.h"

#include <string.h>

#include "base/error.h"
#include "base/path.h"

const char *run_model_of_row(const struct run_row *run, struct arena *a)
{
	if (path_exists(arena_printf(a, "%s/config.yaml", run->dir)))
		return run->dir;
	error("%s is not there: the run is %s, and `moelab run` of its sweep trains it", run->dir, run->state);
	return NULL;
}

const char *run_model_dir(const char *run, const char *database, struct arena *a)
{
	const char *named = arena_printf(a, "results/runs/%s", run);
	struct selection one = {.selectors = &run, .n = 1};
	struct run_row row;
	struct db db;
	int ret;

	if (path_exists(arena_printf(a, "%s/config.yaml", run)))
		return run;
	if (path_exists(arena_printf(a, "%s/config.yaml", named)))
		return named;
	if (db_open(&db, database, DB_READ))
		return NULL;
	ret = query_one(&db, &one, a, &row);
	db_close(&db);
	return ret ? NULL : run_model_of_row(&row, a);
}

const char *run_model_at(const char *what, const char *database, struct arena *a)
{
	const char *at = strrchr(what, '@'), *dir;

	if (!at || path_exists(what))
		return what;
	dir = run_model_dir(arena_printf(a, "%.*s", (int)(at - what), what), database, a);
	return dir ? arena_printf(a, "%s%s", dir, at) : NULL;
}
