#include "measure/crew.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "measure/pace.h"
#include "measure/rate.h"
#include "supervise/cores.h"
#include "supervise/gpus.h"

static const double GIB = 1024.0 * 1024.0 * 1024.0;

#define SHORT_S 60.0		/* work that is over sooner is not worth measuring */
#define MEASURE_S 60.0		/* at most, for all crews; and a tenth of the work's own time */
#define START_S 0.7		/* of a worker, until it trains, and the least that is timed */
enum { MICRO_BATCHES = 4 };	/* that a worker trains until it has been timed, about */

/* --- the work ---------------------------------------------------------------------------------- */

struct work {
	double *flops;		/* of each run to do */
	int n;
	int costliest;		/* run of the plan */
	double memory;		/* of the largest run, bytes */
	double micro_tokens;	/* of the costliest run's micro-batch */
};

static int open_work(const struct plan *p, struct work *w)
{
	double most = 0;
	struct setup s;

	*w = (struct work){.flops = xcalloc((size_t)p->sweep.n_runs, sizeof *w->flops)};
	for (int i = 0; i < p->sweep.n_runs; i++) {
		double flops = plan_flops_left(p, i);
		if (!job_is_work(&p->jobs[i]))
			continue;
		w->flops[w->n++] = flops;
		w->costliest = flops > most ? i : w->costliest;
		most = fmax(most, flops);
		w->memory = fmax(w->memory, p->costs[i].total_bytes);
	}
	if (!w->n || setup_open(&s, &p->sweep.runs[w->costliest].config, p->device, 0))
		return -1;
	w->micro_tokens = (double)(s.spec.micro_batch * s.spec.context);
	setup_close(&s);
	return 0;
}

double crew_seconds(const double *seconds, int n, int workers)
{
	double *free_at = xcalloc((size_t)workers, sizeof *free_at), end = 0;

	for (int i = 0; i < n; i++) {
		int first = 0;
		for (int k = 1; k < workers; k++)
			if (free_at[k] < free_at[first])
				first = k;
		free_at[first] += seconds[i];
		end = fmax(end, free_at[first]);
	}
	free(free_at);
	return end;
}

static double work_seconds(const struct work *w, const struct crew *c)
{
	return crew_seconds(w->flops, w->n, c->workers) / c->flops_per_s;
}

/* --- the crews --------------------------------------------------------------------------------- */

double crew_memory(const struct plan *p, bool free_now)
{
	double most = free_now ? cpu_free_memory_bytes() : cpu_memory_bytes();
	double limit = p->sweep.limits.memory_gib * GIB;

	return limit > 0 ? fmin(limit, most) : most;
}

static void add(struct crew *list, int *n, int workers, int threads)
{
	for (int i = 0; i < *n; i++)
		if (list[i].workers == workers && list[i].threads == threads)
			return;
	if (threads > 0 && *n < CREW_MAX)
		list[(*n)++] = (struct crew){.workers = workers, .threads = threads};
}

/* The next power of two below; 0: none. */
static int fewer(int workers)
{
	int n = 1;

	while (2 * n < workers)
		n *= 2;
	return workers > 1 ? n : 0;
}

static int least(int a, int b)
{
	return a < b ? a : b;
}

int crew_candidates(int most_workers, int cores, int whole, int threads, struct crew list[CREW_MAX])
{
	int most = least(most_workers, threads ? cores / threads : cores), n = 0;

	for (int workers = most > 1 ? most : 1; workers; workers = fewer(workers)) {
		add(list, &n, workers, threads ? threads : cores / workers);
		if (!threads)
			add(list, &n, workers, whole / workers);
	}
	return n;
}

static int most_workers(const struct plan *p, const struct work *w)
{
	return (int)fmin(w->n, fmax(1, floor(crew_memory(p, true) / w->memory)));
}

/* Workers that are given share all cores, those that have nothing to do not counted. */
static int threads_of_each(int workers, int n_runs)
{
	int at_work = least(workers, n_runs);

	return at_work > cpu_cores() ? 1 : cpu_cores() / (at_work > 1 ? at_work : 1);
}

double crew_expected(const struct device *d, int threads)
{
	if (!device_is_host(d))
		return device_missing(d) ? NAN : rate_expected(rate_gemm(d));
	return rate_expected(rate_gemm(d)) / cpu_cores() * threads;
}

