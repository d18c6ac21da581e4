/* Opening, versions, locks, failing disks. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "store/db.h"
#include "message.h"

static char folder[256], path[384];

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(path_tmp_folder(folder, sizeof folder, "test"), 0);
	snprintf(path, sizeof path, "%s/lab.db", folder);
	message[0] = '\0';
	error_sink = keep_message;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	error_sink = NULL;
	return path_remove_tree(folder);
}

static void open_new(struct db *db)
{
	assert_int_equal(db_open(db, path, DB_WRITE), 0);
}

static void test_new_database_has_the_schema(void **state)
{
	struct db db;

	(void)state;
	open_new(&db);
	assert_int_equal(db_value(&db, "PRAGMA application_id", 0), DB_APPLICATION_ID);
	assert_int_equal(db_value(&db, "PRAGMA user_version", 0), db_version(db_migrations));
	assert_int_equal(db_value(&db, "SELECT count(*) FROM runs", -1), 0);
	assert_int_equal(db_value(&db, "SELECT count(*) FROM curve", -1), 0);
	/* The text in the program is the files of the source. */
	char *schema = path_read("src/store/schema.sql", NULL), *bench = path_read("src/store/bench.sql", NULL);
	assert_memory_equal(schema, db_schema, strlen(schema));
	assert_ptr_equal(bench_schema, db_schema + strlen(schema));
	assert_string_equal(bench, bench_schema);
	free(schema);
	free(bench);
	db_close(&db);
	assert_int_equal(db_open(&db, path, DB_READ), 0);
	assert_int_equal(db_exec(&db, "DELETE FROM run"), -1);
	db_close(&db);
}

/* A closed database is one plain file, that can be copied. */
static void test_close_leaves_one_file(void **state)
{
	struct db db;
	char wal[512];

	(void)state;
	open_new(&db);
	assert_int_equal(db_exec(&db, "INSERT INTO sweep(name) VALUES ('a')"), 0);
	db_close(&db);
	snprintf(wal, sizeof wal, "%s-wal", path);
	assert_false(path_exists(wal));
	char *bytes = path_read(path, NULL);
	assert_int_equal(bytes[18], 1);		/* the header's journal version: 2 is a write-ahead log */
	free(bytes);
	assert_int_equal(db_open(&db, path, DB_READ), 0);
	assert_int_equal(db_value(&db, "SELECT count(*) FROM sweep", 0), 1);
	db_close(&db);
}

static void test_one_writer(void **state)
{
	struct db first, second, reader;

	(void)state;
	open_new(&first);
	assert_int_equal(db_open(&second, path, DB_WRITE), -1);
	assert_non_null(strstr(message, "is written by another moelab (process"));
	assert_int_equal(db_open(&reader, path, DB_READ), 0);	/* readers may */
	assert_true(db_is_written(&reader));
	db_close(&first);
	assert_false(db_is_written(&reader));
	open_new(&second);
	db_close(&second);
	db_close(&reader);
}

static const char *beside(const char *name)
{
	static char at[512];

	snprintf(at, sizeof at, "%s/%s", folder, name);
	return at;
}

/* Whatever it is called: the lock is of the file that the name leads to. */
static void test_one_writer_through_links(void **state)
{
	struct db first, second;

	(void)state;
	assert_int_equal(mkdir(beside("other"), 0777) | symlink("../lab.db", beside("other/a.db")) |
		symlink("other/a.db", beside("b.db")) | symlink(".", beside("here")), 0);
	assert_int_equal(db_open(&first, beside("b.db"), DB_WRITE), 0);	/* the file is not there yet */
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(db_open(&second, path, DB_WRITE), -1);
	assert_non_null(strstr(message, "is written by another moelab"));
	assert_int_equal(db_open(&second, beside("other/a.db"), DB_WRITE), -1);
	assert_int_equal(db_open(&second, beside("here/lab.db"), DB_WRITE), -1);
	assert_non_null(strstr(message, "is written by another moelab"));
	assert_int_equal(link(path, beside("hard.db")), 0);
	assert_int_equal(db_open(&second, beside("hard.db"), DB_WRITE), -1);
	assert_non_null(strstr(message, "has 2 names (hard links)"));
	db_close(&first);
	assert_int_equal(db_open(&second, path, DB_READ), 0);
	db_close(&second);
	assert_int_equal(unlink(beside("hard.db")), 0);
	open_new(&first);
	db_close(&first);
}

