/* What people say of runs: files, rows, and a database made anew from the files. */
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
#include "store/ingest.h"
#include "store/mark.h"
#include "store/query.h"

static char root[256];
static struct arena arena;
static struct db db;

static int set_up(void **state)
{
	(void)state;
	return path_tmp_folder(root, sizeof root, "test") ||
		db_open(&db, arena_printf(&arena, "%s/lab.db", root), DB_WRITE);
}

static int tear_down(void **state)
{
	(void)state;
	db_close(&db);
	arena_release(&arena);
	return path_remove_tree(root);
}

static const char *make_run(const char *label)
{
	const char *dir = arena_printf(&arena, "%s/runs/%s-s1-aaaa0000", root, label);
	struct run_info info = {.identity = arena_printf(&arena, "aaaa0000%s", label), .label = label,
		.sweep = "first", .seed = 1, .steps = 20};

	assert_int_equal(path_mkdirs(dir) | run_info_write(&info, dir), 0);
	return dir;
}

static void assert_text(const char *dir, const char *file, const char *text)
{
	char *path = path_join(dir, file), *got = path_exists(path) ? path_read(path, NULL) : NULL;

	if (text)
		assert_string_equal(got, text);
	else
		assert_null(got);
	free(got);
	free(path);
}

static void test_files(void **state)
{
	const char *dir = make_run("a"), *names[] = {"b", "a", "b"};

	(void)state;
	assert_int_equal(mark_excluded(dir, "the disk was full"), 0);
	assert_text(dir, "EXCLUDED", "the disk was full\n");
	assert_int_equal(mark_excluded(dir, NULL), 0);
	assert_text(dir, "EXCLUDED", NULL);
	assert_int_equal(mark_excluded(dir, NULL), 0);	/* twice is harmless */
	assert_int_equal(mark_tags(dir, names, 3, false), 0);
	assert_text(dir, "tags.txt", "a\nb\n");
	names[0] = "0.5";
	assert_int_equal(mark_tags(dir, names, 1, false), 0);
	assert_text(dir, "tags.txt", "0.5\na\nb\n");
	assert_int_equal(mark_tags(dir, names + 1, 1, true), 0);
	assert_text(dir, "tags.txt", "0.5\nb\n");
	assert_int_equal(mark_tags(dir, names, 3, true), 0);
	assert_text(dir, "tags.txt", NULL);
}

static void test_names(void **state)
{
	(void)state;
	assert_true(mark_is_tag("paper-v2.1_x:y+z"));
	assert_false(mark_is_tag(""));
	assert_false(mark_is_tag("-x"));
	assert_false(mark_is_tag("a b"));
	assert_false(mark_is_tag("a,b"));
	assert_false(mark_is_tag("caf\xc3\xa9"));
}

static const struct run_row *row_of(const char *label)
{
	struct run_row *row = ARENA_NEW(&arena, struct run_row);

	assert_int_equal(query_one(&db, &(struct selection){.selectors = &label, .n = 1}, &arena, row), 0);
	return row;
}

static void test_made_anew(void **state)
{
	const char *a = make_run("a"), *b = make_run("b"), *c = make_run("c"), *names[] = {"paper", "late"};
	const char *tagged[] = {"tag=lat*", "tag=paper"};
	struct ingest_count count = {0};
	struct run_row *rows;
	int n;

	(void)state;
	assert_int_equal(mark_excluded(a, "it's \"odd\""), 0);
	assert_int_equal(path_write(arena_printf(&arena, "%s/EXCLUDED", c), "", 0), 0);	/* by hand */
	assert_int_equal(mark_tags(b, names, 2, false), 0);
	assert_int_equal(ingest_all(&db, root, &count), 0);
	assert_string_equal(row_of("a")->excluded, "it's \"odd\"");
	assert_null(row_of("a")->tags);
	assert_string_equal(row_of("b")->tags, "late paper");
	assert_null(row_of("b")->excluded);
	assert_string_equal(row_of("c")->excluded, "without a reason that can be read");
	assert_int_equal(query_select(&db, &(struct selection){.selectors = tagged, .n = 2}, &arena, &rows, &n), 0);
	assert_int_equal(n, 1);
	assert_string_equal(rows[0].label, "b");
}

/* As `run` does at its begin and end: also of runs of other sweeps; a directory that is gone says nothing. */
static void test_taken_in_with_gaps(void **state)
{
	const char *a = make_run("a"), *b = make_run("b"), *name = "x";
	struct ingest_count count = {0};

	(void)state;
	assert_int_equal(mark_tags(b, &name, 1, false), 0);
	assert_int_equal(ingest_all(&db, root, &count), 0);
	assert_int_equal(mark_excluded(a, "why not"), 0);
	assert_int_equal(path_remove_tree(b), 0);
	assert_int_equal(ingest_gaps(&db, root, "another", &count), 0);
	assert_string_equal(row_of("a")->excluded, "why not");
	assert_string_equal(row_of("b")->tags, "x");
	assert_int_equal(mark_excluded(a, NULL), 0);
	assert_int_equal(ingest_gaps(&db, root, "another", &count), 0);
	assert_null(row_of("a")->excluded);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_files), TEST(test_names), TEST(test_made_anew), TEST(test_taken_in_with_gaps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
