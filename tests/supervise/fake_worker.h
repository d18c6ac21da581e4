/* A worker that does as its label says, and what tests of the supervisor need around it. */
#ifndef TESTS_RUN_FAKE_WORKER_H
#define TESTS_RUN_FAKE_WORKER_H

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/path.h"
#include "store/ingest.h"
#include "supervise/display.h"
#include "supervise/supervisor.h"
#include "train/worker.h"
#include "train/worker_link.h"

enum { STEPS = 20, CHECKPOINT_EVERY = 5, EVAL_EVERY = 10, HELD_AT = 15 };

/* --- the worker ------------------------------------------------------------------------------ */

static void nap(double seconds)
{
	struct timespec t = {.tv_nsec = (long)(seconds * 1e9)};

	nanosleep(&t, NULL);
}

static void send_attempt(struct worker_link *l)
{
	struct record r = record_new(RECORD_IS_ATTEMPT);

	r.attempt.arch = "mamba";
	r.attempt.threads = 1;
	assert_int_equal(worker_link_attempt(l, &r), 0);
}

static void send_step(struct worker_link *l, long step)
{
	struct record r = record_new(RECORD_IS_STEP);

	r.step.step = step;
	r.step.tokens = step * 100;
	r.step.seconds = (double)step * 0.01;
	r.step.ce = 1 + 5.0 / (double)step;
	worker_link_add(l, &r);
	if (step % EVAL_EVERY)
		return;
	r = record_new(RECORD_IS_EVAL);
	r.eval.kind = "val";
	r.eval.step = step;
	r.eval.loss = 1 + 6.0 / (double)step;
	worker_link_add(l, &r);
}

static void checkpoint(struct worker_link *l, long step)
{
	char *path = xasprintf("%s/ckpt/step_%ld.safetensors", l->dir, step);
	char *folder = path_folder(path);

	if (!worker_link_flush(l, true) && !path_mkdirs(folder) && !path_write(path, "", 0))
		worker_link_event(l, "checkpoint", step, "step %ld", step);
	free(folder);
	free(path);
}

static bool first_time(const struct worker_link *l)
{
	char *path = path_join(l->dir, "seen");
	bool first = !path_exists(path) && !path_write(path, "", 0);

	free(path);
	return first;
}

/* What goes wrong at this step; 0: nothing. */
static int misbehave(const struct worker_link *l, long step)
{
	const char *label = l->info.label;

	if (step != 7)
		return 0;
	if (!strcmp(label, "diverge"))
		return WORKER_DIVERGED;
	if (!strcmp(label, "crash") || (!strcmp(label, "crash-once") && first_time(l)))
		abort();
	if (!strcmp(label, "fail")) {
		error("no luck with this one");
		return WORKER_FAILED;
	}
	return 0;
}

/* While there is ROOT/hold, a slow run goes on to no step behind HELD_AT: who does something to it is never too late. */
static void wait_while_held(struct worker_link *l)
{
	char *hold = xasprintf("%s/../../hold", l->dir);

	while (path_exists(hold) && !worker_link_stop() && !l->taken) {
		worker_link_flush(l, false);
		nap(0.01);
	}
	free(hold);
}

static int pretend(struct worker_link *l)
{
	bool slow = str_starts(l->info.label, "slow");
	struct run_status status;

	run_dir_status(l->dir, &l->arena, &status);
	send_attempt(l);
	for (long step = status.checkpoint + 1; step <= STEPS; step++) {
		int wrong = misbehave(l, step);
		if (wrong)
			return wrong;
		nap(slow ? 0.1 : 0.002);
		if (slow && step > HELD_AT)
			wait_while_held(l);
		send_step(l, step);
		if (step % CHECKPOINT_EVERY == 0)
			checkpoint(l, step);
		if (l->taken)
			return WORKER_TAKEN;
		if (worker_link_stop()) {
			checkpoint(l, step);
			worker_link_event(l, "stop", step, "signal %d", worker_link_stop());
			return WORKER_STOPPED;
		}
	}
	return worker_link_finish(l, RUN_DONE, "20 steps") ? WORKER_FAILED : WORKER_DONE;
}

