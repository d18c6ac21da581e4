#include "supervise/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/program.h"

/* The command as an array for exec; in the arena. */
static const char *const *arguments(const struct supervisor *s, const struct launch *l, struct arena *a)
{
	static const char *const own[] = {"/proc/self/exe", "worker", NULL};
	const char *const *command = s->worker ? s->worker : own;
	int n = 0, n_options = 0, n_command = 0;
	const char **argv;

	while (command[n_command])
		n_command++;
	while (s->options && s->options[n_options])
		n_options++;
	argv = ARENA_ARRAY(a, const char *, n_command + n_options + 8);
	for (int i = 0; i < n_command; i++)
		argv[n++] = command[i];
	argv[n++] = l->dir;
	argv[n++] = "--fd";
	argv[n++] = arena_printf(a, "%d", LAUNCH_FD);
	argv[n++] = "--threads";
	argv[n++] = arena_printf(a, "%d", l->threads);
	if (l->claim) {
		argv[n++] = "--claim";
		argv[n++] = l->claim;
	}
	for (int i = 0; i < n_options; i++)
		argv[n++] = s->options[i];
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

int launch_worker(const struct supervisor *s, const struct launch *l, pid_t *pid, int *from_worker)
{
	struct arena a = {0};
	cpu_set_t before;
	int ends[2];

	if (pipe2(ends, O_CLOEXEC))
		return error_errno("cannot make a pipe");
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	/* Affinity is inherited, and posix_spawn has no word for it. */
	sched_getaffinity(0, sizeof before, &before);
	if (l->cores && sched_setaffinity(0, sizeof *l->cores, l->cores))
		warning("cannot pin a worker to its cores: %s", strerror(errno));
	/* ^C reaches the supervisor alone. Descriptors but 0 to 3 close at exec. */
	const int fds[LAUNCH_FD] = {l->log, l->log, ends[1]};
	const char *const *argv = arguments(s, l, &a);
	errno = program_start(argv, environment(l, &a), fds, LAUNCH_FD, true, pid);
	int ret = errno ? error_errno("cannot start %s", argv[0]) : 0;
	sched_setaffinity(0, sizeof before, &before);
	arena_release(&a);
	close(ends[1]);
	*from_worker = ends[0];
	if (ret)
		close(ends[0]);
	return ret;
}
