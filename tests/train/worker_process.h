/* A worker as a process of its own, with a dataset and run directories for it. */
#ifndef TESTS_TRAIN_WORKER_PROCESS_H
#define TESTS_TRAIN_WORKER_PROCESS_H

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "store/record.h"
#include "store/run_dir.h"
#include "train/worker.h"
#include "folder.h"
#include "synthetic_dataset.h"

enum { STEPS = 30 };

#define KEYS(...)                                                                                  \
	(const char *const[]){__VA_ARGS__},                                                        \
		(int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

extern char **environ;

static int open_folder(void **state)
{
	(void)state;
	if (path_tmp_folder(folder, sizeof folder, "worker"))
		return -1;
	return synthetic_dataset(folder, 300000, 0.1, 0.05) ? -1 : 0;
}

/* A run directory for moe_mamba, as the supervisor makes it, with key=value words; caller frees. */
static char *run_dir(const char *name, const char *const *keys, int n_keys)
{
	struct arena a = {0};
	struct config config;
	char *dir = path_join(folder, name), *spec = path_join(folder, "spec.yaml");
	char *file = path_join(dir, "config.yaml");
	struct run_info info = {.identity = "0123456789abcdef0123456789abcdef", .label = name,
		.sweep = "test", .seed = 1, .steps = STEPS, .jobs = 1, .config = "{}"};
	char *text = xasprintf("model: {arch: moe_mamba, d_model: 32, n_blocks: 2, moe: {n_experts: 4, "
		"d_expert: 64, capacity_factor: 0.8}}\ntrain: {batch: 4, context: 64, tokens: %d}\n"
		"data: {path: data}\neval: {tokens: 1000, every: 7}\ncheckpoint: {every: 0}\n",
		STEPS * 4 * 64);

	assert_int_equal(path_mkdirs(dir), 0);
	assert_int_equal(path_write(spec, text, strlen(text)), 0);
	assert_int_equal(spec_load(&a, spec, keys, n_keys, spec_schema(), &config), 0);
	assert_int_equal(config_write(&config, file), 0);
	assert_int_equal(run_info_write(&info, dir), 0);
	free(text);
	free(file);
	free(spec);
	arena_release(&a);
	return dir;
}

/* claim: token that the supervisor would pass; NULL: none. word: one more for main() below, or NULL. */
static pid_t start_with(const char *dir, const char *claim, const char *word)
{
	char *argv[] = {"worker", (char *)dir, (char *)claim, (char *)word, NULL};
	char *log = path_join(dir, "log.txt");
	posix_spawn_file_actions_t files;
	pid_t pid;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0666);
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &files, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&files);
	free(log);
	return pid;
}

static inline pid_t start_claimed(const char *dir, const char *claim)
{
	return start_with(dir, claim, NULL);
}

static inline pid_t start(const char *dir)
{
	return start_with(dir, NULL, NULL);
}

/* A worker whose supervisor has died: it is asked to stop before it begins. */
static inline pid_t start_left_alone(const char *dir)
{
	return start_with(dir, "", "alone");
}

static inline int pipe_without_reader(void)
{
	int ends[2];

	CHECK(!pipe(ends));
	close(ends[0]);
	return ends[1];
}

static int finish(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static char *metrics(const char *dir)
{
	char *path = path_join(dir, "metrics.jsonl"), *text = path_exists(path) ? path_read(path, NULL)
		: xstrdup("");

	free(path);
	return text;
}

static inline int count(const char *text, const char *what)
{
	int n = 0;

	for (text = strstr(text, what); text; text = strstr(text + 1, what))
		n++;
	return n;
}

/* Waits until the worker has written so many checkpoints. */
static inline void wait_for_checkpoints(const char *dir, int n)
{
	for (int i = 0; i < 120000; i++) {
		char *text = metrics(dir);
		int have = count(text, "\"kind\":\"checkpoint\"");
		free(text);
		if (have >= n)
			return;
		usleep(500);
	}
	fail_msg("no %d checkpoints in a minute", n);
}

/* What main() of the test does: the worker itself, or the tests. */
#define WORKER_TESTS_MAIN(tests_)                                                                  \
	int main(int argc, char **argv)                                                            \
	{                                                                                          \
		blas_start(argv);                                                                  \
		if (argc > 1)	/* started by start() */                                           \
			return worker_main(argv[1], &(struct worker_options){                      \
				.pipe = argc > 3 ? pipe_without_reader() : -1,                     \
				.threads = 1, .claim = argc > 3 ? NULL : argv[2]});                \
		return cmocka_run_group_tests(tests_, open_folder, remove_folder);                 \
	}

#endif
