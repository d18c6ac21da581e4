/* Run directories that the database lacks: what is taken in, and what is left. */
#include <jansson.h>
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
#include "store/foreign.h"
#include "store/ingest.h"

static char root[256];
static struct arena arena;
static struct db db;

static void ignore_message(const char *line)
{
	(void)line;
}

static int set_up(void **state)
{
	(void)state;
	error_sink = ignore_message;
	return path_tmp_folder(root, sizeof root, "test") ||
		db_open(&db, arena_printf(&arena, "%s/lab.db", root), DB_WRITE);
}

static int tear_down(void **state)
{
	(void)state;
	error_sink = NULL;
	db_close(&db);
	arena_release(&arena);
	return path_remove_tree(root);
}

/* A run directory of two evaluations; its run.json names a sweep of another name. */
static const char *make_run(const char *label, enum run_state state)
{
	const char *dir = arena_printf(&arena, "%s/runs/%s-s1-aaaa0000", root, label);
	const char *identity = arena_printf(&arena, "aaaa0000%s", label), *path;
	struct run_info info = {.identity = identity, .label = label, .sweep = "first", .seed = 1,
		.steps = 20, .config = "{\"train.lr\":0.001}"};
	const char *metrics = arena_printf(&arena,
		"{\"t\":\"attempt\",\"run\":\"%s\",\"started\":\"2026\",\"pid\":1,\"boot_id\":\"b\","
		"\"start_time\":7}\n{\"t\":\"eval\",\"kind\":\"val\",\"step\":0,\"loss\":5}\n"
		"{\"t\":\"eval\",\"kind\":\"val\",\"step\":20,\"loss\":4}\n", identity);

	path = arena_printf(&arena, "%s/metrics.jsonl", dir);
	assert_int_equal(path_mkdirs(dir) | run_info_write(&info, dir) |
		path_write(path, metrics, strlen(metrics)) | run_dir_mark(dir, state, "said so"), 0);
	return dir;
}

/* The sweep as `run` records it: all its runs are queued. */
static void add_sweep(const char *const *labels)
{
	json_t *runs = json_array(), *sweep;

	for (; *labels; labels++)
		json_array_append_new(runs, json_pack("{s:s+, s:s++, s:s, s:s, s:i, s:i, s:[]}",
			"run", "aaaa0000", *labels, "dir", *labels, "-s1-", "aaaa0000",
			"label", *labels, "variant", *labels, "seed", 1, "steps", 20, "axes"));
	sweep = json_pack("{s:s, s:o}", "name", "micro/a", "runs", runs);
	assert_non_null(sweep);
	assert_int_equal(catalog_add_sweep(&db, root, sweep), 0);
	json_decref(sweep);
}

static int taken(void)
{
	struct ingest_count count = {0};

	assert_int_equal(ingest_gaps(&db, root, "micro/a", &count), 0);
	return count.runs;
}

static void assert_sql(const char *condition)
{
	if (db_value(&db, arena_printf(&arena, "SELECT %s", condition), -1) != 1)
		fail_msg("not so: %s", condition);
}

static void test_complete_runs_are_taken_in(void **state)
{
	static const char attempt[] = "{\"t\":\"attempt\",\"run\":\"x\",\"started\":\"2026\","
		"\"pid\":1,\"host\":\"elsewhere\"}\n";
	static const char *const labels[] = {"done", "diverged", "elsewhere", "new", "none", NULL};

	(void)state;
	make_run("done", RUN_DONE);
	make_run("diverged", RUN_DIVERGED);
	path_write(arena_printf(&arena, "%s/attempt.json", make_run("elsewhere", RUN_QUEUED)), attempt,
		strlen(attempt));
	make_run("new", RUN_QUEUED);
	make_run("of another sweep", RUN_DONE);
	add_sweep(labels);
	assert_sql("count(*) = 5 AND min(state) = 'queued' AND max(state) = 'queued' FROM run");
	assert_int_equal(taken(), 2);
	assert_sql("state = 'done' AND loss = 4 AND reason = 'said so' FROM runs WHERE label = 'done'");
	assert_sql("count(*) = 2 FROM curve WHERE label = 'diverged'");
	assert_sql("count(*) = 1 FROM param WHERE key = 'train.lr' AND run_id = "
		"(SELECT run_id FROM run WHERE label = 'done')");
	assert_sql("count(*) = 3 FROM run WHERE state = 'queued'");
	assert_sql("count(*) = 1 FROM sweep");	/* none of the name in run.json */
	assert_int_equal(taken(), 0);
}

/* An older copy has a run as it stood then. */
static void test_older_state_is_brought_up(void **state)
{
	static const char *const labels[] = {"a", NULL};

	(void)state;
	add_sweep(labels);
	assert_int_equal(catalog_set_state(&db, catalog_run_id(&db, "aaaa0000a"), RUN_STOPPED, "then"), 0);
	make_run("a", RUN_DONE);
	assert_int_equal(taken(), 1);
	assert_sql("state = 'done' AND loss = 4 FROM runs");
}

static void test_foreign_curves_of_the_sweep(void **state)
{
	static const char *const labels[] = {"a", NULL};
	const char *name;
	struct foreign f = {.path = arena_printf(&arena, "%s/c.csv", root), .label = "torch",
		.sweep = "micro/a", .seed = 1};

	(void)state;
	assert_int_equal(path_write(f.path, "step,tokens,loss\n1,1,2\n", 23), 0);
	assert_int_equal(foreign_import(&f, root, &arena, &name), 0);
	f.label = "jax";
	f.sweep = "micro/b";
	assert_int_equal(foreign_import(&f, root, &arena, &name), 0);
	add_sweep(labels);
	assert_int_equal(taken(), 1);
	assert_int_equal(taken(), 0);
	assert_sql("count(*) = 1 AND loss = 2 FROM runs WHERE sweep = 'micro/a' AND label = 'torch'");
	assert_sql("count(*) = 2 FROM run");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_complete_runs_are_taken_in), TEST(test_older_state_is_brought_up),
		TEST(test_foreign_curves_of_the_sweep),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