static int fake_worker(char **argv)
{
	struct worker_link l;
	int code;

	if (worker_link_open(&l, argv[2], atoi(argv[4])))
		return WORKER_FAILED;
	worker_link_guard(&l, argv[8]);
	code = pretend(&l);
	worker_link_close(&l);
	return code;
}

/* --- help ------------------------------------------------------------------------------------ */

static char root[256], db_path[384];
static struct arena arena;
static struct config no_config;

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(path_tmp_folder(root, sizeof root, "test"), 0);
	snprintf(db_path, sizeof db_path, "%s/lab.db", root);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_release(&arena);
	return path_remove_tree(root);
}

static void hold_slow(bool hold)
{
	char *path = path_join(root, "hold");

	assert_int_equal(hold ? path_write(path, "", 0) : unlink(path), 0);
	free(path);
}

static struct job job(const char *label, long seed)
{
	char hex[HASH_HEX], *text = arena_printf(&arena, "%s/%ld", label, seed);

	hash_bytes(text, strlen(text), hex);
	return (struct job){.label = label, .seed = seed, .identity = arena_strdup(&arena, hex),
		.config = &no_config, .steps = STEPS};
}

static struct supervisor two_workers(struct db *db)
{
	return (struct supervisor){.root = root, .db = db, .sweep = "test", .workers = 2,
		.threads = 1, .oversubscribe = true, .retries = 1, .arena = &arena};
}

/* Decide and run with a database of its own; gives the exit code. */
static int supervise_with(struct supervisor s, struct job *jobs, int n)
{
	struct db db;
	int code;

	assert_int_equal(db_open(&db, db_path, DB_WRITE), 0);
	assert_int_equal(jobs_decide(root, jobs, n, &arena), 0);
	s.db = &db;
	code = supervisor_run(&s, jobs, n);
	db_close(&db);
	return code;
}

static int supervise(struct job *jobs, int n)
{
	return supervise_with(two_workers(NULL), jobs, n);
}

static pid_t supervise_aside(struct job *jobs, int n)
{
	pid_t pid = fork();

	if (!pid) {
		struct supervisor_end end = {0};
		struct supervisor s = two_workers(NULL);
		int code;

		s.end = &end;
		code = supervise_with(s, jobs, n);
		if (end.signal)
			raise(SIGTERM);		/* of a scheduler: too late to change what the code says */
		_exit(code);
	}
	return pid;
}

static int wait_code(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void assert_sql(const char *condition)
{
	struct db db;
	char *sql = xasprintf("SELECT %s", condition);

	assert_int_equal(db_open(&db, db_path, DB_READ), 0);
	if (db_value(&db, sql, -1) != 1)
		fail_msg("not so: %s", condition);
	db_close(&db);
	free(sql);
}

static const char *dir_of(const struct job *j)
{
	return arena_printf(&arena, "%s/runs/%s", root,
		run_dir_name(j->label, j->seed, j->identity, &arena));
}

static enum run_state state_of(const struct job *j)
{
	struct run_status status;

	run_dir_status(dir_of(j), &arena, &status);
	return status.state;
}

/* The worker of a run, once it has gone so many steps. */
static pid_t wait_for_worker(const struct job *j, int steps)
{
	char *attempt = arena_printf(&arena, "%s/attempt.json", dir_of(j));
	char *metrics = arena_printf(&arena, "%s/metrics.jsonl", dir_of(j));
	char *wanted = arena_printf(&arena, "\"step\":%d,", steps), *text;
	struct record r;

	for (int i = 0; i < 6000; i++) {
		nap(0.01);
		text = path_exists(metrics) && path_exists(attempt) ? path_read(metrics, NULL)
								    : NULL;
		bool there = text && strstr(text, wanted);
		free(text);
		if (!there)
			continue;
		text = path_read(attempt, NULL);
		assert_true(record_parse(&r, text, strlen(text), &arena));
		free(text);
		return (pid_t)r.attempt.pid;
	}
	fail_msg("no worker of %s", j->label);
	return -1;
}

#endif
