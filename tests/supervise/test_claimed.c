/* Runs that other machines claim, before the supervisor begins or while it is at them. */
#include "fake_worker.h"

static void claim_from_afar(const struct job *j)
{
	static const char text[] = "{\"token\": \"0123456789abcdef0123456789abcdef\", \"since\": \"\", \"host\": \"far\", "
		"\"machine\": \"1\", \"boot_id\": \"2\", \"pid_space\": \"3\", \"pid\": 4, \"start_time\": 5, \"uid\": 0}";

	assert_int_equal(path_mkdirs(dir_of(j)), 0);
	assert_int_equal(path_write(arena_printf(&arena, "%s/CLAIM", dir_of(j)), text, strlen(text)), 0);
}

static long long size_of(const struct job *j)
{
	struct stat st;

	return stat(arena_printf(&arena, "%s/metrics.jsonl", dir_of(j)), &st) ? -1 : (long long)st.st_size;
}

/* The others' run waits until it is let go, then it is done; nothing is left of claims. */
static void test_others_run_is_left(void **state)
{
	struct job jobs[] = {job("good", 1), job("good", 2)};
	const char *claim = arena_printf(&arena, "%s/CLAIM", dir_of(&jobs[0]));
	pid_t pid;

	(void)state;
	claim_from_afar(&jobs[0]);
	pid = supervise_aside(jobs, 2);
	wait_for_worker(&jobs[1], STEPS);
	nap(0.5);
	assert_int_equal(size_of(&jobs[0]), -1);
	assert_int_equal(unlink(claim), 0);
	assert_int_equal(wait_code(pid), EXIT_DONE);
	assert_int_equal(state_of(&jobs[0]), RUN_DONE);
	assert_false(path_exists(claim));
	assert_false(path_exists(arena_printf(&arena, "%s/CLAIM", dir_of(&jobs[1]))));
}

/* Taken over while it trains: its worker writes no line more, no checkpoint and no marker. */
static void test_taken_over(void **state)
{
	struct job j = job("slow", 1);
	pid_t pid = supervise_aside(&j, 1);
	long long size;

	(void)state;
	wait_for_worker(&j, 6);
	claim_from_afar(&j);
	nap(CLAIM_LOOK_S + 0.2);
	size = size_of(&j);
	assert_int_equal(wait_code(pid), EXIT_STOPPED);
	assert_int_equal(size_of(&j), size);
	assert_false(path_exists(arena_printf(&arena, "%s/DONE", dir_of(&j))));
	assert_false(path_exists(arena_printf(&arena, "%s/ckpt/step_20.safetensors", dir_of(&j))));
	assert_true(path_exists(arena_printf(&arena, "%s/CLAIM", dir_of(&j))));
}

/* A supervisor that dies leaves a claim, which its host knows to be nobody's. */
static void test_claim_of_the_dead(void **state)
{
	struct job j = job("slow", 1);
	pid_t pid = supervise_aside(&j, 1), worker;

	(void)state;
	worker = wait_for_worker(&j, 6);
	kill(pid, SIGKILL);
	kill(worker, SIGKILL);
	assert_int_equal(wait_code(pid), -SIGKILL);
	assert_true(path_exists(arena_printf(&arena, "%s/CLAIM", dir_of(&j))));
	assert_int_equal(supervise(&j, 1), EXIT_DONE);
	assert_false(path_exists(arena_printf(&arena, "%s/CLAIM", dir_of(&j))));
	assert_sql("count(*) = 20 AND max(step) = 20 FROM step");
}

/* Several supervisors of the same work do not each try what has failed. */
static void test_failure_of_another(void **state)
{
	struct job j = job("fail", 1);
	struct supervisor s = two_workers(NULL);

	(void)state;
	s.failed_since = (long long)time(NULL);
	assert_int_equal(supervise_with(s, &j, 1), EXIT_RUN_FAILED);
	assert_int_equal(supervise_with(s, &j, 1), EXIT_RUN_FAILED);
	assert_sql("count(*) = 1 FROM attempt");
	s.failed_since += 3600;
	assert_int_equal(supervise_with(s, &j, 1), EXIT_RUN_FAILED);
	assert_sql("count(*) = 2 FROM attempt");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {TEST(test_others_run_is_left), TEST(test_taken_over),
		TEST(test_claim_of_the_dead), TEST(test_failure_of_another)};

	if (argc > 2 && !strcmp(argv[1], "worker"))
		return fake_worker(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
