#include "base/cgroup.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

double keyed_number(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	char line[256];
	double value = NAN;
	size_t n = strlen(key);

	while (f && isnan(value) && fgets(line, sizeof line, f))
		if (!strncmp(line, key, n) && (line[n] == ' ' || line[n] == ':'))
			value = strtod(line + n + 1, NULL);
	if (f)
		fclose(f);
	return value;
}

/* Up to two numbers of a file; how many. The word "max" is none. */
static int read_numbers(const char *folder, const char *name, double x[2])
{
	char *path = xasprintf("%s/%s", folder, name);
	FILE *f = fopen(path, "re");
	int n = f ? fscanf(f, "%lf %lf", &x[0], &x[1]) : 0;

	if (f)
		fclose(f);
	free(path);
	return n;
}

static void read_cores(const char *folder, struct cgroup *c)
{
	double quota[2], period[2];

	if (read_numbers(folder, "cpu.max", quota) == 2)
		c->cores = fmin(c->cores, quota[0] / quota[1]);
	if (read_numbers(folder, "cpu.cfs_quota_us", quota) == 1 && quota[0] > 0 &&
			read_numbers(folder, "cpu.cfs_period_us", period) == 1)
		c->cores = fmin(c->cores, quota[0] / period[0]);
}

static void read_memory(const char *folder, const char *limit, const char *usage, const char *cache,
	struct cgroup *c)
{
	double most[2], used[2], droppable;
	char *stat;

	if (read_numbers(folder, limit, most) != 1 || read_numbers(folder, usage, used) != 1)
		return;
	stat = xasprintf("%s/memory.stat", folder);
	droppable = keyed_number(stat, cache);
	free(stat);
	c->memory_bytes = fmin(c->memory_bytes, most[0]);
	c->free_bytes = fmin(c->free_bytes,
		fmax(0, most[0] - used[0] + (isnan(droppable) ? 0 : droppable)));
}

/* The group and those above it. Inside a container its path may be the host's: then the root counts. */
static void read_group(const char *mount, const char *controllers, char *group, struct cgroup *c)
{
	for (char *end = group + strlen(group); end; end = strrchr(group, '/')) {
		char *folder;
		*end = '\0';
		folder = xasprintf("%s/%s%s", mount, controllers, group);
		read_cores(folder, c);
		read_memory(folder, "memory.max", "memory.current", "inactive_file", c);
		read_memory(folder, "memory.limit_in_bytes", "memory.usage_in_bytes",
			"total_inactive_file", c);
		free(folder);
	}
}

void cgroup_read(const char *mount, const char *groups, struct cgroup *c)
{
	FILE *f = fopen(groups, "re");
	char line[4096];

	*c = (struct cgroup){INFINITY, INFINITY, INFINITY};
	while (f && fgets(line, sizeof line, f)) {	/* "4:memory:/a/b", or "0::/a/b" */
		char *controllers = strchr(line, ':'), *group;
		line[strcspn(line, "\n")] = '\0';
		group = controllers ? strchr(controllers + 1, ':') : NULL;
		if (!group)
			continue;
		*group = '\0';
		read_group(mount, controllers + 1, group + 1, c);
	}
	if (f)
		fclose(f);
}
