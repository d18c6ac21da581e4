#include "measure/pace.h"

#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "measure/rate.h"
#include "supervise/cores.h"
#include "supervise/launch.h"

enum { LEAST_MICRO = 2 };
#define LEAST_S 0.5

/* --- the worker -------------------------------------------------------------------------------- */

struct marker {
	const struct setup *setup;
	int pipe;
};

static int mark_and_read(void *from, long step, long micro, int *tokens_BT, int *targets_BT)
{
	const struct marker *m = from;
	double now = clock_s();

	if (write(m->pipe, &now, sizeof now) != sizeof now)
		return -1;
	return rate_tokens((void *)m->setup, step, micro, tokens_BT, targets_BT);
}

static void train(struct setup *s, int pipe)
{
	size_t n = (size_t)(s->spec.micro_batch * s->spec.context);
	struct marker m = {s, pipe};
	struct step_input in = {.read = mark_and_read, .from = &m,
		.tokens_BT = xcalloc(n, sizeof(int)), .targets_BT = xcalloc(n, sizeof(int))};
	struct step_result r;

	for (long step = 0; !setup_step(s, step, &in, &r); step++)
		continue;
	free(in.tokens_BT);
	free(in.targets_BT);
}

int pace_worker(const char *dir, const struct worker_options *options)
{
	const struct device *device = device_find(options->device ? options->device : "cpu");
	char *path = path_join(dir, "config.yaml");
	struct arena arena = {0};
	struct config config;
	struct setup s;
	int ret = WORKER_FAILED;

	cpu_threads(options->threads);
	if (device && !config_read(&arena, path, spec_schema(), &config) &&
			!setup_open(&s, &config, device, 0)) {
		if (!setup_allocate(&s)) {
			train(&s, options->pipe);
			ret = WORKER_DONE;
		}
		setup_close(&s);
	}
	arena_release(&arena);
	free(path);
	return ret;
}

/* --- the measurement --------------------------------------------------------------------------- */

struct pacer {			/* a worker, seen from here */
	pid_t pid;		/* 0: none */
	int pipe;
	int n;			/* marks since the clock was set */
	double first, last;
};

struct team {
	struct pacer *pacers;
	int n;
	struct core_claim cores;
	bool pinned;
	int log;		/* what the workers print */
	double until_s;
};

static void take_mark(struct pacer *w, double now)
{
	w->first = w->n ? w->first : now;
	w->last = now;
	w->n++;
}

/* Marks that are there now; -1: a worker has ended. */
static int read_marks(struct team *t)
{
	for (int i = 0; i < t->n; i++) {
		double now;
		ssize_t got;
		while ((got = read(t->pacers[i].pipe, &now, sizeof now)) == sizeof now)
			take_mark(&t->pacers[i], now);
		if (got == 0)
			return -1;
	}
	return 0;
}

static bool all_have(const struct team *t, int marks, double seconds)
{
	for (int i = 0; i < t->n; i++)
		if (t->pacers[i].n < marks || t->pacers[i].last - t->pacers[i].first < seconds)
			return false;
	return true;
}

/* Until each worker has so many marks from now on. -1: one has ended, or it takes too long. */
static int wait_for(struct team *t, int marks, double seconds)
{
	struct pollfd fds[CPU_SETSIZE];
	int n = t->n < CPU_SETSIZE ? t->n : CPU_SETSIZE;

	for (int i = 0; i < t->n; i++)
		t->pacers[i].n = 0;
	while (!all_have(t, marks, seconds)) {
		for (int i = 0; i < n; i++)
			fds[i] = (struct pollfd){.fd = t->pacers[i].pipe, .events = POLLIN};
		poll(fds, (nfds_t)n, 100);
		if (read_marks(t) || clock_s() > t->until_s)
			return -1;
	}
	return 0;
}

static int start_team(struct team *t, const struct pace *p, const char *dir, int threads)
{
	const char *const options[] = {"--device", p->device, "--pace", NULL};
	const struct supervisor s = {.options = options};

	t->pinned = cores_claim(&t->cores, t->n, threads);
	for (int i = 0; i < t->n; i++) {
		struct launch l = {.dir = dir, .log = t->log, .threads = threads};
		struct pacer *w = &t->pacers[i];
		cpu_set_t set;
		if (t->pinned) {
			cores_of_worker(&t->cores, i, &set);
			l.cores = &set;
		}
		if (launch_worker(&s, &l, &w->pid, &w->pipe)) {
			w->pid = 0;
			return -1;
		}
	}
	return 0;
}

static void end_team(struct team *t)
{
	for (int i = 0; i < t->n; i++)
		if (t->pacers[i].pid)
			kill(t->pacers[i].pid, SIGKILL);
	for (int i = 0; i < t->n; i++)
		if (t->pacers[i].pid) {
			waitpid(t->pacers[i].pid, NULL, 0);
			close(t->pacers[i].pipe);
		}
	if (t->pinned)
		cores_release(&t->cores);
}

/*
 * dir is needed until the workers have read it, and removed then: nothing is left behind by ^C. A
 * worker's first mark, before its first micro-batch, is not counted: that one is to warm up.
 */
static double time_team(struct team *t, const struct pace *p, const char *dir, int threads)
{
	double rate = 0;
	int failed = start_team(t, p, dir, threads) || wait_for(t, 1, 0);

	path_remove_tree(dir);
	if (failed || wait_for(t, LEAST_MICRO + 1, LEAST_S))
		return -1;
	for (int i = 0; i < t->n; i++)
		rate += p->tokens * (t->pacers[i].n - 1) / (t->pacers[i].last - t->pacers[i].first);
	return rate;
}

static void warn(const struct team *t, int threads)
{
	char said[512] = "";
	ssize_t n = pread(t->log, said, sizeof said - 1, 0);

	if (n <= 0)
		snprintf(said, sizeof said, "no answer in time");
	warning("%d x %d could not be measured: %.*s", t->n, threads, (int)strcspn(said, "\n"), said);
}

double pace_measure(const struct pace *p, int workers, int threads)
{
	struct team t = {.n = workers, .until_s = clock_s() + p->limit_s};
	char dir[PATH_MAX], *path;
	double rate = -1;

	if (path_tmp_folder(dir, sizeof dir, "pace"))
		return -1;
	path = path_join(dir, "log.txt");
	t.log = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	free(path);
	path = path_join(dir, "config.yaml");
	t.pacers = xcalloc((size_t)workers, sizeof *t.pacers);
	if (t.log >= 0 && !config_write(p->config, path))
		rate = time_team(&t, p, dir, threads);
	end_team(&t);
	if (rate < 0)
		warn(&t, threads);
	path_remove_tree(dir);
	if (t.log >= 0)
		close(t.log);
	free(t.pacers);
	free(path);
	return rate;
}
