/*
 * The supervisor with workers that only pretend to train: this program is its own worker, and the
 * label of a run says what its worker does.
 */
#include "fake_worker.h"

#include "caught.h"

static long count_lines(const char *text, const char *with)
{
	long n = 0;

	for (; *text; text++)	/* strstr() measures all of the text under the sanitizers, each time */
		n += *text == *with && !strncmp(text, with, strlen(with));
	return n;
}

/* --- tests ----------------------------------------------------------------------------------- */

static void test_all_kinds_of_end(void **state)
{
	struct job jobs[] = {job("good", 1), job("diverge", 1), job("crash-once", 1),
		job("crash", 1), job("fail", 1), job("good", 2)};

	(void)state;
	assert_int_equal(supervise(jobs, 6), EXIT_RUN_FAILED);
	assert_int_equal(state_of(&jobs[0]), RUN_DONE);
	assert_int_equal(state_of(&jobs[1]), RUN_DIVERGED);
	assert_int_equal(state_of(&jobs[2]), RUN_DONE);
	assert_int_equal(state_of(&jobs[3]), RUN_FAILED);
	assert_int_equal(state_of(&jobs[4]), RUN_FAILED);
	assert_sql("group_concat(state) = 'done,diverged,done,failed,failed,done' FROM "
		"(SELECT state FROM runs ORDER BY n)");
	assert_sql(
		"group_concat(attempts) = '1,1,2,2,1,1' FROM (SELECT attempts FROM runs ORDER BY n)");
	assert_sql(
		"count(*) = 1 FROM runs WHERE reason LIKE 'exit code 1, %no luck with this one'");
	assert_sql(
		"count(*) = 1 FROM runs WHERE reason LIKE 'killed by signal 6 %last heard of at step _'");
	assert_sql("count(*) = 3 FROM attempt WHERE exit_signal = 6");
	/* The crashed run went on from its checkpoint: every step once. */
	assert_sql("count(*) = 20 AND max(s.step) = 20 FROM step s JOIN runs USING (run_id) "
		"WHERE label = 'crash-once'");
	assert_sql("loss = 1.3 AND steps = 20 FROM runs WHERE label = 'good' AND seed = 2");
}

static void test_second_run_does_nothing(void **state)
{
	struct job jobs[] = {job("good", 1), job("good", 2), job("diverge", 1)};
	char *metrics;
	struct stat before, after;

	(void)state;
	assert_int_equal(supervise(jobs, 3), EXIT_RUN_FAILED);
	metrics = arena_printf(&arena, "%s/metrics.jsonl", dir_of(&jobs[2]));
	assert_int_equal(stat(metrics, &before), 0);
	assert_int_equal(supervise(jobs, 2), EXIT_DONE);
	assert_int_equal(supervise(jobs, 3), EXIT_RUN_FAILED);
	assert_int_equal(stat(metrics, &after), 0);
	assert_int_equal(before.st_size, after.st_size);
	assert_sql("count(*) = 3 FROM attempt");
	/* Under another label it is the same run. */
	struct job renamed = jobs[0];
	renamed.label = "other";
	assert_int_equal(supervise(&renamed, 1), EXIT_DONE);
	assert_int_equal(renamed.action, JOB_DONE);
	assert_sql("count(*) = 3 FROM attempt");
}

/* One run under two labels: one worker, one directory, and both have its outcome. */
static void test_equal_jobs(void **state)
{
	struct job jobs[] = {job("good", 1), job("fail", 1), job("good", 1), job("fail", 1)};

	(void)state;
	jobs[2].label = "also-good";
	jobs[3].label = "also-fail";
	assert_int_equal(supervise(jobs, 4), EXIT_RUN_FAILED);
	assert_sql("count(*) = 2 FROM attempt");
	assert_sql("count(*) = 2 AND min(dir NOT LIKE '%also%') FROM run");
	assert_string_equal(jobs[2].name, jobs[0].name);
	assert_false(path_exists(dir_of(&jobs[2])));
	assert_string_equal(jobs[2].why, "the run of good");
	assert_false(job_is_work(&jobs[3]));
	assert_int_equal(supervise(jobs, 4), EXIT_RUN_FAILED);
	assert_int_equal(jobs[2].action, JOB_DONE);
	assert_sql("count(*) = 3 FROM attempt");
}