static void test_names(void **state)
{
	static const char *const no_file[] = {"", ":memory:", "/dev/null", "/tmp"};
	char before[512];
	struct db db;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(no_file); i++)
		for (int mode = DB_READ; mode <= DB_WRITE; mode++) {
			message[0] = '\0';
			assert_int_equal(db_open(&db, no_file[i], (enum db_mode)mode), -1);
			assert_non_null(strstr(message, i < 2 ? "must be the name of a file" : "is no file"));
		}
	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(db_open(&db, "file:a.db?mode=memory", DB_WRITE), 0);
	assert_int_equal(access("file:a.db?mode=memory", F_OK), 0);
	db_close(&db);
	assert_int_equal(chdir(before), 0);
}

static void add_sweep(struct db *db, const char *name)
{
	char sql[128];

	snprintf(sql, sizeof sql, "INSERT INTO sweep(name) VALUES ('%s')", name);
	assert_int_equal(db_exec(db, sql), 0);
}

/* Closing the old one leaves the new one's log, that has the same name, where it is. */
static void test_deleted_while_written(void **state)
{
	struct db old, new;

	(void)state;
	open_new(&old);
	add_sweep(&old, "a");
	assert_false(db_is_gone(&old));
	assert_int_equal(unlink(path) | unlink(beside("lab.db-wal")) | unlink(beside("lab.db-shm")) |
		unlink(beside("lab.db.lock")), 0);
	assert_true(db_is_gone(&old));
	assert_int_equal(db_exec(&old, "DELETE FROM sweep"), -1);
	open_new(&new);
	add_sweep(&new, "b");
	db_close(&old);
	assert_int_equal(access(beside("lab.db-wal"), F_OK), 0);
	assert_false(db_is_gone(&new));
	add_sweep(&new, "c");
	db_close(&new);
	open_new(&new);
	assert_int_equal(db_value(&new, "SELECT count(*) FROM sweep WHERE name IN ('b', 'c')", 0), 2);
	db_close(&new);
}

