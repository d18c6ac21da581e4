#include "supervise/outcome.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/path.h"
#include "store/record.h"
#include "train/worker.h"

/* The last line of log.txt that says anything; "" if there is none. */
static const char *last_words(const char *dir, struct arena *a)
{
	FILE *f = fopen(arena_printf(a, "%s/log.txt", dir), "re");
	char *line = NULL, last[400] = "";
	size_t size = 0;

	while (f && getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (*line && !str_starts(line, "--- "))
			snprintf(last, sizeof last, "%s", line);
		else if (*line)
			last[0] = '\0';		/* what an earlier attempt said */
	}
	if (f)
		fclose(f);
	free(line);
	return arena_strdup(a, str_starts(last, "moelab: ") ? last + strlen("moelab: ") : last);
}

static struct outcome by_signal(int signal, long step, bool asked, struct arena *a)
{
	if (asked && (signal == SIGKILL || signal == SIGTERM))
		return (struct outcome){.state = RUN_LOST, .reason = "killed on request"};
	return (struct outcome){.state = RUN_FAILED,
		.crash = true,
		.reason = arena_printf(a, "killed by signal %d (%s)%s, last heard of at step %ld",
			signal, strsignal(signal), signal == SIGKILL ? ", out of memory?" : "",
			step)};
}

struct outcome outcome_of(int status, const char *dir, long step, bool asked, struct arena *a)
{
	struct outcome o = {.reason = last_words(dir, a)};
	int code = WEXITSTATUS(status);

	if (WIFSIGNALED(status))
		return by_signal(WTERMSIG(status), step, asked, a);
	switch (code) {
	case WORKER_DONE:
		o.state = RUN_DONE;
		o.reason = arena_printf(a, "%ld steps", step);
		break;
	case WORKER_DIVERGED:
		o.state = RUN_DIVERGED;
		o.reason = arena_printf(a, "not finite after step %ld", step);
		break;
	case WORKER_STOPPED:
		o.state = RUN_STOPPED;
		o.reason = "stopped on request";
		break;
	default:
		o.state = RUN_FAILED;
		o.crash = code != WORKER_FAILED && code != EXIT_USAGE && code != EXIT_ENVIRONMENT;
		o.reason = arena_printf(a, "exit code %d, last heard of at step %ld: %s", code,
			step, *o.reason ? o.reason : "log.txt is empty");
	}
	return o;
}

void outcome_record(const char *dir, pid_t pid, int status)
{
	struct record r = record_new(RECORD_IS_EXIT);
	char wall[32];

	r.exit.pid = pid;
	r.exit.ended = clock_iso(clock_wall_s(), wall);
	if (WIFSIGNALED(status))
		r.exit.exit_signal = WTERMSIG(status);
	else
		r.exit.exit_code = WEXITSTATUS(status);
	record_append(&r, dir);
}
