/* Signals to the supervisor, and deaths: its workers stop with a checkpoint, and the next one goes on from it. */
#include "fake_worker.h"

#include <pthread.h>

/* Signals that wait together come in any order, or as one: a second is sent when the first has been taken. */
static int told[2];

static void tell_of_stop(const char *line)
{
	if (strstr(line, "a checkpoint and stop") && write(told[1], "s", 1) != 1)
		_exit(1);
}

static pid_t supervise_and_tell(struct job *jobs, int n)
{
	pid_t pid;

	assert_int_equal(pipe2(told, O_CLOEXEC), 0);
	error_sink = tell_of_stop;
	pid = supervise_aside(jobs, n);
	error_sink = NULL;
	close(told[1]);
	return pid;
}

static void wait_until_it_stops(void)
{
	char byte;

	assert_int_equal(read(told[0], &byte, 1), 1);
	close(told[0]);
}

static void test_stop_and_go_on(void **state)
{
	struct job jobs[] = {job("slow", 1), job("slow", 2), job("good", 1)};
	pid_t pid;

	(void)state;
	hold_slow(true);
	for (int i = 0; i < 2; i++) {
		pid = supervise_and_tell(jobs, 3);
		for (int k = 0; k < 2; k++)
			wait_for_worker(&jobs[k], i ? 13 : 6);
		kill(pid, i ? SIGINT : SIGUSR1);
		wait_until_it_stops();
		kill(pid, SIGTERM);		/* which Slurm sends later: no haste */
		assert_int_equal(wait_code(pid), EXIT_STOPPED);
		assert_int_equal(state_of(&jobs[0]), RUN_STOPPED);
		assert_sql("count(*) = 2 FROM runs WHERE state = 'stopped' "
			"AND reason = 'stopped on request'");
	}
	hold_slow(false);
	assert_int_equal(supervise(jobs, 3), EXIT_DONE);
	assert_sql("count(*) = 3 FROM runs WHERE state = 'done'");
	assert_sql("count(*) = 60 AND count(DISTINCT run_id) = 3 FROM step");
	assert_sql("count(*) = 4 FROM attempt WHERE exit_code = 75");
}

static void *sleep_on(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* Threads that were there before, of a library, take signals no other way. */
static void test_signals_to_other_threads(void **state)
{
	static const int signals[] = {SIGTERM, SIGHUP};
	struct job j = job("slow", 1);

	(void)state;
	hold_slow(true);
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();
		if (!pid) {
			pthread_t thread;
			pthread_create(&thread, NULL, sleep_on, NULL);
			_exit(supervise(&j, 1));
		}
		wait_for_worker(&j, i ? 13 : 6);
		kill(pid, signals[i]);
		assert_int_equal(wait_code(pid), EXIT_STOPPED);
		assert_int_equal(state_of(&j), RUN_STOPPED);
	}
}

static void test_second_interrupt_kills(void **state)
{
	struct job j = job("slow", 1);
	pid_t pid, worker;

	(void)state;
	hold_slow(true);
	pid = supervise_and_tell(&j, 1);
	worker = wait_for_worker(&j, 6);
	kill(worker, SIGSTOP);		/* so that it cannot obey */
	kill(pid, SIGINT);
	wait_until_it_stops();
	nap(0.4);			/* in which a wrong one would kill it */
	assert_int_equal(kill(worker, 0), 0);
	kill(pid, SIGINT);
	assert_int_equal(wait_code(pid), 130);
	assert_int_equal(state_of(&j), RUN_LOST);
	hold_slow(false);
	assert_int_equal(supervise(&j, 1), EXIT_DONE);
	assert_int_equal(j.step, 5);
	assert_sql("count(*) = 20 FROM step");
}

static void test_killed_worker_is_tried_again(void **state)
{
	struct job j = job("slow", 1);
	pid_t pid;

	(void)state;
	hold_slow(true);
	pid = supervise_aside(&j, 1);
	kill(wait_for_worker(&j, 6), SIGKILL);
	hold_slow(false);
	assert_int_equal(wait_code(pid), EXIT_DONE);
	assert_sql("count(*) = 20 AND max(step) = 20 FROM step");
	assert_sql("group_concat(coalesce(exit_signal, 'code ' || exit_code)) = '9,code 0' FROM "
		"(SELECT * FROM attempt ORDER BY n)");
}

/* Its workers stop with a checkpoint; the next supervisor waits for that and goes on. */
static void test_killed_supervisor(void **state)
{
	struct job jobs[] = {job("slow", 1), job("slow", 2)};
	pid_t pid;

	(void)state;
	hold_slow(true);
	pid = supervise_aside(jobs, 2);
	wait_for_worker(&jobs[0], 6);
	wait_for_worker(&jobs[1], 1);
	kill(pid, SIGKILL);
	assert_int_equal(wait_code(pid), -SIGKILL);
	hold_slow(false);
	assert_int_equal(supervise(jobs, 2), EXIT_DONE);
	assert_true(jobs[0].step >= 6);
	assert_sql("count(*) = 40 AND count(DISTINCT run_id) = 2 FROM step");
	assert_sql("count(*) = 4 FROM attempt");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_stop_and_go_on), TEST(test_signals_to_other_threads), TEST(test_second_interrupt_kills),
		TEST(test_killed_worker_is_tried_again), TEST(test_killed_supervisor),
	};

	if (argc > 4 && !strcmp(argv[1], "worker"))
		return fake_worker(argv);
	alarm(300);		/* a worker that waits for its supervisor would wait for ever */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
