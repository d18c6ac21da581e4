#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"
#include "store/mount.h"

#define FOR_A_MOMENT " for a moment"
enum { LOCK_PAUSE_MS = 20 };

/* Errors of the world below, that more tries would only repeat. */
static bool breaks(int code)
{
	int kind = code & 0xff;

	return kind == SQLITE_FULL || kind == SQLITE_IOERR || kind == SQLITE_READONLY;
}

/* No SQLite database, or no longer: readers cannot help it either. */
static bool is_damage(int code)
{
	return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

/* One message for the failed call; -1. A broken database says so once, and nothing after. */
static int db_fail(struct db *db, const char *sql)
{
	int code = sqlite3_extended_errcode(db->handle);

	if (db->broken)
		return -1;
	if (is_damage(code)) {
		db->broken = true;
		return error("database %s: %s: it is left as it is. Move it away, and `moelab ingest` makes a new one of the "
			"run directories, which keep all; or name another with --db", db->path,
			sqlite3_errmsg(db->handle));
	}
	if (db->lock >= 0 && breaks(code)) {
		db->broken = true;
		return error("database %s: %s: nothing more is written to it. The runs keep all in "
			"their directories; mend the cause, then `moelab ingest`",
			db->path, sqlite3_errmsg(db->handle));
	}
	return error("database %s: %s%s%s", db->path, sqlite3_errmsg(db->handle),
		sql ? ", in: " : "", sql ? sql : "");
}

int db_exec(struct db *db, const char *sql)
{
	if (db->broken)
		return -1;
	if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) != SQLITE_OK)
		return db_fail(db, strlen(sql) < 500 ? sql : NULL);
	return 0;
}

/* What the lock's file says of its holder: "PID", or "PID for a moment". */
static void read_holder(int fd, char *text, size_t size)
{
	ssize_t n = pread(fd, text, size - 1, 0);

	text[n > 0 ? n : 0] = '\0';
}

static int lock_fail(struct db *db, const char *path, const char *holder, enum db_mode mode)
{
	if (errno != EAGAIN && errno != EACCES)
		return error_errno("cannot lock %s: keep the database on a file system with locks (--db)",
			path);
	if (mode == DB_WRITE_IF_FREE)
		return -1;
	return error("database %s is written by another moelab (process %s): wait for it, "
		"or use another --db", db->path, *holder ? holder : "unknown");
}

/* 0, or -1 with errno. Whoever writes for a moment is waited for; a new holder needs some time to say so. */
static int lock_wait(int fd, char *holder, size_t size)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int tries = 0, all = DB_MOMENT_MS / LOCK_PAUSE_MS;

	while (fcntl(fd, F_OFD_SETLK, &lock)) {
		if (errno != EAGAIN && errno != EACCES)
			return -1;
		read_holder(fd, holder, size);
		if (++tries > (strstr(holder, FOR_A_MOMENT) ? all : 5)) {
			errno = EAGAIN;
			return -1;
		}
		usleep(LOCK_PAUSE_MS * 1000);
	}
	return 0;
}

/* An open-file-description lock: the kernel frees it with the last descriptor, so none is stale. */
static int lock_take(struct db *db, enum db_mode mode)
{
	char *path = xasprintf("%s.lock", db->path), holder[64] = "";
	int ret = 0;

	db->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (db->lock < 0)
		ret = error_errno("cannot write %s", path);
	else if (lock_wait(db->lock, holder, sizeof holder))
		ret = lock_fail(db, path, holder, mode);
	else if (ftruncate(db->lock, 0) || dprintf(db->lock, "%d%s", (int)getpid(),
			mode == DB_WRITE_IF_FREE ? FOR_A_MOMENT : "") < 0)
		ret = error_errno("cannot write %s", path);
	free(path);
	return ret;
}

long db_writer(const struct db *db)
{
	char *path = xasprintf("%s.lock", db->path), holder[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		read_holder(fd, holder, sizeof holder);
		close(fd);
	}
	free(path);
	return strtol(holder, NULL, 10);
}

bool db_is_written(const struct db *db)
{
	char *path = xasprintf("%s.lock", db->path);
	int fd = db->lock < 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	bool held = db->lock >= 0;

	if (fd >= 0) {
		held = !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
		close(fd);
	}
	free(path);
	return held;
}

bool db_is_gone(struct db *db)
{
	int moved = 0;

	sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
	db->gone |= moved;
	db->broken |= db->gone;
	return db->gone;
}

