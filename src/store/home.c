#include "store/home.h"

#include <stdio.h>
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

static int forget_records(struct db *db, const char *identity)
{
	static const char *const tables[] = {"part", "attempt", "step", "eval", "router", "expert", "mix", "state",
		"param_group", "slice", "recall", "calibration", "event", "taken"};
	struct db_statement s;
	char sql[128];
	int ret = 0;

	for (size_t i = 0; i < sizeof tables / sizeof *tables && !ret; i++) {
		snprintf(sql, sizeof sql, "DELETE FROM %s WHERE run_id = (SELECT run_id FROM run WHERE identity = :identity)",
			tables[i]);
		db_prepare(&s, db, sql);
		db_bind_text(&s, ":identity", identity);
		db_run(&s);
		ret = db_finish(&s);
	}
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
