/* moelab submit SWEEP: the missing runs, frozen and handed to Slurm. */
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/num.h"
#include "base/path.h"
#include "cluster/script.h"
#include "cluster/slurm.h"
#include "cluster/submission.h"
#include "cmd/options.h"
#include "cmd/site.h"
#include "cmd/task_size.h"
#include "plan/tune.h"

extern const struct cmd cmd_submit;

enum {
	MAX_ARRAY = 1001,	/* Slurm's MaxArraySize where it does not say */
	KEPT_BYTES = 64 << 20,
};

struct submit_options {
	const char *sweep, *device, *root, *site_file;
	struct texts restricts, sbatch;
	const char *time, *partition, *account;
	long tasks, parallel, jobs, threads, gpus;
	bool measure, dry_run;
};

struct submit {
	const struct submit_options *o;
	struct arena arena;
	struct site site;
	struct plan plan;
	struct task_size size;
	struct submission s;
	long array_size;		/* tasks of a job at most */
};

/* --- what is submitted -------------------------------------------------------------------------- */

static void take_number(long *kept, long given)
{
	*kept = given ? given : *kept;
}

/* The command line goes before the site's file. */
static int read_site(struct submit *m)
{
	const struct submit_options *o = m->o;
	struct site *s = &m->site;

	if (site_read(s, o->site_file, &m->arena))
		return -1;
	if (o->time && isnan(slurm_seconds(o->time)))
		return error("--time %s: no time; as sbatch takes it: minutes, hours:minutes:seconds, or days-hours",
			o->time);
	s->time = o->time ? o->time : s->time;
	s->partition = o->partition ? o->partition : s->partition;
	s->account = o->account ? o->account : s->account;
	take_number(&s->tasks, o->tasks);
	take_number(&s->parallel, o->parallel);
	take_number(&s->jobs, o->jobs);
	take_number(&s->threads, o->threads);
	take_number(&s->gpus, o->gpus);
	return 0;
}

/* The runs of a sweep, or the trials of its `tune` while these are not complete. */
static int open_plan(struct submit *m, const struct sweep_options *options)
{
	const struct submit_options *o = m->o;
	const struct device *device = device_find(o->device);

	if (device && !device_is_built(device))
		return error("--device %s: %s", device->name, device_missing(device));
	if (!device || plan_open(&m->plan, o->sweep, options, device, o->root))
		return -1;
	if (plan_check_data(&m->plan)) {
		plan_close(&m->plan);
		return -1;
	}
	if (!m->plan.trials_left)
		return 0;
	plan_close(&m->plan);
	if (tune_open(&m->plan, o->sweep, options, device, o->root))
		return -1;
	info("%s: its trials come first; submit it again when they are over", o->sweep);
	return 0;
}

/* Runs that others are at are in the list, too: should these end, a task goes on. */
static int write_runs(struct submit *m)
{
	const struct plan *p = &m->plan;
	struct submitted_run *runs = ARENA_ARRAY(&m->arena, struct submitted_run, p->sweep.n_runs);
	int n = 0;

	for (int i = 0; i < p->sweep.n_runs; i++)
		if (job_is_work(&p->jobs[i]) || (p->jobs[i].action == JOB_RUNNING && !p->jobs[i].again))
			runs[n++] = (struct submitted_run){p->jobs[i].name, p->jobs[i].identity, p->jobs[i].label,
				p->jobs[i].seed, p->jobs[i].steps};
	m->s.runs = n;
	return submission_write_runs(&m->s, runs, n);
}

/* --- how ---------------------------------------------------------------------------------------- */

/* "0-15%4": of a job of so many tasks, one of `jobs` that share what may run at a time. */
static const char *array_text(struct submit *m, long tasks, long jobs)
{
	long parallel = m->site.parallel ? ceil_div(m->site.parallel, jobs) : 0;

	if (parallel && parallel < tasks)
		return arena_printf(&m->arena, "0-%ld%%%ld", tasks - 1, parallel);
	return arena_printf(&m->arena, "0-%ld", tasks - 1);
}

static void make_script(struct submit *m, struct str *out)
{
	const struct task_size *z = &m->size;
	long tasks = min_long(z->tasks, m->array_size);
	char *here = getcwd(NULL, 0), *program = realpath("/proc/self/exe", NULL);
	int n = m->site.n_sbatch + m->o->sbatch.n;
	const char **options = ARENA_ARRAY(&m->arena, const char *, n);

	for (int i = 0; i < n; i++)
		options[i] = i < m->site.n_sbatch ? m->site.sbatch[i] : m->o->sbatch.items[i - m->site.n_sbatch];
	script_text(&(struct script){.name = m->plan.sweep.name, .folder = m->s.folder,
		.program = program ? program : "moelab", .here = here ? here : ".",
		.array = array_text(m, tasks, ceil_div(z->tasks, tasks)), .time = z->time, .lead_s = z->lead_s,
		.cpus = z->cpus, .gpus = m->site.gpus, .memory_bytes = z->memory_bytes,
		.partition = m->site.partition, .account = m->site.account, .qos = m->site.qos,
		.constraint = m->site.constraint, .gpu_type = m->site.gpu_type, .options = options, .n_options = n,
		.setup = m->site.setup, .n_setup = m->site.n_setup}, out);
	free(program);
	free(here);
}

