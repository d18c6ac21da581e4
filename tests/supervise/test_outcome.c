/* What the end of a worker's process means for its run. */
#include "supervise/outcome.h"

#include <signal.h>
#include <stdlib.h>

#include "base/path.h"
#include "caught.h"
#include "train/worker.h"

static char folder[256];
static struct arena arena;

static int enter(void **state)
{
	(void)state;
	return path_tmp_folder(folder, sizeof folder, "outcome");
}

static int leave(void **state)
{
	(void)state;
	arena_release(&arena);
	return path_remove_tree(folder);
}

static struct outcome ended(int status, bool asked)
{
	return outcome_of(status, folder, 7, asked, &arena);
}

static struct outcome exited(int code)
{
	return ended(code << 8, false);	/* as waitpid() has it */
}

static void said(const char *log)
{
	char *path = path_join(folder, "log.txt");

	assert_int_equal(path_write(path, log, strlen(log)), 0);
	free(path);
}

/* What another try would not change is no crash. */
static void test_exit_codes(void **state)
{
	(void)state;
	assert_int_equal(exited(WORKER_DONE).state, RUN_DONE);
	assert_int_equal(exited(WORKER_DIVERGED).state, RUN_DIVERGED);
	assert_int_equal(exited(WORKER_STOPPED).state, RUN_STOPPED);
	for (const int *code = (const int[]){WORKER_FAILED, EXIT_USAGE, EXIT_ENVIRONMENT, -1}; *code >= 0; code++) {
		assert_int_equal(exited(*code).state, RUN_FAILED);
		assert_false(exited(*code).crash);
	}
	assert_int_equal(exited(99).state, RUN_FAILED);
	assert_true(exited(99).crash);
}

static void test_signals(void **state)
{
	(void)state;
	assert_int_equal(ended(SIGKILL, true).state, RUN_LOST);
	assert_int_equal(ended(SIGTERM, true).state, RUN_LOST);
	assert_int_equal(ended(SIGSEGV, true).state, RUN_FAILED);
	assert_int_equal(ended(SIGKILL, false).state, RUN_FAILED);
	assert_true(ended(SIGKILL, false).crash);
	assert_has(ended(SIGKILL, false).reason, ", out of memory?, last heard of at step 7");
	assert_lacks(ended(SIGSEGV, false).reason, "memory?");
}

/* The last line of this attempt that says anything, none of an earlier one. */
static void test_last_words(void **state)
{
	(void)state;
	assert_has(exited(WORKER_FAILED).reason, "exit code 1, last heard of at step 7: log.txt is empty");
	said("--- 1: start\nmoelab: first\nmoelab: second\n\n");
	assert_has(exited(WORKER_FAILED).reason, "at step 7: second");
	said("--- 1: start\nmoelab: first\n--- 2: retry\n");
	assert_has(exited(WORKER_FAILED).reason, "at step 7: log.txt is empty");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exit_codes), cmocka_unit_test(test_signals), cmocka_unit_test(test_last_words),
	};

	return cmocka_run_group_tests(tests, enter, leave);
}
