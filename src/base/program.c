#include "base/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"

enum { N_PIPES = 2 };	/* stdout, stderr */

int program_start(const char *const *argv, char *const *env, const int *fds, int n, bool apart, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int code;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	for (int i = 0; i < n; i++)
		posix_spawn_file_actions_adddup2(&files, fds[i], STDOUT_FILENO + i);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setflags(&attributes, (short)(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
		(apart ? POSIX_SPAWN_SETPGROUP : 0)));
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	code = posix_spawnp(pid, argv[0], &files, &attributes, (char *const *)argv, env);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return code;
}

/* Reads both ends until they are closed; false: the time is over. */
static bool read_all(int pipes[N_PIPES][2], double until_s, struct str text[N_PIPES])
{
	struct pollfd fds[N_PIPES];
	char bytes[4096];
	int n_open = N_PIPES;

	for (int i = 0; i < N_PIPES; i++)
		fds[i] = (struct pollfd){.fd = pipes[i][0], .events = POLLIN};
	while (n_open) {
		double left = until_s - clock_s();
		if (left <= 0)
			return false;
		if (poll(fds, N_PIPES, (int)(left * 1000) + 1) < 0)
			continue;		/* a signal came */
		for (int i = 0; i < N_PIPES; i++) {
			ssize_t n = fds[i].fd >= 0 && fds[i].revents ?
				read(fds[i].fd, bytes, sizeof bytes) : -1;
			if (n > 0)
				str_add_bytes(&text[i], bytes, (size_t)n);
			if (n == 0) {
				fds[i].fd = -1;		/* poll() passes it over */
				n_open--;
			}
		}
	}
	return true;
}

static int wait_for(pid_t pid, bool in_time)
{
	int status;

	if (!in_time)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return !in_time ? PROGRAM_TIMEOUT : WIFSIGNALED(status) ? PROGRAM_KILLED : WEXITSTATUS(status);
}

static const char *keep(struct str *s, bool trimmed, struct arena *a)
{
	while (trimmed && s->length && strchr(" \n", s->text[s->length - 1]))
		s->text[--s->length] = '\0';
	const char *kept = arena_strdup(a, s->text);

	str_release(s);
	return kept;
}

struct program_answer program_run(const char *const *argv, double limit_s, struct arena *a)
{
	struct program_answer answer = {.code = PROGRAM_MISSING};
	double until_s = clock_s() + limit_s;
	int pipes[N_PIPES][2];
	struct str text[N_PIPES];
	pid_t pid;

	for (int i = 0; i < N_PIPES; i++) {
		str_init(&text[i]);
		if (pipe2(pipes[i], O_CLOEXEC))
			die("cannot make a pipe");
	}
	const int ends[N_PIPES] = {pipes[0][1], pipes[1][1]};
	int failed = program_start(argv, environ, ends, N_PIPES, false, &pid);

	for (int i = 0; i < N_PIPES; i++)
		close(pipes[i][1]);
	if (!failed)
		answer.code = wait_for(pid, read_all(pipes, until_s, text));
	for (int i = 0; i < N_PIPES; i++)
		close(pipes[i][0]);
	answer.output = keep(&text[0], false, a);
	answer.errors = keep(&text[1], true, a);
	return answer;
}
