/* The schema of the open database: made, checked, brought to the newest version. */
#include "store/db.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"

int db_version(const char *const *migrations)
{
	int n = 1;

	while (migrations[n - 1])
		n++;
	return n;
}

static int db_back_up(struct db *db, int version)
{
	char *backup = xasprintf("%s.bak-v%d", db->path, version);
	struct db_statement s;

	unlink(backup);		/* of a migration that did not come to its end */
	db_prepare(&s, db, "VACUUM INTO :file");
	db_bind_text(&s, ":file", backup);
	db_run(&s);
	free(backup);
	return db_finish(&s);
}

/* All of sql and the new version number, or nothing. */
static int db_upgrade(struct db *db, const char *sql, int version)
{
	char pragma[64];

	snprintf(pragma, sizeof pragma, "PRAGMA user_version = %d", version);
	if (db_begin(db))
		return -1;
	if (db_exec(db, sql) || db_exec(db, pragma)) {
		db_rollback(db);
		return -1;
	}
	return db_commit(db);
}

int db_migrate(struct db *db, const char *const *migrations)
{
	int have = (int)db_value(db, "PRAGMA user_version", -1), want = db_version(migrations);

	if (have < 0)
		return -1;
	if (have < want && db_back_up(db, have))
		return -1;
	for (; have < want; have++)
		if (db_upgrade(db, migrations[have - 1], have + 1))
			return -1;
	return 0;
}

static int db_create(struct db *db)
{
	char pragma[64];

	snprintf(pragma, sizeof pragma, "PRAGMA application_id = %d", DB_APPLICATION_ID);
	return db_exec(db, pragma) || db_upgrade(db, db_schema, db_version(db_migrations)) ? -1 : 0;
}

int db_check_schema(struct db *db, enum db_mode mode)
{
	long long id = db_value(db, "PRAGMA application_id", -1);
	long long version = db_value(db, "PRAGMA user_version", -1);
	long long objects = db_value(db, "SELECT count(*) FROM sqlite_schema", -1);

	if (id < 0 || version < 0 || objects < 0)
		return -1;
	if (version == 0 && objects == 0)
		return mode != DB_READ ? db_create(db) : error("database %s is empty: "
			"`moelab run` or `moelab ingest` fills it", db->path);
	if (id != DB_APPLICATION_ID)
		return error("%s is no database of moelab: use another --db", db->path);
	if (version > db_version(db_migrations))
		return error(
			"database %s was made by a newer moelab (schema %lld, this one knows %d): "
			"use that one, or rebuild into another --db with `moelab ingest`",
			db->path, version, db_version(db_migrations));
	if (mode == DB_READ || version == db_version(db_migrations))
		return 0;
	/* An older moelab may have skipped records of kinds that it did not know. */
	return db_migrate(db, db_migrations) || db_exec(db, "DELETE FROM taken") ? -1 : 0;
}