/*
 * A write-ahead log lets readers read while runs are logged. SQLite before 3.51.3 may corrupt it
 * when two connections write or checkpoint; ours has one writer, and readers open read-only. It
 * needs shared memory, which network file systems lack. The mode is stored in the file: set both
 * ways.
 */
static int set_journal(struct db *db)
{
	char *folder = path_folder(db->path);
	bool local = mount_is_local(folder, NULL);

	free(folder);
	return db_exec(db, local ? "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL" :
		"PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL");
}

/* The names that SQLite gives a meaning of its own; what is there and no file. */
static int check_name(const struct db *db)
{
	struct stat st;

	if (!*db->path || !strcmp(db->path, ":memory:"))
		return error("database \"%s\": other commands read it, so it must be the name of a "
			"file", db->path);
	if (!stat(db->path, &st) && !S_ISREG(st.st_mode))
		return error("database %s: this is no file", db->path);
	return 0;
}

/* SQLite would take "file:x" for a URI. */
static int open_handle(struct db *db, int flags)
{
	char *name = xasprintf("%s%s", *db->path == '/' ? "" : "./", db->path);
	int code = sqlite3_open_v2(name, &db->handle, flags | SQLITE_OPEN_EXRESCODE, NULL);

	free(name);
	return code == SQLITE_OK ? 0 : db_fail(db, NULL);
}

static int check_links(const struct db *db)
{
	struct stat st;

	if (stat(db->path, &st) || st.st_nlink == 1)
		return 0;
	return error("database %s has %d names (hard links), and SQLite keeps its log by name: write a "
		"copy of it, or remove the others", db->path, (int)st.st_nlink);
}

/* May this process write it, without a word if not? */
static bool is_ours(const struct db *db)
{
	char *folder = path_folder(db->path);
	struct stat st;
	bool ours = !access(folder, W_OK) && (access(db->path, F_OK) ||
		(!access(db->path, W_OK) && !stat(db->path, &st) && st.st_nlink == 1));

	free(folder);
	return ours;
}

static int db_open_write(struct db *db, enum db_mode mode)
{
	char *folder = path_folder(db->path);
	int ret = mode == DB_WRITE_IF_FREE ? (is_ours(db) ? 0 : -1) : path_mkdirs(folder);

	free(folder);
	if (ret || check_links(db) || lock_take(db, mode) ||
		open_handle(db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE))
		return -1;
	if (sqlite3_db_readonly(db->handle, "main") == 1)
		return error(
			"database %s cannot be written: it or its disk is read-only", db->path);
	return 0;
}

static int db_open_read(struct db *db)
{
	if (!path_exists(db->path))
		return error(
			"no database %s: `moelab run` makes one, `moelab ingest` rebuilds it from "
			"run directories, --db names another",
			db->path);
	return open_handle(db, SQLITE_OPEN_READONLY);
}

/* Readers bring no database up to date: what an older one lacks is empty for this connection. */
static int stand_in(struct db *db)
{
	static const char *const tables[][2] = {{"part", "run_id, part, params, active, flops"},
		{"exclusion", "run_id, reason"}, {"tag", "run_id, name"}, {"state", "run_id, step, state, mean"}};
	char sql[128];

	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		snprintf(sql, sizeof sql, "SELECT count(*) FROM sqlite_schema WHERE name = '%s'",
			tables[i][0]);
		if (db_value(db, sql, 1))
			continue;
		snprintf(sql, sizeof sql, "CREATE TEMP TABLE %s(%s)", tables[i][0], tables[i][1]);
		if (db_exec(db, sql))
			return -1;
	}
	return 0;
}

int db_open(struct db *db, const char *path, enum db_mode mode)
{
	static const char pragmas[] =
		"PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; "
		"PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0; "
		"PRAGMA journal_size_limit = 67108864";

	*db = (struct db){.path = path_follow(path), .lock = -1};
	if (check_name(db))
		goto failed;
	if (mode == DB_READ ? db_open_read(db) : db_open_write(db, mode))
		goto failed;
	sqlite3_busy_timeout(db->handle, DB_BUSY_MS);
	if (db_check_schema(db, mode) || (mode != DB_READ && set_journal(db)) || db_exec(db, pragmas) ||
		(mode == DB_READ && stand_in(db)))
		goto failed;
	return 0;
failed:
	db_close(db);
	return -1;
}

