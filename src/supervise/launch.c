#include "supervise/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"

extern char **environ;

/* The command as an array for exec; in the arena. */
static char **arguments(const struct supervisor *s, const struct launch *l, struct arena *a)
{
	static const char *const own[] = {"/proc/self/exe", "worker", NULL};
	const char *const *command = s->worker ? s->worker : own;
	int n = 0, n_options = 0, n_command = 0;
	char **argv;

	while (command[n_command])
		n_command++;
	while (s->options && s->options[n_options])
		n_options++;
	argv = ARENA_ARRAY(a, char *, n_command + n_options + 8);
	for (int i = 0; i < n_command; i++)
		argv[n++] = arena_strdup(a, command[i]);
	argv[n++] = arena_strdup(a, l->dir);
	argv[n++] = arena_strdup(a, "--fd");
	argv[n++] = arena_printf(a, "%d", LAUNCH_FD);
	argv[n++] = arena_strdup(a, "--threads");
	argv[n++] = arena_printf(a, "%d", l->threads);
	if (l->claim) {
		argv[n++] = arena_strdup(a, "--claim");
		argv[n++] = arena_strdup(a, l->claim);
	}
	for (int i = 0; i < n_options; i++)
		argv[n++] = arena_strdup(a, s->options[i]);
	return argv;
}

/* This process's environment, with the worker's GPU; in the arena. */
static char **environment(const struct launch *l, struct arena *a)
{
	static const char name[] = "CUDA_VISIBLE_DEVICES=";
	char **list;
	int n = 0, kept = 0;

	while (environ[n])
		n++;
	list = ARENA_ARRAY(a, char *, n + 2);
	for (int i = 0; i < n; i++)
		if (!l->gpu || strncmp(environ[i], name, sizeof name - 1))
			list[kept++] = environ[i];
	if (l->gpu)
		list[kept] = arena_printf(a, "%s%s", name, l->gpu);
	return list;
}

/*
 * The worker gets a process group of its own, so that ^C reaches the supervisor alone, and all
 * signals as they are by default. Descriptors but 0 to 3 close at exec.
 */
static int spawn(char **argv, char **env, int log, int to_supervisor, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int code;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, log, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, log, STDERR_FILENO);
	posix_spawn_file_actions_adddup2(&files, to_supervisor, LAUNCH_FD);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes,
		POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	code = posix_spawn(pid, argv[0], &files, &attributes, argv, env);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	if (!code)
		return 0;
	errno = code;
	return error_errno("cannot start %s", argv[0]);
}

int launch_worker(const struct supervisor *s, const struct launch *l, pid_t *pid, int *from_worker)
{
	struct arena a = {0};
	cpu_set_t before;
	int ends[2], ret;

	if (pipe2(ends, O_CLOEXEC))
		return error_errno("cannot make a pipe");
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	/* Affinity is inherited, and posix_spawn has no word for it. */
	sched_getaffinity(0, sizeof before, &before);
	if (l->cores && sched_setaffinity(0, sizeof *l->cores, l->cores))
		warning("cannot pin a worker to its cores: %s", strerror(errno));
	ret = spawn(arguments(s, l, &a), environment(l, &a), l->log, ends[1], pid);
	sched_setaffinity(0, sizeof before, &before);
	arena_release(&a);
	close(ends[1]);
	*from_worker = ends[0];
	if (ret)
		close(ends[0]);
	return ret;
}
