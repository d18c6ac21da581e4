#include "cmd/task_size.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/num.h"
#include "base/str.h"
#include "cluster/script.h"
#include "cluster/slurm.h"
#include "measure/crew.h"
#include "measure/pace.h"

#define LONG_RUN_S (4 * 3600.0)	/* a run that takes longer gets more threads, */
enum { MOST_THREADS = 8, TASKS = 32, GPU_THREADS = 4 };	/* up to so many */
#define DISK_BYTES_PER_S 100e6	/* that a shared folder takes from one task, at least */
#define MARGIN 2.0		/* of an estimate */
#define SHORTEST_S 600.0

static const double MIB = 1024.0 * 1024.0, GIB = 1024.0 * 1024.0 * 1024.0;

/* --- how fast ----------------------------------------------------------------------------------- */

static int costliest(const struct plan *p)
{
	int most = -1;

	for (int i = 0; i < p->sweep.n_runs; i++)
		if (job_is_work(&p->jobs[i]) && (most < 0 || plan_flops_left(p, i) > plan_flops_left(p, most)))
			most = i;
	return most;
}

static double measured(const struct plan *p, int i, int threads)
{
	const struct config *c = &p->sweep.runs[i].config;
	long micro = config_find(c, "train.micro_batch")->integer;
	double tokens = (double)((micro ? micro : config_find(c, "train.batch")->integer) *
		config_find(c, "train.context")->integer);
	struct pace pace = {c, p->device->name, tokens, 120};

	return pace_measure(&pace, 1, threads) * p->costs[i].flops_per_token;
}

/* rate: model FLOP/s of one thread, or of a GPU. */
static long choose_threads(const struct plan *p, double run_flops, double rate)
{
	long threads = 1;

	if (!device_is_host(p->device))
		return GPU_THREADS;
	while (threads < MOST_THREADS && run_flops / (rate * (double)threads) > LONG_RUN_S)
		threads *= 2;
	return threads;
}

/* --- how large ---------------------------------------------------------------------------------- */

static void size_crew(const struct plan *p, const struct site *site, double run_flops, double rate,
	struct task_size *s)
{
	s->workers = site->jobs ? site->jobs : site->gpus ? site->gpus : 1;
	s->tasks = site->tasks ? site->tasks : min_long(TASKS, ceil_div(plan_work(p), s->workers));
	s->threads = site->threads ? site->threads : choose_threads(p, run_flops, rate);
	s->cpus = s->workers * s->threads;
	/* A GPU's worker keeps on the host what goes to disk, and CUDA's own. */
	s->memory_bytes = site->memory_gib ? site->memory_gib * GIB : 128 * MIB + (double)s->workers *
		(device_is_host(p->device) ? 1.1 * plan_bytes(p) + 192 * MIB : 4 * GIB + s->checkpoint_bytes);
}

static double work_seconds(const struct plan *p, const struct task_size *s, double flops_per_s)
{
	double *seconds = xcalloc((size_t)p->sweep.n_runs, sizeof *seconds), all;

	for (int i = 0; i < p->sweep.n_runs; i++)
		seconds[i] = plan_flops_left(p, i) / flops_per_s;
	all = crew_seconds(seconds, p->sweep.n_runs, (int)(s->tasks * s->workers));
	free(seconds);
	return all;
}

static void size_checkpoints(const struct plan *p, struct task_size *s)
{
	for (int i = 0; i < p->sweep.n_runs; i++) {
		if (!job_is_work(&p->jobs[i]))
			continue;
		s->checkpoint_bytes = fmax(s->checkpoint_bytes, 3 * 4.0 * p->costs[i].params.total);
		s->every_s = fmax(s->every_s, config_find(&p->sweep.runs[i].config, "checkpoint.every")->real);
	}
}

/* The limit that is given, or the work's own time with a margin, in steps of ten minutes. */
static void size_time(const struct site *site, struct task_size *s)
{
	double most = *site->time_max ? slurm_seconds(site->time_max) : INFINITY;

	if (*site->time) {
		s->limit_s = slurm_seconds(site->time);
		snprintf(s->time, sizeof s->time, "%s", site->time);
	} else if (isnan(s->work_s)) {
		s->limit_s = *site->time_max ? most : NAN;
		snprintf(s->time, sizeof s->time, "%s", site->time_max);
	} else {
		s->limit_s = fmin(most, fmax(SHORTEST_S, ceil(MARGIN * s->work_s / 600) * 600));
		slurm_time(s->limit_s, s->time);
	}
}

void task_size_of(const struct plan *p, const struct site *site, bool measure, struct task_size *s)
{
	int i = costliest(p);
	double run_flops = plan_flops_left(p, i), flops_per_s;
	/* A GPU is not taken from others to learn what is given. */
	double rate = device_is_host(p->device) || !*site->time ? crew_expected(p->device, 1) : NAN;
	double steps = (double)(p->jobs[i].steps - p->jobs[i].step);

	*s = (struct task_size){0};
	size_checkpoints(p, s);
	size_crew(p, site, run_flops, rate, s);
	flops_per_s = measure ? measured(p, i, (int)s->threads) : -1;
	if (flops_per_s < 0)
		flops_per_s = device_is_host(p->device) ? rate * (double)s->threads : rate;
	s->run_s = run_flops / flops_per_s;
	s->work_s = isnan(flops_per_s) ? NAN : work_seconds(p, s, flops_per_s);
	s->stop_s = s->checkpoint_bytes / DISK_BYTES_PER_S + (isnan(s->run_s) || steps < 1 ? 0 : s->run_s / steps);
	size_time(site, s);
	s->lead_s = isnan(s->limit_s) ? 60 : script_lead(s->limit_s, s->stop_s);
}

/* --- what may go wrong -------------------------------------------------------------------------- */

void task_size_warn(const struct plan *p, const struct site *site, const struct task_size *s)
{
	char bytes[32], stop[32], every[32], limit[32];
	double train_s = s->limit_s - (double)s->lead_s;

	str_bytes(s->checkpoint_bytes, bytes);
	str_duration(s->stop_s, stop);
	str_duration(s->every_s, every);
	str_duration(s->limit_s, limit);
	if (s->stop_s > (double)s->lead_s)
		warning("%s: a step and a checkpoint of %s take about %s, but a task of %s is told to stop %ld s "
			"before its end: give it a longer --time", p->sweep.name, bytes, stop, limit, s->lead_s);
	if (s->stop_s > site->grace_s)
		warning("%s: a step and a checkpoint of %s take about %s, longer than the %.0f s between SIGTERM and "
			"SIGKILL (grace): a task that is preempted loses up to checkpoint.every, %s", p->sweep.name,
			bytes, stop, site->grace_s, every);
	if (s->every_s > train_s && s->run_s > train_s)
		warning("%s: checkpoint.every, %s, is longer than a task trains (%s): a node that dies costs all that "
			"its task has done", p->sweep.name, every, limit);
	if (s->memory_bytes < plan_bytes(p) && device_is_host(p->device))
		warning("%s: a run needs %s of memory, a task has less", p->sweep.name,
			str_bytes(plan_bytes(p), bytes));
}
