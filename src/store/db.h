/*
 * SQLite: opening by the rules that keep the file whole, and statements without error plumbing.
 *
 * One process writes a database, the supervisor (or ingest); a lock on FILE.lock that the kernel
 * frees at its death keeps a second one out. FILE is where symbolic links lead; a file with two names
 * is not written, for SQLite keeps its log by name. All others open it read-only, also while it is
 * written. The database is an index of the run directories and can be rebuilt, so a write that
 * fails for want of space or a broken disk marks it `broken`: one message, later writes do
 * nothing, and training goes on.
 *
 * Never open() and close() the file by other means in a process that has it open: that would drop
 * SQLite's locks. Never carry a struct db over fork().
 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include <math.h>
#include <sqlite3.h>
#include <stdbool.h>

enum {
	DB_APPLICATION_ID = 0x6d6f656c,	/* "moel": what `file` and sqlite3 see */
	DB_BUSY_MS = 60000,		/* the busy handler is unfair: wait long */
	DB_MOMENT_MS = 60000,		/* for a writer that says that it is soon done */
};

extern const char db_schema[];		/* schema.sql, then bench.sql */
extern const char bench_schema[];	/* its end: bench.sql, which is also a migration */
/* Entry i brings version i + 1 to i + 2; ended by NULL. A version, once released, never changes. */
extern const char *const db_migrations[];

enum db_mode {
	DB_READ,	/* the file must exist; only SELECT works. Tables `part`, `exclusion` and `tag` are
			   empty where it is from before them */
	DB_WRITE,	/* made or migrated where needed; takes the lock */
	DB_WRITE_IF_FREE, /* the same for a moment, in which other writers wait; -1 without a message where
			   another writes for longer, or this process may not */
};

struct db {
	sqlite3 *handle;
	char *path;	/* of the file itself, no link */
	int lock;	/* descriptor of FILE.lock; -1 when reading */
	bool broken;	/* a write failed (disk full, read-only, corrupt, I/O error), or it is gone */
	bool gone;	/* deleted or replaced while it was written */
};

/*
 * 0, or -1 after one message (the caller exits with EXIT_ENVIRONMENT): no such file, no moelab
 * database, made by a newer moelab, locked by another writer, not readable.
 */
int db_open(struct db *db, const char *path, enum db_mode mode);
void db_close(struct db *db);		/* also after a failed db_open, or twice */
bool db_is_written(const struct db *db);	/* a writer is at it now */
long db_writer(const struct db *db);		/* its process, or of the last one; 0: not known */
/* Has somebody deleted or replaced the file that this process writes? Then nothing more is written. */
bool db_is_gone(struct db *db);
/* Statements without values. 0, or -1 after a message. */
int db_exec(struct db *db, const char *sql);

/* One transaction, taking the write lock at once: an upgrade later could not wait. */
int db_begin(struct db *db);
int db_commit(struct db *db);		/* rolls back where it cannot commit, -1 */
void db_rollback(struct db *db);	/* harmless outside a transaction */

/* Brings the open database to the newest version of `migrations`, backing it up before. */
int db_migrate(struct db *db, const char *const *migrations);
int db_version(const char *const *migrations);	/* the version that a new database has */
/* For db_open(): refuses what is no database of ours, or of a later schema; makes or migrates when writing.
   0, or -1 after a message. */
int db_check_schema(struct db *db, enum db_mode mode);

/*
 * Statement. The first error sticks: it is printed once, with the SQL, and all later calls on the
 * statement do nothing. So check db_finish() only. A name that the SQL lacks is a bug.
 *
 *	struct db_statement s;
 *	db_prepare(&s, db, "SELECT step, loss FROM eval WHERE run_id = :run ORDER BY step");
 *	db_bind_int(&s, ":run", run_id);
 *	while (db_step(&s))
 *		add_point(c, db_int(&s, 0), db_real(&s, 1));
 *	return db_finish(&s);
 */
struct db_statement {
	struct db *db;
	sqlite3_stmt *handle;
	bool failed;
};

void db_prepare(struct db_statement *s, struct db *db, const char *sql);
/* Bindings outlive db_run() and db_reset(). A real that is not finite and a NULL text are NULL. */
void db_bind_int(struct db_statement *s, const char *name, long long value);
void db_bind_real(struct db_statement *s, const char *name, double value);
void db_bind_text(struct db_statement *s, const char *name, const char *text);	/* copied */
void db_bind_null(struct db_statement *s, const char *name);
bool db_step(struct db_statement *s);	/* true: a row is there */
void db_run(struct db_statement *s);	/* to its end, without rows; ready for the next */
void db_reset(struct db_statement *s);	/* ready to be stepped from the start again */
int db_finish(struct db_statement *s);	/* frees it; -1 if anything failed. Twice is harmless */

/* Columns of the current row, from 0. SQL's NULL is 0, NaN, NULL. Texts last to the next step. */
long long db_int(const struct db_statement *s, int column);
double db_real(const struct db_statement *s, int column);
const char *db_text(const struct db_statement *s, int column);
bool db_null(const struct db_statement *s, int column);
int db_columns(const struct db_statement *s);
const char *db_column_name(const struct db_statement *s, int column);

/* The first column of the first row; `fallback` where there is no row or an error was printed. */
long long db_value(struct db *db, const char *sql, long long fallback);

#endif
