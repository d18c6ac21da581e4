/* moelab task FOLDER: one task of a submission; draws its runs until none is left. Started by its script. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "cluster/slurm.h"
#include "cluster/submission.h"
#include "cmd/options.h"
#include "supervise/supervisor.h"
#include "tensor/device.h"

extern const struct cmd cmd_task;

enum { VAIN_RESTARTS = 3 };	/* a task that got nowhere so often is not put into the queue again */

static int read_jobs(const struct submission *s, struct arena *a, struct job **jobs, int *n)
{
	struct submitted_run *runs;

	if (submission_read_runs(s, a, &runs, n))
		return -1;
	*jobs = ARENA_ARRAY(a, struct job, *n);
	for (int i = 0; i < *n; i++) {
		(*jobs)[i] = (struct job){.label = runs[i].label, .seed = runs[i].seed,
			.identity = runs[i].identity, .steps = runs[i].steps, .name = runs[i].name};
		if (!path_exists(arena_printf(a, "%s/runs/%s/config.yaml", s->root, runs[i].name)))
			return error("%s/runs/%s: its config.yaml is gone: submit the sweep again", s->root,
				runs[i].name);
		if (job_decide_again(s->root, &(*jobs)[i], a))
			return -1;
	}
	return 0;
}

/* When the list of runs was written, by the clock of its file system. */
static long long begun_at(const struct submission *s, struct arena *a)
{
	struct stat st;

	return stat(arena_printf(a, "%s/runs.txt", s->folder), &st) ? 0 : (long long)st.st_mtime;
}

/* Jobs of one node may each have a /tmp of their own: whoever looks for cores there would not see the others. */
static void share_cores(const struct submission *s, struct arena *a)
{
	const char *node = getenv("SLURMD_NODENAME");

	if (node)
		setenv("MOELAB_CORES", arena_printf(a, "%s/submit/cores-%s-%ld", s->root, node, (long)getuid()), 0);
}

static int supervise(const struct submission *s, struct job *jobs, int n, struct supervisor_end *end,
	struct arena *a)
{
	const struct device *device = device_find(s->device);
	const char *const options[] = {"--device", s->device, NULL};
	long share = cpu_cores() / s->workers;
	struct supervisor supervisor = {.root = s->root, .sweep = s->sweep, .workers = (int)s->workers,
		.threads = (int)(s->threads < share ? s->threads : share > 1 ? share : 1), .oversubscribe = share < 1,
		.retries = 1, .failed_since = begun_at(s, a), .worker_bytes = s->worker_bytes, .options = options,
		.end = end, .arena = a};

	if (!device)
		return EXIT_USAGE;
	if (device_missing(device)) {
		error("device %s: %s", device->name, device_missing(device));
		return EXIT_ENVIRONMENT;
	}
	supervisor.on_gpus = !device_is_host(device);
	return supervisor_run(&supervisor, jobs, n);
}

/*
 * The signal before the time limit has stopped the task: what is left is for its next turn. Whoever
 * cancels or preempts it sends SIGTERM, and Slurm itself knows what comes then.
 */
static int go_on_later(const struct slurm_place *p, const struct supervisor_end *end)
{
	if (!p->job || end->signal != SIGUSR1)
		return EXIT_STOPPED;
	if (end->steps == 0 && p->restarts >= VAIN_RESTARTS) {
		error("no run got a step further in this time limit: submit with a longer --time");
		return EXIT_STOPPED;
	}
	info("the time is nearly over and work is left: this task goes back into the queue");
	slurm_requeue(p);
	return EXIT_STOPPED;
}

static int run_task(const struct submission *s, struct arena *a)
{
	struct supervisor_end end = {0};
	struct slurm_place place;
	struct job *jobs;
	int n, left = 0, code;
	char wall[32];

	slurm_place(&place, a);
	if (read_jobs(s, a, &jobs, &n))
		return EXIT_USAGE;
	for (int i = 0; i < n; i++)
		left += jobs[i].action != JOB_DONE && jobs[i].action != JOB_DIVERGED;
	if (place.job)
		info("%s: task %lld_%ld, turn %d, %d of %d runs are not over", clock_iso(clock_wall_s(), wall),
			place.array, place.task, place.restarts + 1, left, n);
	share_cores(s, a);
	code = supervise(s, jobs, n, &end, a);
	if (code == EXIT_STOPPED && end.signal)
		return go_on_later(&place, &end);
	/* What is left is with other tasks, which are at it. */
	return code == EXIT_STOPPED ? EXIT_DONE : code;
}

static int run(int argc, char **argv)
{
	const struct option_row rows[] = {{0}};
	struct submission s;
	struct arguments words;
	struct arena a = {0};
	int ret = options_parse(&cmd_task, rows, argc, argv, &words);

	if (ret != GO_ON)
		return ret;
	if (words.n_words != 1)
		return error("task takes one folder that `submit` made"), EXIT_USAGE;
	ret = submission_read(&s, words.words[0], &a) ? EXIT_USAGE : run_task(&s, &a);
	arena_release(&a);
	return ret;
}

const struct cmd cmd_task = {
	.name = "task",
	.arguments = "FOLDER",
	.help = "draw runs of a submission until none is left; what its script starts on each node",
	.run = run,
};