static void test_refusals(void **state)
{
	struct db db;

	(void)state;
	assert_int_equal(db_open(&db, path, DB_READ), -1);
	assert_non_null(strstr(message, "no database"));
	open_new(&db);
	assert_int_equal(db_exec(&db, "PRAGMA user_version = 99"), 0);
	db_close(&db);
	for (int mode = DB_READ; mode <= DB_WRITE; mode++) {
		assert_int_equal(db_open(&db, path, (enum db_mode)mode), -1);
		assert_non_null(
			strstr(message, "made by a newer moelab (schema 99, this one knows 17)"));
	}
	assert_int_equal(
		path_write(path, "not a database, but long enough to be looked at\n", 48), 0);
	assert_int_equal(db_open(&db, path, DB_READ), -1);
	assert_non_null(strstr(message, "not a database"));
	unlink(path);
	sqlite3 *other;
	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	assert_int_equal(sqlite3_exec(other, "CREATE TABLE t(x)", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(other);
	assert_int_equal(db_open(&db, path, DB_WRITE), -1);
	assert_non_null(strstr(message, "is no database of moelab"));
}

static void test_migration(void **state)
{
	static const char *const good[] = {"ALTER TABLE run ADD COLUMN colour TEXT",
		"UPDATE run SET colour = 'red'", NULL};
	static const char *const bad[] = {"ALTER TABLE run ADD COLUMN a TEXT",
		"ALTER TABLE run ADD COLUMN b TEXT; SELECT nonsense", NULL};
	struct db db;
	char backup[512];

	(void)state;
	assert_int_equal(db_version(good), 3);
	open_new(&db);
	assert_int_equal(db_exec(&db, "INSERT INTO run(identity, dir, label, seed) "
		"VALUES ('i', 'd', 'l', 1)"), 0);
	assert_int_equal(db_exec(&db, "PRAGMA user_version = 1"), 0);
	assert_int_equal(db_migrate(&db, bad), -1);	/* the first step holds, the second is undone */
	assert_int_equal(db_value(&db, "PRAGMA user_version", 0), 2);
	assert_int_equal(db_value(&db, "SELECT count(*) FROM pragma_table_info('run') "
		"WHERE name IN ('a', 'b')", -1), 1);
	assert_int_equal(db_exec(&db, "PRAGMA user_version = 1"), 0);
	assert_int_equal(db_migrate(&db, good), 0);
	assert_int_equal(db_value(&db, "PRAGMA user_version", 0), 3);
	assert_int_equal(db_value(&db, "SELECT count(*) FROM run WHERE colour = 'red'", 0), 1);
	db_close(&db);
	snprintf(backup, sizeof backup, "%s.bak-v1", path);
	sqlite3 *old;
	assert_int_equal(sqlite3_open_v2(backup, &old, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_exec(old, "SELECT dir FROM run", NULL, NULL, NULL), SQLITE_OK);
	assert_int_not_equal(
		sqlite3_exec(old, "SELECT colour FROM run", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(old);
}

/* Name, place, type and key of every column, also of the views. */
static char *shape_of(struct db *db)
{
	struct db_statement s;
	char *shape;

	db_prepare(&s, db, "SELECT group_concat(line, char(10)) FROM ("
		"SELECT t.name || ' ' || c.cid || ' ' || c.name || ' ' || c.type || ' ' || c.\"notnull\" "
		"|| ' ' || c.pk || ' ' || t.wr || t.strict AS line "
		"FROM pragma_table_list t JOIN pragma_table_info(t.name) c "
		"WHERE t.schema = 'main' AND t.type IN ('table', 'view') AND t.name NOT LIKE 'sqlite%' "
		"UNION ALL SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL "
		"ORDER BY 1)");
	assert_true(db_step(&s));
	shape = xstrdup(db_text(&s, 0));
	assert_int_equal(db_finish(&s), 0);
	return shape;
}

/* A database of the first version: readable as it is, and by the next writer made like a new one. */
static void test_version_1(void **state)
{
	char *text = path_read("tests/store/lab_v1.sql", NULL), *new, *migrated;
	sqlite3 *handle;
	struct db db;

	(void)state;
	assert_non_null(text);
	open_new(&db);
	new = shape_of(&db);
	db_close(&db);
	unlink(path);
	assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
	assert_int_equal(sqlite3_exec(handle, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(handle);
	assert_int_equal(db_open(&db, path, DB_READ), 0);
	assert_int_equal(db_value(&db, "SELECT count(*) FROM runs WHERE loss < 2.6", 0), 2);
	assert_int_equal(db_value(&db, "SELECT count(*) FROM tag, exclusion, part", -1), 0);
	db_close(&db);
	assert_int_equal(db_open(&db, path, DB_WRITE), 0);
	migrated = shape_of(&db);
	assert_string_equal(migrated, new);
	assert_int_equal(db_value(&db, "PRAGMA user_version", 0), db_version(db_migrations));
	assert_int_equal(db_value(&db, "SELECT count(*) FROM curve", 0), 6);
	assert_int_equal(db_value(&db, "SELECT count(*) FROM slice", -1), 0);
	assert_int_equal(db_exec(&db, "INSERT INTO tag VALUES (1, 'b'), (1, 'a')"), 0);
	assert_int_equal(db_value(&db, "SELECT count(*) FROM runs WHERE tags = 'a b' AND loss = 2.5 "
		"AND excluded IS NULL", 0), 1);
	assert_int_equal(db_value(&db, "SELECT count(*) FROM runs WHERE abs(perplexity - exp(loss)) < 1e-9", 0), 2);
	assert_int_equal(db_exec(&db, "INSERT INTO param VALUES (1, 'model.head', 'forecast')"), 0);
	assert_int_equal(db_value(&db, "SELECT run_id FROM runs WHERE perplexity IS NULL AND loss IS NOT NULL", 0), 1);
	db_close(&db);
	free(migrated);
	free(new);
	free(text);
}

static void test_statement_error_sticks(void **state)
{
	struct db_statement s;
	struct db db;

	(void)state;
	open_new(&db);
	db_prepare(&s, &db, "SELECT nonsense FROM run WHERE run_id = :run");
	assert_non_null(strstr(message, "nonsense"));
	message[0] = '\0';
	db_bind_int(&s, ":run", 1);
	assert_false(db_step(&s));
	db_run(&s);
	assert_int_equal(db_finish(&s), -1);
	assert_string_equal(message, "");	/* told once */
	db_prepare(&s, &db, "INSERT INTO run(identity, dir, label, seed) VALUES (:a, :a, 'l', 1)");
	db_bind_text(&s, ":a", "x");
	db_run(&s);
	db_run(&s);		/* the same again: UNIQUE fails */
	assert_non_null(strstr(message, "UNIQUE"));
	assert_int_equal(db_finish(&s), -1);
	assert_false(db.broken);
	db_close(&db);
}

static void test_not_finite_is_null(void **state)
{
	struct db_statement s;
	struct db db;

	(void)state;
	open_new(&db);
	db_prepare(&s, &db, "SELECT :nan IS NULL, :inf IS NULL, :nan");
	db_bind_real(&s, ":nan", NAN);
	db_bind_real(&s, ":inf", INFINITY);
	assert_true(db_step(&s));
	assert_true(db_int(&s, 0) && db_int(&s, 1) && isnan(db_real(&s, 2)));
	assert_int_equal(db_finish(&s), 0);
	db_close(&db);
}

static void fill(struct db *db, int rows)
{
	struct db_statement s;

	db_begin(db);
	db_prepare(
		&s, db, "INSERT INTO sweep(name, question) VALUES (:name, hex(randomblob(500)))");
	for (int i = 0; i < rows; i++) {
		char name[32];
		snprintf(name, sizeof name, "%d-%lld", i,
			db_value(db, "SELECT count(*) FROM sweep", 0));
		db_bind_text(&s, ":name", name);
		db_run(&s);
	}
	db_finish(&s);
	db_commit(db);
}

/* A full disk: told once, then silence, and what was committed before stays. */
static void test_disk_full(void **state)
{
	struct rlimit limit = {256 << 10, RLIM_INFINITY}, before;
	struct db db;

	(void)state;
	open_new(&db);
	fill(&db, 10);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (int i = 0; i < 10 && !db.broken; i++)
		fill(&db, 100);
	assert_true(db.broken);
	assert_non_null(strstr(message, "nothing more is written to it"));
	message[0] = '\0';
	fill(&db, 10);
	assert_int_equal(db_begin(&db), -1);
	assert_string_equal(message, "");
	db_close(&db);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(db_open(&db, path, DB_READ), 0);
	assert_true(db_value(&db, "SELECT count(*) FROM sweep", 0) >= 10);
	assert_int_equal(
		db_value(&db, "SELECT integrity_check = 'ok' FROM pragma_integrity_check", 0), 1);
	db_close(&db);
}

/* kill -9 of a writer: its lock is free at once, its transactions are whole or absent. */
static void test_killed_writer(void **state)
{
	struct db db;
	int ready[2], status;
	char byte;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	pid_t child = fork();
	if (!child) {
		if (db_open(&db, path, DB_WRITE))
			_exit(1);
		for (;;) {
			fill(&db, 7);
			if (write(ready[1], "x", 1) != 1)
				_exit(2);
		}
	}
	for (int i = 0; i < 5; i++)
		assert_int_equal(read(ready[0], &byte, 1), 1);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	assert_true(WIFSIGNALED(status));
	open_new(&db);
	long long n = db_value(&db, "SELECT count(*) FROM sweep", 0);
	assert_true(n >= 35 && n % 7 == 0);
	db_close(&db);
	close(ready[0]);
	close(ready[1]);
}

/* Files that this user may only read: reading works, writing is refused with one line. */
static void test_read_only(void **state)
{
	struct db database;
	char lock[512];
	int status;

	(void)state;
	open_new(&database);
	fill(&database, 3);
	db_close(&database);
	snprintf(lock, sizeof lock, "%s.lock", path);
	assert_int_equal(chmod(path, 0444) | chmod(lock, 0666) | chmod(folder, 0555), 0);
	pid_t child = fork();
	if (!child) {
		if (geteuid() == 0 && setuid(65534))
			_exit(1);
		if (db_open(&database, path, DB_READ) ||
				db_value(&database, "SELECT count(*) FROM sweep", 0) != 3)
			_exit(2);
		db_close(&database);
		if (!db_open(&database, path, DB_WRITE) || !strstr(message, "cannot be written"))
			_exit(3);
		_exit(0);
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	assert_int_equal(chmod(folder, 0755), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_new_database_has_the_schema), TEST(test_close_leaves_one_file),
		TEST(test_one_writer), TEST(test_one_writer_through_links), TEST(test_names),
		TEST(test_deleted_while_written), TEST(test_refusals), TEST(test_migration), TEST(test_version_1),
		TEST(test_statement_error_sticks), TEST(test_not_finite_is_null),
		TEST(test_disk_full), TEST(test_killed_writer), TEST(test_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