static void test_failed_run_is_tried_again(void **state)
{
	struct job j = job("fail", 1);

	(void)state;
	assert_int_equal(supervise(&j, 1), EXIT_RUN_FAILED);
	assert_int_equal(supervise(&j, 1), EXIT_RUN_FAILED);
	assert_int_equal(j.action, JOB_RETRY);
	assert_int_equal(j.step, 5);
	assert_sql("count(*) = 2 FROM attempt");
}

/* What was begun first, then the first seed of all: a whole table early. */
static void test_order_of_starts(void **state)
{
	struct job jobs[] = {job("good", 1), job("good", 2), job("diverge", 1), job("slow", 2)};
	static const char *const order[] = {"slow s2: done", "good s1: done", "diverge s1: ", "good s2: done", NULL};
	struct supervisor one = two_workers(NULL);
	pid_t pid;

	(void)state;
	hold_slow(true);
	pid = supervise_aside(&jobs[3], 1);
	wait_for_worker(&jobs[3], 14);
	kill(pid, SIGUSR1);
	assert_int_equal(wait_code(pid), EXIT_STOPPED);
	hold_slow(false);
	one.workers = 1;
	catch_messages();
	assert_int_equal(supervise_with(one, jobs, 4), EXIT_RUN_FAILED);
	error_sink = NULL;
	for (const char *at = caught, *const *word = order; *word; word++)
		if (!(at = strstr(at, *word)))
			fail_msg("no \"%s\", or too early: %s", *word, caught);
}

/* Without a database nothing but the run directories keeps two supervisors apart. */
static void test_two_supervisors(void **state)
{
	struct job jobs[] = {job("good", 1), job("slow", 1), job("good", 2), job("good", 3)};
	struct supervisor s = two_workers(NULL);
	struct ingest_count count = {0};
	struct db db;
	pid_t pid[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(jobs_decide(root, jobs, 4, &arena) ? 99
								 : supervisor_run(&s, jobs, 4));
	}
	assert_int_equal(wait_code(pid[0]), EXIT_DONE);
	assert_int_equal(wait_code(pid[1]), EXIT_DONE);
	assert_int_equal(db_open(&db, db_path, DB_WRITE), 0);
	assert_int_equal(ingest_all(&db, root, &count), 0);
	db_close(&db);
	assert_int_equal(count.runs, 4);
	assert_sql("count(*) = 4 FROM runs WHERE state = 'done' AND attempts = 1");
	assert_sql("count(*) = 80 FROM step");
}

static void test_fail_fast(void **state)
{
	struct job jobs[] = {job("slow", 1), job("fail", 1), job("good", 1)};
	struct supervisor s = two_workers(NULL);

	(void)state;
	s.fail_fast = true;
	hold_slow(true);
	for (int i = 0; i < 2; i++) {
		jobs[1] = job(i ? "fail" : "diverge", 1);
		assert_int_equal(supervise_with(s, jobs, 3), EXIT_RUN_FAILED);
		assert_int_equal(state_of(&jobs[0]), RUN_STOPPED);
		assert_int_equal(state_of(&jobs[2]), RUN_QUEUED);
	}
	hold_slow(false);
	s.fail_fast = false;
	s.max_failures = 1;
	assert_int_equal(supervise_with(s, jobs, 3), EXIT_RUN_FAILED);
	assert_int_equal(state_of(&jobs[0]), RUN_DONE);	/* what runs may end */
	assert_int_equal(state_of(&jobs[2]), RUN_QUEUED);
}

/* Stopped once, not at every look at the clock; and ^C is afterwards what it was before. */
static void test_time_limit(void **state)
{
	struct job j = job("slow", 1);
	struct supervisor s = two_workers(NULL);
	struct sigaction before, now;

	(void)state;
	s.limit_s = 0.3;
	hold_slow(true);
	assert_int_equal(sigaction(SIGINT, NULL, &before), 0);
	catch_messages();
	assert_int_equal(supervise_with(s, &j, 1), EXIT_STOPPED);
	error_sink = NULL;
	assert_int_equal(state_of(&j), RUN_STOPPED);
	assert_int_equal(count_lines(caught, "time limit: 1 worker writes a checkpoint and stops"), 1);
	assert_int_equal(sigaction(SIGINT, NULL, &now), 0);
	assert_true(now.sa_handler == before.sa_handler);
}

