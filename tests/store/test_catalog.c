/* What the catalogue keeps when it is told again, and which of several sweeps and runs a name means. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "store/catalog.h"
#include "store/query.h"

static char root[256], path[384];
static struct arena arena;
static struct db db;

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(path_tmp_folder(root, sizeof root, "catalog"), 0);
	snprintf(path, sizeof path, "%s/lab.db", root);
	return db_open(&db, path, DB_WRITE);
}

static int tear_down(void **state)
{
	(void)state;
	db_close(&db);
	arena_release(&arena);
	return path_remove_tree(root);
}

static void assert_sql(const char *condition)
{
	if (db_value(&db, arena_printf(&arena, "SELECT %s", condition), -1) != 1)
		fail_msg("not so: %s", condition);
}

/* One run and another of a sweep, the second with an axis. */
static json_t *sweep_of(const char *name, const char *axis, const char *value)
{
	json_t *sweep = json_loads(arena_printf(&arena, "{\"name\":\"%s\",\"file\":\"sweeps/%s.yaml\",\"planned\":\"2026\","
		"\"targets\":[],\"published\":[{\"label\":\"b\",\"quantity\":\"loss\",\"value\":%s,\"text\":\"%s\"}],\"runs\":["
		"{\"run\":\"aaaa\",\"dir\":\"a\",\"label\":\"a\",\"seed\":1,\"steps\":20,\"axes\":[]},"
		"{\"run\":\"bbbb\",\"dir\":\"b\",\"label\":\"b\",\"seed\":1,\"steps\":20,\"axes\":"
		"[{\"key\":\"%s\",\"short_key\":\"k\",\"value\":\"%s\"}]}]}", name, name, value, value, axis, value), 0, NULL);

	assert_non_null(sweep);
	return sweep;
}

static void add(json_t *sweep)
{
	assert_int_equal(catalog_write(root, sweep), 0);
	assert_int_equal(catalog_add_sweep(&db, root, sweep), 0);
	json_decref(sweep);
}

/* Nothing is left of what a sweep said before. */
static void test_sweep_told_again(void **state)
{
	(void)state;
	add(sweep_of("s", "train.lr", "1"));
	add(sweep_of("s", "train.clip", "2"));
	assert_sql("count(*) = 1 AND min(key) = 'train.clip' FROM axis");
	assert_sql("count(*) = 1 AND min(value) = 2 FROM published");
	assert_sql("group_concat(n) = '1,2' FROM (SELECT n FROM member ORDER BY n)");
}

/* A run that is forgotten is queued again in its place. */
static void test_forgotten(void **state)
{
	(void)state;
	add(sweep_of("s", "train.lr", "1"));
	assert_int_equal(catalog_set_state(&db, catalog_run_id(&db, "bbbb"), RUN_DONE, "x"), 0);
	assert_int_equal(db_exec(&db, "INSERT INTO step (run_id, step) SELECT run_id, 1 FROM run"), 0);
	assert_int_equal(catalog_forget_run(&db, root, "bbbb"), 0);
	assert_sql("state = 'queued' AND n = 2 AND label = 'b' FROM runs WHERE identity = 'bbbb'");
	assert_sql("count(*) = 1 FROM axis");
	assert_sql("count(*) = 2 FROM member");
	assert_sql("count(*) = 1 AND min(identity) = 'aaaa' FROM step JOIN run USING (run_id)");
}

/* Who does not know the steps, or the config, leaves them. */
static void test_run_told_again(void **state)
{
	struct run_info info = {.identity = "cccc", .label = "c", .sweep = "free", .seed = 1},
		other = {.identity = "dddd", .label = "d", .sweep = "other", .seed = 1};
	long long id;

	(void)state;
	assert_int_equal(catalog_add_run(&db, root, "c", &info), 0);
	assert_sql("steps IS NULL FROM run");
	info.steps = 20;
	assert_int_equal(catalog_add_run(&db, root, "c", &info), 0);
	info.steps = 0;
	assert_int_equal(catalog_add_run(&db, root, "c", &info), 0);
	assert_sql("count(*) = 1 AND min(steps) = 20 FROM run");
	id = catalog_run_id(&db, "cccc");
	assert_int_equal(catalog_set_config(&db, id, "a: 1\n", "{\"a\":1,\"b\":2}"), 0);
	assert_int_equal(catalog_set_config(&db, id, NULL, "{\"a\":3}"), 0);
	assert_sql("config = 'a: 1' || char(10) FROM run");
	assert_sql("sum(value) = 5 FROM param");
	assert_int_equal(catalog_add_run(&db, root, "d", &other), 0);
	assert_sql("count(*) = 2 AND max(n) = 1 FROM member");	/* each the first of its own sweep */
}

/* By its file a sweep and not its trials, and the one that names most of the path. */
static void test_sweep_by_file(void **state)
{
	struct sweep_row sweep;

	(void)state;
	assert_int_equal(db_exec(&db, "INSERT INTO sweep(sweep_id, name, file, planned) VALUES "
		"(1, 'micro/t.tune', 'm/t.yaml', '2026'), (2, 't', 't.yaml', '2026'), (3, 'micro/t', 'm/t.yaml', '2025')"), 0);
	assert_int_equal(query_sweep(&db, "m/t.yaml", &arena, &sweep), 0);
	assert_string_equal(sweep.name, "micro/t");
	assert_int_equal(query_sweep(&db, "/x/sweeps/micro/t.yaml", &arena, &sweep), 0);
	assert_string_equal(sweep.name, "micro/t");
	assert_int_equal(query_sweep(&db, "micro/t.tune", &arena, &sweep), 0);
	assert_string_equal(sweep.name, "micro/t.tune");
	assert_int_equal(query_sweep(&db, "t", &arena, &sweep), 0);
	assert_string_equal(sweep.name, "t");
}

/* In the sweep's order; a run of two sweeps is one. */
static void test_runs(void **state)
{
	const char *all[] = {"label=*"};
	struct run_row *runs;
	int n;

	(void)state;
	assert_int_equal(db_exec(&db, "INSERT INTO sweep(sweep_id, name) VALUES (1, 's'), (2, 't'); "
		"INSERT INTO run(run_id, identity, dir, label, seed) VALUES (1, 'i', 'd', 'l', 1), (2, 'j', 'e', 'm', 1), "
		"(3, 'k', 'f', 'n', 1); INSERT INTO member(sweep_id, run_id, label, variant, n) VALUES (1, 1, 'l', 'l', 3), "
		"(1, 2, 'm', 'm', 1), (1, 3, 'n', 'n', 2), (2, 2, 'm', 'm', 1)"), 0);
	assert_int_equal(query_runs(&db, 1, &arena, &runs, &n), 0);
	assert_true(n == 3 && runs[0].run_id == 2 && runs[1].run_id == 3 && runs[2].run_id == 1);
	assert_int_equal(query_select(&db, &(struct selection){.selectors = all, .n = 1}, &arena, &runs, &n), 0);
	assert_true(n == 3 && runs[0].run_id == 1 && runs[1].run_id == 2 && runs[2].run_id == 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_sweep_told_again), TEST(test_forgotten), TEST(test_run_told_again), TEST(test_sweep_by_file),
		TEST(test_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
