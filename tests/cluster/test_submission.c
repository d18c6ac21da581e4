/* Folders of `submit`: made, listed, read. */
#include "cluster/submission.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/path.h"
#include "caught.h"

static char root[64];
static struct arena arena;

static int enter(void **state)
{
	(void)state;
	strcpy(root, "/tmp/moelab-submission-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int leave(void **state)
{
	(void)state;
	arena_release(&arena);
	return path_remove_tree(root);
}

static void make(const char *sweep, const char *submitted, long long job)
{
	struct submission s = {.sweep = sweep, .file = "f.yaml", .root = root, .device = "cpu", .workers = 2,
		.threads = 3, .worker_bytes = 5e9, .tasks = 4, .runs = 1, .submitted = submitted, .jobs = &job,
		.n_jobs = 1};
	const struct submitted_run run = {"a-s1-12345678", "1234567890", "a", 1, 100};

	assert_int_equal(submission_make(&s, root, sweep, &arena), 0);
	assert_int_equal(submission_write(&s), 0);
	assert_int_equal(submission_write_runs(&s, &run, 1), 0);
}

static void test_list(void **state)
{
	struct submission *list;
	struct submitted_run *runs;
	int n;

	(void)state;
	submission_list(root, NULL, &arena, &list, &n);
	assert_int_equal(n, 0);
	make("m/a", "2026-11-29T17:20:18Z", 7);
	make("b", "2026-11-29T17:20:10Z", 6);
	make("m/a", "2026-11-29T17:20:19Z", 9);
	submission_list(root, NULL, &arena, &list, &n);
	assert_int_equal(n, 3);
	assert_string_equal(list[0].sweep, "b");
	submission_list(root, "m/a", &arena, &list, &n);
	assert_int_equal(n, 2);
	assert_string_equal(path_name(list[0].folder), "m.a-1");
	assert_string_equal(path_name(list[1].folder), "m.a-2");
	assert_int_equal(list[1].jobs[0], 9);
	assert_int_equal(list[1].threads, 3);
	assert_true(list[1].worker_bytes == 5e9);
	assert_true(path_exists(arena_printf(&arena, "%s/log", list[1].folder)));
	assert_int_equal(submission_read_runs(&list[0], &arena, &runs, &n), 0);
	assert_int_equal(n, 1);
	assert_string_equal(runs[0].identity, "1234567890");
	assert_string_equal(runs[0].label, "a");
	assert_int_equal(runs[0].steps, 100);
}

static void test_bad(void **state)
{
	struct submission *list;
	struct submitted_run *runs;
	int n;

	(void)state;
	make("a", "2026-11-29T17:20:18Z", 7);
	submission_list(root, "a", &arena, &list, &n);
	catch_messages();
	assert_int_equal(path_write(arena_printf(&arena, "%s/runs.txt", list[0].folder), "a b 1 2 c\nx\n", 12), 0);
	assert_int_equal(submission_read_runs(&list[0], &arena, &runs, &n), -1);
	assert_caught("runs.txt:2:1: no line of a run");
	catch_messages();
	assert_int_equal(path_write(arena_printf(&arena, "%s/job.json", list[0].folder), "{}", 2), 0);
	submission_list(root, "a", &arena, &list, &n);
	assert_caught("job.json: no submission");
	assert_int_equal(n, 0);
	error_sink = NULL;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, enter, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {TEST(test_list), TEST(test_bad)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
