/* What benches leave: the file, the rows, the comparison with the time before, an older database. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "store/bench.h"
#include "store/ingest.h"
#include "message.h"

static char root[256], path[384], file[384];

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(path_tmp_folder(root, sizeof root, "test"), 0);
	snprintf(path, sizeof path, "%s/lab.db", root);
	snprintf(file, sizeof file, "%s/bench.jsonl", root);
	message[0] = '\0';
	error_sink = keep_message;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	error_sink = NULL;
	return path_remove_tree(root);
}

/* One bench of a scan and of a rate; pid tells those of one second apart. */
static void keep(long long pid, long long threads, double ms, double rate)
{
	struct bench_report r;

	bench_report_init(&r);
	r.pid = pid;
	r.cpu = "Processor";
	r.git = "abc";
	r.device = "cpu";
	r.threads = threads;
	bench_report_add(&r, "op", "scan", "[1, 2]", "forward_ms", -1);
	bench_report_add(&r, "op", "scan", "[1, 2]", "forward_ms", ms);
	bench_report_add(&r, "step", "a.yaml", "1 x 2", "tokens_per_s", rate);
	bench_report_add(&r, "op", "scan", "[1, 2]", "backward_ms", NAN);
	assert_int_equal(bench_report_keep(&r, path), 0);
	bench_report_release(&r);
}

static double number(struct db *db, const char *sql)
{
	struct db_statement s;
	double value = NAN;

	db_prepare(&s, db, sql);
	if (db_step(&s))
		value = db_real(&s, 0);
	assert_int_equal(db_finish(&s), 0);
	return value;
}

static void assert_near(double a, double b)
{
	if (!(fabs(a - b) < 1e-9))
		fail_msg("%g is not %g", a, b);
}

static void test_worse(void **state)
{
	struct db db;

	(void)state;
	keep(1, 2, 4, 100);
	keep(2, 2, 2, 100);
	keep(3, 1, 9, 100);	/* other circumstances: not to be compared with */
	keep(4, 2, 3, 80);
	assert_int_equal(db_open(&db, path, DB_READ), 0);
	assert_near(number(&db, "SELECT count(*) FROM bench_change WHERE value IS NOT NULL"), 2);
	assert_near(number(&db, "SELECT worse FROM bench_change WHERE metric = 'forward_ms'"), 1.5);
	assert_near(number(&db, "SELECT previous FROM bench_change WHERE metric = 'forward_ms'"), 2);
	assert_near(number(&db, "SELECT worse FROM bench_change WHERE metric = 'tokens_per_s'"), 1.25);
	assert_near(number(&db, "SELECT count(*) FROM benches WHERE metric = 'backward_ms' AND value IS NULL"), 4);
	db_close(&db);
}

static void test_rebuilt(void **state)
{
	struct ingest_count count = {0};
	char runs[384];
	struct db db;
	FILE *f;

	(void)state;
	keep(1, 2, 4, 100);
	keep(2, 2, 2, 100);
	unlink(path);
	f = fopen(file, "a");
	assert_non_null(f);
	fputs("{\"wall\":\"torn", f);
	fclose(f);
	snprintf(runs, sizeof runs, "%s/runs", root);
	assert_int_equal(path_mkdirs(runs), 0);
	assert_int_equal(db_open(&db, path, DB_WRITE), 0);
	for (int i = 0; i < 2; i++)	/* again: nothing twice */
		assert_int_equal(ingest_all(&db, root, &count), 0);
	assert_int_equal(count.benches, 4);
	assert_int_equal(count.skipped_lines, 2);
	assert_near(number(&db, "SELECT count(*) FROM benches"), 6);
	assert_near(number(&db, "SELECT worse FROM bench_change WHERE metric = 'forward_ms'"), 0.5);
	db_close(&db);
}

/* A supervisor at work keeps the database: the figures wait in the file. */
static void test_database_in_use(void **state)
{
	long n = 0, skipped = 0;
	struct db db;

	(void)state;
	assert_int_equal(db_open(&db, path, DB_WRITE), 0);
	keep(1, 2, 4, 100);
	assert_non_null(strstr(message, "moelab ingest"));
	assert_near(number(&db, "SELECT count(*) FROM bench"), 0);
	assert_int_equal(bench_ingest(&db, root, &n, &skipped), 0);
	assert_near(number(&db, "SELECT count(*) FROM measure"), 3);
	db_close(&db);
}

/* A database made before there were benches gets their tables. */
static void test_older_database(void **state)
{
	const char *const migrations[] = {bench_schema, NULL};
	struct db db;

	(void)state;
	keep(1, 2, 4, 100);
	assert_int_equal(db_open(&db, path, DB_WRITE), 0);
	assert_int_equal(db_exec(&db, "DROP VIEW bench_change; DROP VIEW benches; DROP TABLE measure; "
		"DROP TABLE bench; PRAGMA user_version = 1"), 0);
	assert_int_equal(db_migrate(&db, migrations), 0);
	assert_near(number(&db, "SELECT count(*) FROM benches"), 0);
	assert_near(number(&db, "SELECT count(*) FROM bench_change"), 0);
	db_close(&db);
}

static void test_cannot_write(void **state)
{
	struct bench_report r;

	(void)state;
	bench_report_init(&r);
	r.device = "cpu";
	assert_int_equal(path_mkdirs(file), 0);		/* a folder where the file should be */
	assert_int_equal(bench_report_keep(&r, path), -1);
	assert_non_null(strstr(message, "bench.jsonl"));
	bench_report_release(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_worse), TEST(test_rebuilt), TEST(test_database_in_use),
		TEST(test_older_database), TEST(test_cannot_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