static int write_script(struct submit *m)
{
	struct str text;
	int ret;

	str_init(&text);
	make_script(m, &text);
	ret = path_write(arena_printf(&m->arena, "%s/task.sh", m->s.folder), text.text, text.length);
	str_release(&text);
	return ret;
}

/* One job, or as many as the tasks need that Slurm takes of one array; those submitted stand in job.json. */
static int hand_over(struct submit *m)
{
	const char *script = arena_printf(&m->arena, "%s/task.sh", m->s.folder);
	long n = ceil_div(m->size.tasks, m->array_size), each = ceil_div(m->size.tasks, n);
	long long *jobs = ARENA_ARRAY(&m->arena, long long, n);

	m->s.jobs = jobs;
	for (long i = 0; i < n; i++) {
		long tasks = min_long(each, m->size.tasks - i * each);
		long long id = slurm_submit(script, array_text(m, tasks, n));
		if (id < 0)
			return -1;
		jobs[m->s.n_jobs++] = id;
		if (submission_write(&m->s))
			return -1;
	}
	return 0;
}

/* --- together ----------------------------------------------------------------------------------- */

static void describe(struct submit *m)
{
	const struct task_size *z = &m->size;
	char wall[32], *root = realpath(m->o->root, NULL);

	m->s.sweep = m->plan.sweep.name;
	m->s.file = m->o->sweep;
	m->s.root = arena_strdup(&m->arena, root ? root : m->o->root);
	m->s.device = m->plan.device->name;
	m->s.workers = z->workers;
	m->s.threads = z->threads;
	m->s.worker_bytes = plan_bytes(&m->plan);
	m->s.tasks = z->tasks;
	m->s.submitted = arena_strdup(&m->arena, clock_iso(clock_wall_s(), wall));
	free(root);
}

static void say(const struct submit *m)
{
	const struct task_size *z = &m->size;
	char need[32], memory[32], limit[32];

	printf("%s: %ld runs in Slurm job", m->s.sweep, m->s.runs);
	for (int i = 0; i < m->s.n_jobs; i++)
		printf(" %lld", m->s.jobs[i]);
	printf(": %ld tasks of %ld CPUs, %s and %s each; all runs need about %s\n", z->tasks, z->cpus,
		str_bytes(z->memory_bytes, memory), slurm_time(z->limit_s, limit),
		isnan(z->work_s) ? "?" : str_duration(z->work_s, need));
	printf("watch:  moelab status %s;  squeue -j %lld;  %s/log\n", m->s.sweep, m->s.jobs[0], m->s.folder);
	printf("stop:   moelab cancel %s\n", m->s.sweep);
}

/* What sbatch writes without quotes or takes for a pattern. */
static int check_folder(const char *folder)
{
	return strpbrk(folder, "%\"\\\n") ? error("%s: a folder whose name has %% or \" or \\ cannot hold what "
		"Slurm writes: choose other --results", folder) : 0;
}

static int submit(struct submit *m, const struct sweep_options *options)
{
	char *root;

	if (path_mkdirs(m->o->root))
		return EXIT_ENVIRONMENT;
	root = realpath(m->o->root, NULL);
	if (check_folder(root ? root : m->o->root) || submission_make(&m->s, root ? root : m->o->root,
			m->plan.sweep.name, &m->arena)) {
		free(root);
		return EXIT_ENVIRONMENT;
	}
	free(root);
	describe(m);
	if (plan_record(NULL, m->o->root, &m->plan, m->o->sweep, options) ||
			jobs_freeze(m->o->root, m->plan.sweep.name, m->plan.jobs, m->plan.sweep.n_runs) ||
			write_runs(m) || write_script(m) || submission_write(&m->s) || hand_over(m)) {
		if (!m->s.n_jobs)
			path_remove_tree(m->s.folder);
		return EXIT_ENVIRONMENT;
	}
	say(m);
	return EXIT_DONE;
}

static int dry_run(struct submit *m)
{
	struct str text;

	m->s.folder = arena_printf(&m->arena, "%s/submit/%s-K", m->o->root, m->plan.sweep.name);
	str_init(&text);
	make_script(m, &text);
	fputs(text.text, stdout);
	str_release(&text);
	return EXIT_DONE;
}