static void test_cores_and_disk(void **state)
{
	struct job jobs[] = {job("good", 1), job("good", 2)};
	struct supervisor s = two_workers(NULL);

	(void)state;
	s.oversubscribe = false;
	s.threads = 4096;
	assert_int_equal(supervise_with(s, jobs, 2), EXIT_USAGE);
	s.threads = 1;
	jobs[1].disk_bytes = 1e18;
	assert_int_equal(supervise_with(s, jobs, 2), EXIT_ENVIRONMENT);
	assert_int_equal(state_of(&jobs[0]), RUN_QUEUED);
	/* A run that is over needs no more of it. */
	assert_int_equal(supervise(jobs, 1), EXIT_DONE);
	jobs[0].disk_bytes = 1e18;
	jobs[1].disk_bytes = 0;
	assert_int_equal(supervise(jobs, 2), EXIT_DONE);
}

/* The database cannot grow: the runs end well, and ingest brings it up to date. */
static void test_database_disk_full(void **state)
{
	struct job jobs[] = {job("good", 1), job("good", 2), job("good", 3), job("good", 4)};
	struct ingest_count count = {0};
	struct db db;
	pid_t pid = fork();

	(void)state;
	if (!pid) {
		struct rlimit limit = {48 << 10, 48 << 10};
		struct supervisor s = two_workers(&db);
		signal(SIGXFSZ, SIG_IGN);
		if (db_open(&db, db_path, DB_WRITE) || jobs_decide(root, jobs, 4, &arena) ||
				setrlimit(RLIMIT_FSIZE, &limit))
			_exit(99);
		_exit(supervisor_run(&s, jobs, 4));
	}
	assert_int_equal(wait_code(pid), EXIT_ENVIRONMENT);
	for (int i = 0; i < 4; i++)
		assert_int_equal(state_of(&jobs[i]), RUN_DONE);
	assert_int_equal(db_open(&db, db_path, DB_WRITE), 0);
	assert_true(db_value(&db, "SELECT count(*) FROM step", -1) < 80);
	assert_int_equal(ingest_all(&db, root, &count), 0);
	db_close(&db);
	assert_sql("count(*) = 4 FROM runs WHERE state = 'done'");
	assert_sql("count(*) = 80 FROM step");
}

/* --- the link -------------------------------------------------------------------------------- */

static const char *open_link(struct worker_link *l, int pipe)
{
	struct job j = job("link", 1);
	struct run_info info = {.identity = j.identity, .label = j.label, .seed = 1};
	const char *dir = dir_of(&j);

	assert_int_equal(path_mkdirs(dir), 0);
	assert_int_equal(run_info_write(&info, dir), 0);
	assert_int_equal(worker_link_open(l, dir, pipe), 0);
	return dir;
}

/*
 * Nobody reads the pipe: no step waits, steps are dropped from it, evaluations never, the file has
 * all.
 */
static void test_full_pipe(void **state)
{
	struct worker_link l;
	struct record eval = record_new(RECORD_IS_EVAL);
	int ends[2];
	double begun;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	const char *dir = open_link(&l, ends[1]);
	begun = clock_s();
	eval.eval.kind = "val";
	for (long step = 1; step <= 30001; step += 1) {
		struct record r = record_new(RECORD_IS_STEP);
		r.step.step = step;
		worker_link_add(&l, &r);
		eval.eval.step = step;
		if (step % 1000 == 0)
			worker_link_add(&l, &eval);
	}
	assert_true(clock_s() - begun < 10);
	assert_true(l.dropped > 10000);
	worker_link_flush(&l, true);
	char *text = path_read(arena_printf(&arena, "%s/metrics.jsonl", dir), NULL);
	assert_int_equal(count_lines(text, "\"t\":\"step\""), 30001);
	assert_int_equal(count_lines(text, "\"t\":\"eval\""), 30);
	free(text);
	/* In the pipe or waiting for it: all evaluations, the rest of the steps. */
	struct str seen;
	char bytes[65536];
	ssize_t n;
	str_init(&seen);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	while ((n = read(ends[0], bytes, sizeof bytes)) > 0) {
		str_add_bytes(&seen, bytes, (size_t)n);
		worker_link_flush(&l, false);
	}
	assert_int_equal(count_lines(seen.text, "\"t\":\"eval\""), 30);
	assert_int_equal(count_lines(seen.text, "\"t\":\"step\""), 30001 - l.dropped);
	str_release(&seen);
	worker_link_close(&l);
	close(ends[0]);
}

