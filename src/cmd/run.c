/* moelab run SWEEP: does exactly the missing work. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "cmd/options.h"
#include "measure/crew.h"
#include "plan/tune.h"
#include "store/ingest.h"
#include "supervise/supervisor.h"

extern const struct cmd cmd_run, cmd_train;	/* `train` comes here as well, under its own name */

static const double GIB = 1024.0 * 1024.0 * 1024.0;

struct run_options {
	const char *sweep, *device, *root, *db;
	struct texts restricts;
	long jobs, threads, max_failures, retries;
	bool fail_fast, oversubscribe, shared;
};

/* The sweep's own limits, and the memory there is. */
static int check_limits(const struct plan *p, int workers)
{
	const struct sweep_limits *limits = &p->sweep.limits;
	double disk = plan_disk_bytes(p), memory = plan_bytes(p) * workers, most = crew_memory(p, false);
	char need[32], have[32];

	if (memory > most && device_is_host(p->device))
		return error("%d workers need %s of memory, %s may be used: lower -j, or "
			     "train.micro_batch",
			workers, str_bytes(memory, need), str_bytes(most, have));
	if (limits->disk_gib > 0 && disk > limits->disk_gib * GIB)
		return error("%s: the runs need %s of disk, its limit is %s", p->sweep.file,
			str_bytes(disk, need), str_bytes(limits->disk_gib * GIB, have));
	return 0;
}

static int supervise(struct db *db, const struct run_options *o, struct plan *p,
	const struct crew *crew)
{
	const char *const worker_options[] = {"--device", o->device, NULL};
	const struct supervisor s = {
		.root = o->root, .db = db, .sweep = p->sweep.name,
		.workers = crew->workers, .threads = crew->threads,
		.oversubscribe = o->oversubscribe, .fail_fast = o->fail_fast,
		.max_failures = (int)o->max_failures, .retries = (int)o->retries,
		.on_gpus = !device_is_host(p->device), .worker_bytes = plan_bytes(p),
		.limit_s = p->sweep.limits.hours * 3600, .options = worker_options, .arena = &p->arena,
	};

	return supervisor_run(&s, p->jobs, p->sweep.n_runs);
}

static struct crew choose_crew(const struct run_options *o, const struct plan *p)
{
	struct crew crew = {.workers = (int)o->jobs, .threads = (int)o->threads};
	struct str why;

	str_init(&why);
	crew_choose(p, CREW_BY_NEED, &crew, &why);
	if (why.length)
		info("%s: %s", p->sweep.name, why.text);
	str_release(&why);
	return crew;
}

/* What run directories say and the database does not, whoever made them and when. */
static int take_in(struct db *db, const char *root, const char *sweep)
{
	struct ingest_count count = {0};
	int ret = ingest_gaps(db, root, sweep, &count);

	if (count.runs)
		info("%s: %d runs taken into %s from their directories", sweep, count.runs, db->path);
	return ret;
}

/* Of its trials, too, which may be those of another sweep. */
static int take_in_all(struct db *db, const char *root, const struct sweep *sweep)
{
	char *trials = xasprintf("%s.tune", sweep->name);
	int ret = take_in(db, root, sweep->name) || (sweep->tune.key && take_in(db, root, trials)) ? -1 : 0;

	free(trials);
	return ret;
}

/* The database that is gone, made anew from the run directories. */
static int rebuild(struct db *db, const char *root)
{
	struct ingest_count count = {0};
	char *path = xstrdup(db->path);
	int ret;

	db_close(db);
	ret = db_open(db, path, DB_WRITE) || ingest_all(db, root, &count) ? -1 : 0;
	if (ret)
		error("database %s is not whole: `moelab ingest` rebuilds it", path);
	else
		info("%s: rebuilt from the run directories, %d runs", path, count.runs);
	free(path);
	return ret;
}

/* The runs, and a database that is whole in the end. */
static int supervise_with(struct db *db, const struct run_options *o, struct plan *p,
	const struct crew *crew)
{
	int code, ret;

	if (take_in_all(db, o->root, &p->sweep))
		return EXIT_ENVIRONMENT;
	code = supervise(db, o, p, crew);
	if (db_is_gone(db))
		ret = rebuild(db, o->root);
	else
		ret = db->broken ? 0 : take_in_all(db, o->root, &p->sweep);
	return ret && code == EXIT_DONE ? EXIT_ENVIRONMENT : code;
}

static int do_plan(const struct run_options *o, struct plan *p, const struct sweep_options *options)
{
	char *path = o->db ? xstrdup(o->db) : path_join(o->root, "lab.db");
	struct crew crew = choose_crew(o, p);
	struct db db;
	int ret = EXIT_ENVIRONMENT;

	if (check_limits(p, crew.workers)) {
		ret = EXIT_USAGE;
	} else if (o->shared) {
		if (!plan_record(NULL, o->root, p, o->sweep, options))
			ret = supervise(NULL, o, p, &crew);
	} else if (!db_open(&db, path, DB_WRITE)) {
		if (!plan_record(&db, o->root, p, o->sweep, options))
			ret = supervise_with(&db, o, p, &crew);
		db_close(&db);
	}
	free(path);
	return ret;
}