static int check_disk(const struct submit *m)
{
	double need = plan_disk_bytes(&m->plan), have = path_free_bytes(path_exists(m->o->root) ? m->o->root : ".");
	char need_text[32], have_text[32];

	return have < 0 || need <= have ? 0 : error("the disk of %s has %s free, the runs need up to %s", m->o->root,
		str_bytes(have, have_text), str_bytes(need, need_text));
}

static int submit_plan(struct submit *m, const struct sweep_options *options)
{
	int n = plan_work(&m->plan), running = plan_incomplete(&m->plan) - n;

	if (running)
		info("%s: %d runs are at work elsewhere", m->plan.sweep.name, running);
	if (!n) {
		info("%s: nothing to submit, %d runs are over", m->plan.sweep.name, m->plan.sweep.n_runs - running);
		return EXIT_DONE;
	}
	if (check_disk(m))
		return EXIT_ENVIRONMENT;
	task_size_of(&m->plan, &m->site, m->o->measure, &m->size);
	if (isnan(m->size.limit_s))
		return error("how fast runs are on a GPU is not known here: give --time, or time or time_max in the "
			"site's file"), EXIT_USAGE;
	task_size_warn(&m->plan, &m->site, &m->size);
	m->array_size = m->o->dry_run && !slurm_is_here() ? MAX_ARRAY : slurm_config("MaxArraySize", MAX_ARRAY);
	return m->o->dry_run ? dry_run(m) : submit(m, options);
}

static int run_submit(const struct submit_options *o, const struct arguments *a)
{
	const struct sweep_options options = {a->overrides, a->n_overrides, o->restricts.items, o->restricts.n,
		NULL};
	struct submit m = {.o = o};
	int ret = EXIT_USAGE;

	if (!o->dry_run && !slurm_is_here())
		return error("squeue is not in PATH: submit where Slurm's commands are; elsewhere `moelab plan %s "
			"--commands` prints a command a run for other launchers", o->sweep), EXIT_ENVIRONMENT;
	if (!read_site(&m) && !open_plan(&m, &options)) {
		ret = submit_plan(&m, &options);
		plan_close(&m.plan);
	}
	arena_release(&m.arena);
	return ret;
}

static int run(int argc, char **argv)
{
	struct submit_options o = {.device = "cpu", .root = "results"};
	const struct option_row rows[] = {
		{"tasks", 'n', "N", "tasks that draw runs until none is left (default: one a run, 32 at most)",
			.number = &o.tasks},
		{"parallel", 0, "M", "tasks at a time (default: all)", .number = &o.parallel},
		{"time", 't', "T", "limit of a task, as sbatch takes it (default: from the plan)", .text = &o.time},
		{"partition", 'p', "P", "Slurm's partition", .text = &o.partition},
		{"account", 'A', "A", "Slurm's account", .text = &o.account},
		{"gpus", 0, "N", "GPUs of a task", .number = &o.gpus},
		{"jobs", 'j', "N", "runs at a time in a task (default 1, or one a GPU; several share a GPU as "
			"its memory allows)", .number = &o.jobs},
		{"threads", 'T', "T", "threads of each run (default: as many as end it within hours)",
			.number = &o.threads},
		{"sbatch", 0, "OPTIONS", "more options for sbatch, a line; may be given again", .texts = &o.sbatch},
		{"site", 0, "FILE", "defaults of the site (default: MOELAB_SLURM, or slurm.yaml where it is there)",
			.text = &o.site_file},
		{"measure", 0, NULL, "time a moment of training here for the time limit", .flag = &o.measure},
		{"dry-run", 0, NULL, "print the script and write nothing", .flag = &o.dry_run},
		{"restrict", 0, "KEY=VALUE", "only the runs with this value; given again: with all of them",
			.texts = &o.restricts},
		{"device", 0, "NAME", "ref, cpu, cuda_scan, cuda or cuda_f32", .text = &o.device},
		{"results", 0, "DIR", "folder of run directories, seen by all nodes (default results)",
			.text = &o.root},
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd_submit, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1)
		return error("submit takes one sweep or spec"), EXIT_USAGE;
	o.sweep = a.words[0];
	/* Thousands of set-ups are opened and closed: their memory goes back to the system at the end. */
	mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
	return run_submit(&o, &a);
}

const struct cmd cmd_submit = {
	.name = "submit",
	.arguments = "SWEEP|SPEC [--tasks N] [--time T] [key=value...]",
	.help = "hand the missing runs of a sweep to Slurm and end; again for what is left",
	.run = run,
};
