#include "base/process.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/path.h"

/* Field 22 of /proc/PID/stat; the second field is a name in parentheses that may hold anything. */
static long long process_start(long long pid, struct arena *a)
{
	const char *stat = path_first_line(arena_printf(a, "/proc/%lld/stat", pid), a);
	const char *rest = strrchr(stat, ')');
	long long start = -1;
	char state = 'X';

	if (!rest || sscanf(rest, ") %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
			"%*s %*s %*s %*s %lld", &state, &start) != 2 || state == 'Z')
		return -1;
	return start;
}

void process_self(struct process *p, struct arena *a)
{
	char host[256] = "";

	gethostname(host, sizeof host - 1);
	*p = (struct process){
		.host = arena_strdup(a, host),
		.boot_id = path_first_line("/proc/sys/kernel/random/boot_id", a),
		.pid = getpid(),
		.start_time = process_start(getpid(), a),
	};
}

/* Not known counts as equal. */
static bool same(const char *a, const char *b)
{
	return !a || !b || !strcmp(a, b);
}

bool process_is_here(const struct process *p)
{
	char host[256] = "";

	gethostname(host, sizeof host - 1);
	return same(p->host, host);
}

bool process_alive(const struct process *p)
{
	struct arena a = {0};
	struct process self;
	bool alive;

	process_self(&self, &a);
	alive = same(p->host, self.host) && same(p->boot_id, self.boot_id) &&
		p->start_time >= 0 && process_start(p->pid, &a) == p->start_time;
	arena_release(&a);
	return alive;
}