/* The disk is full for a while: records wait, then all are there, each whole. */
static void test_full_disk_of_a_run(void **state)
{
	struct rlimit before, limit;
	struct worker_link l;
	const char *dir = open_link(&l, -1);

	(void)state;
	getrlimit(RLIMIT_FSIZE, &before);
	limit = (struct rlimit){1000, before.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (long step = 1; step <= 100; step++)
		send_step(&l, step);
	assert_int_equal(worker_link_flush(&l, false), -1);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_int_equal(worker_link_flush(&l, true), 0);
	char *text = path_read(arena_printf(&arena, "%s/metrics.jsonl", dir), NULL);
	assert_int_equal(count_lines(text, "{\"t\":\"step\""), 100);
	assert_int_equal(count_lines(text, "}\n"), 110);
	assert_int_equal(count_lines(text, "\n{"), 109);
	free(text);
	worker_link_close(&l);
}

static double cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* What a step pays for being logged: its record to the file and up the pipe, and the question whether
   to stop. The steps come as fast as they can, so the flushes are weighed by their bytes. */
static void test_cost_of_logging(void **state)
{
	struct worker_link l;
	double best = 1;
	int ends[2];
	pid_t reader;

	(void)state;
	assert_int_equal(pipe(ends), 0);
	reader = fork();
	if (!reader) {
		char bytes[65536];
		close(ends[1]);
		while (read(ends[0], bytes, sizeof bytes) > 0)
			continue;
		_exit(0);
	}
	close(ends[0]);
	open_link(&l, ends[1]);
	for (int round = 0; round < 5; round++) {
		double begun = cpu_s();
		for (long step = 0; step < 20000; step++) {
			struct record r = record_new(RECORD_IS_STEP);
			double x = 1 + 1.0 / (double)(step + 3);
			r.step = (struct step_record){.step = step, .tokens = step * 4096, .seconds = x, .flops = x * 1e15,
				.ce = x, .aux = x, .balance = x, .z = x, .lr = x * 1e-3, .grad_norm = x,
				.tokens_per_s = x * 1e4, .drop = x / 10};
			worker_link_add(&l, &r);
			if (worker_link_stop())
				break;
			if (step % 50 == 49)	/* as often as 4 ms steps make the clock do it */
				worker_link_flush(&l, false);
		}
		best = fmin(best, (cpu_s() - begun) / 20000);
	}
	print_message("logging costs %.2f us a step: %.4f %% of 4 ms\n", best * 1e6, best / 4e-3 * 100);
#ifndef __SANITIZE_ADDRESS__
	assert_true(best < 1e-5);	/* 2.5 us on a quiet machine, 4.4 seen on a loaded one */
#endif
	worker_link_close(&l);
	waitpid(reader, NULL, 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_all_kinds_of_end), TEST(test_second_run_does_nothing), TEST(test_equal_jobs),
		TEST(test_failed_run_is_tried_again), TEST(test_order_of_starts), TEST(test_two_supervisors),
		TEST(test_fail_fast), TEST(test_time_limit), TEST(test_cores_and_disk), TEST(test_database_disk_full),
		TEST(test_full_pipe), TEST(test_full_disk_of_a_run), TEST(test_cost_of_logging),
	};

	if (argc > 4 && !strcmp(argv[1], "worker"))
		return fake_worker(argv);
	alarm(300);		/* a worker that waits for its supervisor would wait for ever */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
