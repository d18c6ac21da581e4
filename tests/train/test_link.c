/* What a worker tells when the disk is full: how many records and bytes are not in the file; and what it does
   when its run is another's. */
#include "caught.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/path.h"
#include "train/worker_link.h"

static char dir[256];

static int set_up(void **state)
{
	struct run_info info = {.identity = "aaaa", .label = "a", .seed = 1, .config = "{}"};

	(void)state;
	return path_tmp_folder(dir, sizeof dir, "link") || run_info_write(&info, dir);
}

static int tear_down(void **state)
{
	(void)state;
	error_sink = NULL;
	return path_remove_tree(dir);
}

static void alone_in_its_directory(void **state)
{
	struct worker_link first, second;

	(void)state;
	assert_int_equal(worker_link_open(&first, dir, -1), 0);
	catch_messages();
	assert_int_equal(worker_link_open(&second, dir, -1), -1);
	assert_caught("another worker is at this run");
	worker_link_close(&first);
	assert_int_equal(worker_link_open(&second, dir, -1), 0);
	worker_link_close(&second);
}

static void limit_files(rlim_t bytes, struct rlimit *before)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, before);
	limit = *before;
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* n records into a file of at most so many bytes: what is lost and what is there make up all. */
static void check_losses(enum record_type type, long n, rlim_t most)
{
	struct worker_link link;
	struct record r = record_new(type);
	struct rlimit before;
	char *path = path_join(dir, "metrics.jsonl"), *text;
	size_t each, kept, lost_bytes;
	long whole = 0, lost;

	if (type == RECORD_IS_STEP)
		r.step.step = 1;
	else
		r.eval.kind = "val", r.eval.step = 1;
	catch_messages();
	assert_int_equal(worker_link_open(&link, dir, -1), 0);
	limit_files(most, &before);
	for (long i = 0; i < n; i++)
		worker_link_add(&link, &r);
	each = link.line.length;
	worker_link_close(&link);
	setrlimit(RLIMIT_FSIZE, &before);
	text = path_read(path, &kept);
	for (size_t i = 0; i < kept; i++)
		whole += text[i] == '\n';
	const char *told = NULL;
	for (const char *at = caught; (at = strstr(at, "metrics.jsonl: ")); at++)
		told = at;
	assert_non_null(told);
	assert_int_equal(sscanf(told, "metrics.jsonl: %ld records of %zu bytes", &lost, &lost_bytes), 2);
	assert_int_equal(lost, n - whole);
	assert_int_equal(lost_bytes, (size_t)n * each - kept);
	free(text);
	free(path);
}

static void losses_make_up_the_rest(void **state)
{
	(void)state;
	check_losses(RECORD_IS_EVAL, 40, 1000);
}

/* More than waits in memory: steps are let go. */
static void losses_of_a_long_run(void **state)
{
	(void)state;
	check_losses(RECORD_IS_STEP, 150000, 100000);
}

/* What waits when another has taken the run over is not written. */
static void nothing_is_written_to_others_runs(void **state)
{
	static const char ours[] = "{\"token\": \"ours\"}", theirs[] = "{\"token\": \"theirs\"}";
	char *claim = path_join(dir, "CLAIM"), *path = path_join(dir, "metrics.jsonl"), *text;
	struct record r = record_new(RECORD_IS_STEP);
	struct worker_link link;
	size_t n;

	(void)state;
	catch_messages();
	assert_int_equal(path_write(claim, ours, strlen(ours)), 0);
	assert_int_equal(worker_link_open(&link, dir, -1), 0);
	worker_link_guard(&link, "ours");
	r.step.step = 1;
	worker_link_add(&link, &r);
	assert_int_equal(worker_link_flush(&link, true), 0);
	worker_link_add(&link, &r);
	assert_int_equal(path_write(claim, theirs, strlen(theirs)), 0);
	assert_int_equal(worker_link_flush(&link, true), -1);
	assert_true(link.taken);
	worker_link_event(&link, "stop", 1, "signal");
	assert_int_equal(worker_link_finish(&link, RUN_DONE, "complete"), -1);
	worker_link_close(&link);
	text = path_read(path, &n);
	assert_int_equal(n, strcspn(text, "\n") + 1);
	assert_caught("another process has taken over the run");
	free(text);
	free(claim);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(alone_in_its_directory, set_up, tear_down),
		cmocka_unit_test_setup_teardown(losses_make_up_the_rest, set_up, tear_down),
		cmocka_unit_test_setup_teardown(losses_of_a_long_run, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_written_to_others_runs, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