/* Where all runs are over, nobody needs their device. */
static int run_plan(const struct run_options *o, struct plan *p, const struct sweep_options *options)
{
	const char *missing = plan_incomplete(p) ? device_missing(p->device) : NULL;

	if (missing)
		return error("--device %s: %s", p->device->name, missing), EXIT_ENVIRONMENT;
	return do_plan(o, p, options);
}

/* The trials of the sweep's `tune`, until none is left: a best at the edge may bring some more. */
static int run_trials(struct run_options *o, const struct sweep_options *options,
	const struct device *device)
{
	int n_before = 0, ret = EXIT_DONE;

	for (;;) {
		struct plan trials;
		int left, n;
		if (tune_open(&trials, o->sweep, options, device, o->root))
			return EXIT_USAGE;
		left = plan_incomplete(&trials);
		n = trials.sweep.n_runs;
		if (left && n > n_before)
			ret = run_plan(o, &trials, options);
		plan_close(&trials);
		if (!left || (ret != EXIT_DONE && ret != EXIT_RUN_FAILED))
			return left ? ret : EXIT_DONE;
		if (n <= n_before) {
			error("%d trials are not complete, so no values can be chosen", left);
			return EXIT_RUN_FAILED;
		}
		n_before = n;
	}
}

static int open_tuned(struct run_options *o, const struct sweep_options *options,
	const struct device *device, struct plan *plan)
{
	int ret;

	if (plan_open(plan, o->sweep, options, device, o->root))
		return EXIT_USAGE;
	if (plan_check_data(plan)) {
		plan_close(plan);
		return EXIT_USAGE;
	}
	if (!plan->trials_left)
		return EXIT_DONE;
	plan_close(plan);
	ret = run_trials(o, options, device);
	if (ret)
		return ret;
	return plan_open(plan, o->sweep, options, device, o->root) ? EXIT_USAGE : EXIT_DONE;
}

static int run_sweep(struct run_options *o, const struct arguments *a)
{
	struct sweep_options options = {a->overrides, a->n_overrides, o->restricts.items,
		o->restricts.n, NULL};
	const struct device *device = device_find(o->device);
	struct plan plan;
	int ret;

	if (!device)
		return EXIT_USAGE;
	ret = open_tuned(o, &options, device, &plan);
	if (ret)
		return ret;
	ret = run_plan(o, &plan, &options);
	plan_close(&plan);
	return ret;
}

static int run(int argc, char **argv)
{
	struct run_options o = {.device = "cpu", .root = "results", .retries = 1};
	const struct option_row rows[] = {
		{"jobs", 'j', "N", "runs at a time (default: chosen by measuring; on GPUs one each)", .number = &o.jobs},
		{"threads", 'T', "T", "threads of each (default: chosen, or cores / N)",
			.number = &o.threads},
		{"oversubscribe", 0, NULL, "N x T may exceed the cores", .flag = &o.oversubscribe},
		{"restrict", 0, "KEY=VALUE", "only the runs with this value; given again: with all of them",
			.texts = &o.restricts},
		{"fail-fast", 0, NULL, "stop all at the first failure", .flag = &o.fail_fast},
		{"max-failures", 0, "N", "start nothing new after N failures",
			.number = &o.max_failures},
		{"retries", 0, "N", "of a crashed run (default 1)", .number = &o.retries},
		{"device", 0, "NAME", "ref, cpu, cuda_scan, cuda or cuda_f32", .text = &o.device},
		{"results", 0, "DIR", "folder of run directories (default results)",
			.text = &o.root},
		{"db", 0, "FILE", "database (default DIR/lab.db)", .text = &o.db},
		{"shared", 0, NULL, "leave the database alone; `ingest` it later",
			.flag = &o.shared},
		{0},
	};
	struct arguments a;
	const struct cmd *self = strcmp(argv[0], cmd_train.name) ? &cmd_run : &cmd_train;
	int ret = options_parse(self, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words < 1)
		return error("%s takes a sweep or a spec", self->name), EXIT_USAGE;
	if (a.n_words > 1)
		return error("%s takes one sweep or spec; \"%s\" is neither an option nor key=value",
			self->name, a.words[1]), EXIT_USAGE;
	o.sweep = a.words[0];
	return run_sweep(&o, &a);
}

const struct cmd cmd_run = {
	.name = "run",
	.arguments = "SWEEP|SPEC [-j N] [--threads T] [key=value...]",
	.help = "do the missing runs of a sweep; stops and goes on at any time",
	.run = run,
};