void db_close(struct db *db)
{
	if (db->handle && db->lock >= 0 && !db_is_gone(db) && !db->broken) {
		/* Back to one plain file, that can be copied and read from anywhere. Readers at
		   work keep the log; then the next writer does it. */
		sqlite3_busy_timeout(db->handle, 0);
		sqlite3_exec(db->handle, "PRAGMA optimize; PRAGMA journal_mode = DELETE", NULL,
			NULL, NULL);
	}
	sqlite3_close_v2(db->handle);
	if (db->lock >= 0)
		close(db->lock);
	free(db->path);
	*db = (struct db){.lock = -1};
}

int db_begin(struct db *db)
{
	return db_exec(db, "BEGIN IMMEDIATE");
}

int db_commit(struct db *db)
{
	if (!db_exec(db, "COMMIT"))
		return 0;
	db_rollback(db);
	return -1;
}

void db_rollback(struct db *db)
{
	if (db->handle && !sqlite3_get_autocommit(db->handle))
		sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

static void statement_fail(struct db_statement *s, const char *sql)
{
	if (!s->failed)
		db_fail(s->db, sql);
	s->failed = true;
}

void db_prepare(struct db_statement *s, struct db *db, const char *sql)
{
	*s = (struct db_statement){.db = db, .failed = db->broken};
	if (!s->failed && sqlite3_prepare_v2(db->handle, sql, -1, &s->handle, NULL) != SQLITE_OK)
		statement_fail(s, sql);
}

static int parameter(const struct db_statement *s, const char *name)
{
	int i = sqlite3_bind_parameter_index(s->handle, name);

	if (!i)
		BUG("no parameter %s in: %s", name, sqlite3_sql(s->handle));
	return i;
}

void db_bind_int(struct db_statement *s, const char *name, long long value)
{
	if (!s->failed && sqlite3_bind_int64(s->handle, parameter(s, name), value) != SQLITE_OK)
		statement_fail(s, sqlite3_sql(s->handle));
}

void db_bind_real(struct db_statement *s, const char *name, double value)
{
	if (!isfinite(value))
		db_bind_null(s, name);
	else if (!s->failed &&
		 sqlite3_bind_double(s->handle, parameter(s, name), value) != SQLITE_OK)
		statement_fail(s, sqlite3_sql(s->handle));
}

void db_bind_text(struct db_statement *s, const char *name, const char *text)
{
	if (!s->failed && sqlite3_bind_text(s->handle, parameter(s, name), text, -1,
			SQLITE_TRANSIENT) != SQLITE_OK)
		statement_fail(s, sqlite3_sql(s->handle));
}

void db_bind_null(struct db_statement *s, const char *name)
{
	if (!s->failed && sqlite3_bind_null(s->handle, parameter(s, name)) != SQLITE_OK)
		statement_fail(s, sqlite3_sql(s->handle));
}

bool db_step(struct db_statement *s)
{
	int code;

	if (s->failed)
		return false;
	code = sqlite3_step(s->handle);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		statement_fail(s, sqlite3_sql(s->handle));
	return code == SQLITE_ROW;
}

void db_run(struct db_statement *s)
{
	while (db_step(s))
		continue;
	db_reset(s);
}

void db_reset(struct db_statement *s)
{
	sqlite3_reset(s->handle);	/* repeats the error of the step, which is told already */
}

int db_finish(struct db_statement *s)
{
	sqlite3_finalize(s->handle);
	s->handle = NULL;
	return s->failed ? -1 : 0;
}

long long db_int(const struct db_statement *s, int column)
{
	return sqlite3_column_int64(s->handle, column);
}

double db_real(const struct db_statement *s, int column)
{
	return db_null(s, column) ? NAN : sqlite3_column_double(s->handle, column);
}

const char *db_text(const struct db_statement *s, int column)
{
	return (const char *)sqlite3_column_text(s->handle, column);
}

bool db_null(const struct db_statement *s, int column)
{
	return sqlite3_column_type(s->handle, column) == SQLITE_NULL;
}

int db_columns(const struct db_statement *s)
{
	return s->handle ? sqlite3_column_count(s->handle) : 0;
}

const char *db_column_name(const struct db_statement *s, int column)
{
	return sqlite3_column_name(s->handle, column);
}

long long db_value(struct db *db, const char *sql, long long fallback)
{
	struct db_statement s;
	long long value = fallback;

	db_prepare(&s, db, sql);
	if (db_step(&s))
		value = db_int(&s, 0);
	return db_finish(&s) ? fallback : value;
}
