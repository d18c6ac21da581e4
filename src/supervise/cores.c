#include "supervise/cores.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/error.h"

/* The byte that is locked while cores are looked for, behind those of the cores. */
enum { GATE = CPU_SETSIZE };

/* --- the machine ------------------------------------------------------------------------------ */

static int first_sibling(int id)
{
	char *path = xasprintf("/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", id);
	FILE *f = fopen(path, "re");
	int first = id;

	if (f && fscanf(f, "%d", &first) != 1)
		first = id;
	if (f)
		fclose(f);
	free(path);
	return first;
}

static int read_cores(struct core *cores)
{
	cpu_set_t mask;
	int n = 0;

	if (sched_getaffinity(0, sizeof mask, &mask))
		return 0;
	for (int id = 0; id < CPU_SETSIZE; id++) {
		if (!CPU_ISSET(id, &mask))
			continue;
		cores[n] = (struct core){id, first_sibling(id), 0};
		for (int i = 0; i < n; i++)
			cores[n].rank += cores[i].whole == cores[n].whole;
		n++;
	}
	return n;
}

static int by_rank(const void *a, const void *b)
{
	const struct core *x = a, *y = b;

	return x->rank != y->rank ? x->rank - y->rank : x->id - y->id;
}

static int by_whole(const void *a, const void *b)
{
	const struct core *x = a, *y = b;

	return x->whole != y->whole ? x->whole - y->whole : x->id - y->id;
}

void cores_order(struct core *cores, int n, int workers, int threads)
{
	int whole = 0;

	for (int i = 0; i < n; i++)
		whole += cores[i].rank == 0;
	qsort(cores, (size_t)n, sizeof *cores,
		threads == 1 || workers * threads <= whole ? by_rank : by_whole);
}

/* --- claims ----------------------------------------------------------------------------------- */

/* -1: no claims can be made or seen; all cores count as free. */
static int open_locks(void)
{
	const char *named = getenv("MOELAB_CORES");
	char *file = named ? xstrdup(named) : xasprintf("/tmp/moelab-cores-%ld", (long)getuid());
	int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	free(file);
	return fd;
}

static bool lock(int fd, int command, int byte)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	return !fcntl(fd, command, &l) && (command != F_OFD_GETLK || l.l_type == F_UNLCK);
}

static void unlock(int fd, int byte)
{
	struct flock l = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	fcntl(fd, F_OFD_SETLK, &l);
}

bool cores_claim(struct core_claim *c, int workers, int threads)
{
	struct core cores[CPU_SETSIZE];
	long n = read_cores(cores), wanted = (long)workers * threads, got = 0;

	*c = (struct core_claim){.file = -1, .threads = threads};
	if (wanted > n || cpu_cores() < n)
		return false;
	cores_order(cores, (int)n, workers, threads);
	c->file = open_locks();
	if (c->file >= 0)
		lock(c->file, F_OFD_SETLKW, GATE);
	for (long i = 0; i < n && got < wanted; i++)
		if (c->file < 0 || lock(c->file, F_OFD_SETLK, cores[i].id))
			c->id[got++] = cores[i].id;
	if (c->file >= 0)
		unlock(c->file, GATE);
	if (got < wanted)
		cores_release(c);
	return got == wanted;
}

void cores_release(struct core_claim *c)
{
	if (c->file >= 0)
		close(c->file);
	c->file = -1;
}

void cores_of_worker(const struct core_claim *c, int worker, cpu_set_t *set)
{
	CPU_ZERO(set);
	for (int i = 0; i < c->threads; i++)
		CPU_SET(c->id[worker * c->threads + i], set);
}

int cores_free(int *whole)
{
	struct core cores[CPU_SETSIZE];
	int n = read_cores(cores), fd = open_locks(), most = cpu_cores(), n_free = 0;

	*whole = 0;
	for (int i = 0; i < n; i++)
		if (fd < 0 || lock(fd, F_OFD_GETLK, cores[i].id)) {
			n_free++;
			*whole += cores[i].rank == 0;
		}
	if (fd >= 0)
		close(fd);
	*whole = *whole < most ? *whole : most;
	return n_free < most ? n_free : most;
}
