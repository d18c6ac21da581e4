#include "supervise/gpus.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define QUERY "nvidia-smi --query-gpu=uuid,name,memory.total,memory.free " \
	"--format=csv,noheader,nounits 2>/dev/null"

static const double MIB = 1024.0 * 1024.0;

/* "GPU-1234, NVIDIA H200, 143771, 143143" */
static bool read_line(const char *line, struct gpu *g)
{
	double all, left;

	if (sscanf(line, "%63[^,], %63[^,], %lf, %lf", g->uuid, g->name, &all, &left) != 4)
		return false;
	g->bytes = all * MIB;
	g->free_bytes = left * MIB;
	return true;
}

/* Does an entry of CUDA_VISIBLE_DEVICES, a number or the beginning of a UUID, name GPU i? */
static bool names(const char *entry, size_t length, const struct gpu *g, int i)
{
	char *end;
	long number = strtol(entry, &end, 10);

	if (length && end == entry + length)
		return number == i;
	return length && !strncmp(entry, g->uuid, length);
}

/* Its place among the visible ones; -1: not visible. */
static int visible_at(const struct gpu *g, int i)
{
	const char *entry = getenv("CUDA_VISIBLE_DEVICES");

	if (!entry)
		return i;
	for (int at = 0; *entry; at++) {
		size_t length = strcspn(entry, ",");
		if (names(entry, length, g, i))
			return at;
		entry += length + (entry[length] == ',');
	}
	return -1;
}

int gpus_list(struct gpu list[GPUS_MAX])
{
	FILE *f = popen(QUERY, "r");
	struct gpu g;
	char line[512];
	int n = 0;

	for (int i = 0; f && fgets(line, sizeof line, f); i++)
		if (n < GPUS_MAX && read_line(line, &g) && visible_at(&g, i) >= 0)
			list[n++] = g;
	if (f && pclose(f))
		return 0;
	return n;
}

static bool better(const struct gpu *list, const int *workers, int i, int than)
{
	if (workers[i] != workers[than])
		return workers[i] < workers[than];
	return list[i].free_bytes > list[than].free_bytes;
}

int gpus_choose(const struct gpu *list, const int *workers, int n, double bytes)
{
	int best = -1;

	for (int i = 0; i < n; i++)
		if (list[i].free_bytes >= bytes && (best < 0 || better(list, workers, i, best)))
			best = i;
	return best;
}
