#include "show/gnuplot.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Ours and a locale of UTF-8, without which gnuplot warns of scripts in UTF-8. Caller frees. */
static char **utf8_environment(void)
{
	size_t n = 0;

	while (environ[n])
		n++;
	char **own = xcalloc(n + 2, sizeof *own);
	own[0] = (char *)"LC_ALL=C.UTF-8";	/* the first of a name counts */
	memcpy(own + 1, environ, n * sizeof *own);
	return own;
}

static int spawn(const char *folder, const char *script, int errors[2], pid_t *pid)
{
	char *argv[] = {(char *)"gnuplot", (char *)script, NULL}, **environment = utf8_environment();
	posix_spawn_file_actions_t actions;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addchdir_np(&actions, folder);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, errors[1], 2);
	int failed = posix_spawnp(pid, argv[0], &actions, NULL, argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	free(environment);
	if (failed == ENOENT)
		return error("gnuplot: not found: install the package gnuplot-nox");
	return failed ? error("gnuplot: %s", strerror(failed)) : 0;
}

/* All the child says, until it closes its stderr or the time is over. */
static void listen_to(int fd, double until_s, struct str *said)
{
	char bytes[4096];
	ssize_t n;

	for (;;) {
		double left = until_s - clock_s();
		struct pollfd p = {.fd = fd, .events = POLLIN};
		int ready = poll(&p, 1, left > 0 ? (int)(left * 1000) + 1 : 0);
		if (ready < 0 && errno == EINTR)
			continue;
		if (ready <= 0)
			return;
		n = read(fd, bytes, sizeof bytes);
		if (n <= 0)
			return;
		str_add_bytes(said, bytes, (size_t)n);
	}
}

/* The child's end; killed when the time is over. false: it was. */
static bool await(pid_t pid, double until_s, int *status)
{
	bool in_time = true;

	for (;;) {
		pid_t ended = waitpid(pid, status, in_time ? WNOHANG : 0);
		if (ended == pid || (ended < 0 && errno != EINTR))
			return in_time;
		if (ended == 0 && clock_s() >= until_s) {
			kill(pid, SIGKILL);
			in_time = false;
		} else if (ended == 0) {
			usleep(2000);
		}
	}
}

static int judge(const char *script, bool in_time, double limit_s, int status, struct str *said)
{
	while (said->length && strchr(" \n", said->text[said->length - 1]))
		said->text[--said->length] = '\0';
	if (!in_time)
		return error("gnuplot %s: not done after %.0f s, ended", script, limit_s);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return error("gnuplot %s: failed: %s", script,
			said->length ? said->text : "no reason given");
	if (said->length)
		warning("gnuplot %s: %s", script, said->text);
	return 0;
}

int gnuplot_run(const char *folder, const char *script, double limit_s)
{
	double until_s = clock_s() + limit_s;
	struct str said;
	int errors[2], status = 0;
	pid_t pid;

	if (pipe2(errors, O_CLOEXEC))
		return error_errno("gnuplot: pipe");
	if (spawn(folder, script, errors, &pid)) {
		close(errors[0]);
		close(errors[1]);
		return -1;
	}
	close(errors[1]);
	str_init(&said);
	listen_to(errors[0], until_s, &said);
	close(errors[0]);
	bool in_time = await(pid, until_s, &status);
	int result = judge(script, in_time, limit_s, status, &said);
	str_release(&said);
	return result;
}
