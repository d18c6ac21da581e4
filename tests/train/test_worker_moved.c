/* A run that another process takes over, and one that goes on on another processor. */
#include "worker_process.h"

static void put_claim(const char *dir, const char *token)
{
	char *path = path_join(dir, "CLAIM"), *text = xasprintf("{\"token\": \"%s\"}", token);

	assert_int_equal(path_write(path, text, strlen(text)), 0);
	free(text);
	free(path);
}

/* Another takes the run over: no checkpoint more, no last word, no marker. */
static void test_taken_over(void **state)
{
	char *dir = run_dir("taken", NULL, 0), *done = path_join(dir, "DONE"), *text;
	int n_checkpoints;
	pid_t pid;

	(void)state;
	put_claim(dir, "ours");
	pid = start_claimed(dir, "ours");
	wait_for_checkpoints(dir, 2);
	put_claim(dir, "theirs");
	text = metrics(dir);
	n_checkpoints = count(text, "\"kind\":\"checkpoint\"");
	free(text);
	assert_int_equal(finish(pid), WORKER_TAKEN);
	text = metrics(dir);
	assert_true(count(text, "\"kind\":\"checkpoint\"") <= n_checkpoints + 1);	/* one was on its way */
	assert_int_equal(count(text, "\"kind\":\"done\"") + count(text, "\"kind\":\"stop\""), 0);
	assert_false(path_exists(done));
	free(text);
	free(done);
	free(dir);
}

/* The only checkpoint is damaged: what the run writes when it begins again is there to go on from, though of earlier
   steps. */
static void test_damaged_checkpoint_does_not_count(void **state)
{
	char *dir = run_dir("damaged", NULL, 0), *folder_of = path_join(dir, "ckpt"), *path, *text;
	pid_t pid = start(dir);
	long *steps;
	int n, told;

	(void)state;
	wait_for_checkpoints(dir, 20);
	kill(pid, SIGKILL);
	finish(pid);
	steps = run_dir_checkpoints(folder_of, &n);
	path = xasprintf("%s/step_%ld.safetensors", folder_of, steps[0]);
	assert_int_equal(truncate(path, 5000), 0);
	text = metrics(dir);
	told = count(text, "\"kind\":\"checkpoint\"");
	free(text);
	pid = start(dir);
	wait_for_checkpoints(dir, told + 2);
	kill(pid, SIGTERM);
	assert_int_equal(finish(pid), WORKER_STOPPED);
	assert_int_equal(finish(start(dir)), WORKER_DONE);
	text = metrics(dir);
	assert_int_equal(count(text, "\"kind\":\"start\""), 2);
	assert_int_equal(count(text, "\"kind\":\"resume\""), 1);
	free(text);
	free(steps);
	free(path);
	free(folder_of);
	free(dir);
}

/* A run that another processor goes on with says so. */
static void test_other_processor(void **state)
{
	char *dir = run_dir("moved", NULL, 0), *path = path_join(dir, "attempt.json"), *text, *cpu;
	pid_t pid = start(dir);

	(void)state;
	wait_for_checkpoints(dir, 2);
	kill(pid, SIGTERM);
	assert_int_equal(finish(pid), WORKER_STOPPED);
	text = path_read(path, NULL);
	cpu = strstr(text, "\"cpu\":\"");
	assert_non_null(cpu);
	cpu[7] = '#';
	assert_int_equal(path_write(path, text, strlen(text)), 0);
	free(text);
	assert_int_equal(finish(start(dir)), WORKER_DONE);
	text = metrics(dir);
	assert_int_equal(count(text, "goes on on another processor"), 1);
	free(text);
	free(path);
	free(dir);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_taken_over), cmocka_unit_test(test_damaged_checkpoint_does_not_count),
	cmocka_unit_test(test_other_processor),
};

WORKER_TESTS_MAIN(tests)