/* One worker a GPU, unless more are asked for. */
static void choose_gpus(const struct work *w, struct crew *crew, struct str *why)
{
	struct gpu list[GPUS_MAX];
	int n = gpus_list(list), roomy = 0;
	char need[32];

	for (int i = 0; i < n; i++)
		roomy += list[i].free_bytes >= w->memory;
	if (!crew->workers) {
		crew->workers = least(roomy > 1 ? roomy : 1, w->n > 1 ? w->n : 1);
		if (n)
			str_printf(why, "%d of %d GPU%s %s %s free, one worker each", roomy, n,
				n == 1 ? "" : "s", roomy == 1 ? "has" : "have",
				str_bytes(w->memory, need));
	}
	crew->threads = crew->threads ? crew->threads : threads_of_each(crew->workers, w->n);
}

/* --- the choice -------------------------------------------------------------------------------- */

/* Seconds that it takes to measure a crew. */
static double price(const struct plan *p, const struct work *w, const struct crew *c)
{
	double flops = w->micro_tokens * p->costs[w->costliest].flops_per_token;

	return START_S + MICRO_BATCHES * flops / c->flops_per_s;
}

/* Measures in the given order what fits into the budget and drops the others. Gives how many are left. */
static int measure(const struct plan *p, const struct work *w, double budget_s, struct crew *list, int n,
	struct str *why)
{
	const struct sweep_run *run = &p->sweep.runs[w->costliest];
	double begun = clock_s(), per_token = p->costs[w->costliest].flops_per_token;
	int n_left = 0;

	str_printf(why, "workers x threads, measured with %s: ", run->label);
	for (int i = 0; i < n; i++) {
		struct crew c = list[i];
		struct pace pace = {&run->config, p->device->name, w->micro_tokens,
			30 + 10 * price(p, w, &c)};
		double tokens_per_s;
		char rate[32], time[32];
		if (clock_s() - begun + price(p, w, &c) > budget_s)
			continue;
		tokens_per_s = pace_measure(&pace, c.workers, c.threads);
		if (tokens_per_s < 0)
			continue;
		c.flops_per_s = tokens_per_s * per_token / c.workers;
		str_printf(why, "%d x %d %s tokens/s (all runs %s), ", c.workers, c.threads,
			str_count((long long)tokens_per_s, rate),
			str_duration(work_seconds(w, &c), time));
		list[n_left++] = c;
	}
	return n_left;
}

static void say_rule(const struct crew *c, const char *reason, struct str *why)
{
	str_clear(why);
	str_printf(why, "%d worker%s x %d thread%s%s", c->workers, c->workers == 1 ? "" : "s",
		c->threads, c->threads == 1 ? "" : "s", reason);
}

static struct crew quickest(const struct work *w, const struct crew *list, int n)
{
	int best = 0;

	for (int i = 1; i < n; i++)
		if (work_seconds(w, &list[i]) < work_seconds(w, &list[best]))
			best = i;
	return list[best];
}

static struct crew choose(const struct plan *p, const struct work *w, enum crew_by by,
	struct crew *list, int n, struct str *why)
{
	struct crew first = list[0], best;
	double work_s = n > 1 ? work_seconds(w, &first) : 0;
	const char *reason = n == 1 ? ""
		: by == CREW_BY_RULE ? " by rule; --measure measures, as run does"
		: by == CREW_BY_NEED && work_s < SHORT_S ? " by rule: the work is too short to measure"
		: NULL;

	if (!reason) {
		n = measure(p, w, by == CREW_BY_MEASURING ? INFINITY
			: fmin(MEASURE_S, work_s / 10), list, n, why);
		if (n > 1) {
			best = quickest(w, list, n);
			str_printf(why, "chose %d x %d", best.workers, best.threads);
			return best;
		}
		reason = " by rule: measuring takes too long";
	}
	say_rule(&first, reason, why);
	return first;
}

void crew_choose(const struct plan *p, enum crew_by by, struct crew *crew, struct str *why)
{
	struct crew list[CREW_MAX];
	struct work w;
	int cores, whole, n;
	double expected;

	cpu_threads(0);
	cores = cores_free(&whole);
	if (open_work(p, &w) || (crew->workers && device_is_host(p->device))) {
		crew->workers = crew->workers ? crew->workers : 1;
		crew->threads = crew->threads ? crew->threads : threads_of_each(crew->workers, w.n);
	} else if (!device_is_host(p->device)) {
		choose_gpus(&w, crew, why);
	} else {
		n = crew_candidates(most_workers(p, &w), cores > 1 ? cores : 1, whole > 1 ? whole : 1,
			crew->threads, list);
		expected = n > 1 ? crew_expected(p->device, 1) : 0;
		for (int i = 0; i < n; i++)
			list[i].flops_per_s = expected * list[i].threads;
		*crew = choose(p, &w, by, list, n, why);
		if (cores < cpu_cores())
			str_printf(why, "; other sweeps have %d of %d cores", cpu_cores() - cores,
				cpu_cores());
	}
	free(w.flops);
}
