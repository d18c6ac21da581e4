#include "store/home.h"

#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "store/catalog.h"
#include "store/query.h"

/* Column run.dir; NULL: the database does not know the run, or failed. */
static const char *followed(struct db *db, const char *identity, struct arena *a)
{
	struct db_statement s;
	const char *dir = NULL;

	db_prepare(&s, db, "SELECT dir FROM run WHERE identity = :identity");
	db_bind_text(&s, ":identity", identity);
	if (db_step(&s))
		dir = arena_strdup(a, db_text(&s, 0));
	return db_finish(&s) ? NULL : dir;
}

/* One directory may have several paths. */
static bool is_another(struct db *db, const char *a_dir, const char *b_dir, struct arena *a)
{
	struct stat x, y;

	if (!strcmp(a_dir, b_dir) || stat(query_dir(db, a_dir, a), &x))
		return false;
	return stat(query_dir(db, b_dir, a), &y) || x.st_dev != y.st_dev || x.st_ino != y.st_ino;
}

bool home_is_elsewhere(struct db *db, const char *root, const char *name, const char *identity)
{
	struct arena a = {0};
	const char *dir = followed(db, identity, &a);
	bool is = dir && is_another(db, dir, catalog_dir(db, root, name, &a), &a);

	arena_release(&a);
	return is;
}

/* All but its places in sweeps and its config, which are the same wherever it is. */
static int forget_records(struct db *db, const char *identity)
{
	struct arena a = {0};
	struct db_statement s;
	const char *all = "";
	int ret;

	db_prepare(&s, db, "SELECT m.name FROM sqlite_schema m, pragma_foreign_key_list(m.name) f WHERE f.\"table\" = 'run'"
		" AND m.name NOT IN ('member', 'axis', 'param')");
	while (db_step(&s))
		all = arena_printf(&a, "%sDELETE FROM %s WHERE run_id = %lld;", all, db_text(&s, 0),
			catalog_run_id(db, identity));
	ret = db_finish(&s) || db_exec(db, all) ? -1 : 0;
	arena_release(&a);
	return ret;
}

int home_move(struct db *db, const char *root, const char *name, const char *identity)
{
	bool other = home_is_elsewhere(db, root, name, identity);
	struct arena a = {0};
	struct db_statement s;
	int ret = other ? forget_records(db, identity) : 0;

	db_prepare(&s, db, "UPDATE run SET dir = :dir, state = CASE WHEN :other THEN 'queued' ELSE state END,"
		" reason = CASE WHEN :other THEN NULL ELSE reason END WHERE identity = :identity AND dir <> :dir");
	db_bind_text(&s, ":dir", catalog_dir(db, root, name, &a));
	db_bind_text(&s, ":identity", identity);
	db_bind_int(&s, ":other", other);
	db_run(&s);
	ret |= db_finish(&s);
	arena_release(&a);
	return ret;
}
