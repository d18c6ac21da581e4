/* moelab plan SWEEP: what `run` would do, why, and what it would cost. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "cmd/commands.h"
#include "cmd/lab.h"
#include "measure/crew.h"
#include "measure/rate.h"
#include "plan/tune.h"
#include "report/table.h"

extern const struct cmd cmd_plan;

struct plan_options {
	struct lab lab;			/* form alone */
	long jobs, threads;
	bool measure, check, commands;
	double runs_per_trial;		/* of a plan's trials, in tokens; 0: none to come */
};

/* Seconds that run i still takes on one worker. */
static double seconds_left(struct plan *p, int i, bool measure, double flops_per_s)
{
	double left = plan_flops_left(p, i), tokens_per_s;
	struct setup setup;

	if (left == 0)
		return 0;
	if (!measure)
		return left / flops_per_s;
	if (setup_open(&setup, &p->sweep.runs[i].config, p->device, 0))
		return NAN;
	if (setup_allocate(&setup)) {
		setup_close(&setup);
		return NAN;
	}
	tokens_per_s = rate_train(&setup, 2);
	setup_close(&setup);
	return left / (tokens_per_s * p->costs[i].flops_per_token);
}

struct totals {
	double seconds, disk, memory;
	int work;
};

static struct totals add_up(struct plan *p, const struct plan_options *o, const struct crew *crew,
	double *seconds)
{
	struct totals t = {.work = plan_work(p), .disk = plan_disk_bytes(p)};
	double rate = crew->flops_per_s;

	if (!rate)
		rate = crew_expected(p->device, crew->threads);
	cpu_threads(crew->threads);
	for (int i = 0; i < p->sweep.n_runs; i++) {
		seconds[i] = seconds_left(p, i, o->measure, rate);
		t.memory = fmax(t.memory, p->costs[i].total_bytes);
	}
	t.seconds = isnan(rate) ? NAN : crew_seconds(seconds, p->sweep.n_runs, crew->workers);
	t.memory *= crew->workers;
	return t;
}

static void columns(struct grid *g)
{
	grid_column(g, "do", "do", COLUMN_TEXT);
	grid_column(g, "label", "run", COLUMN_TEXT);
	grid_column(g, "seed", "seed", COLUMN_NUMBER);
	grid_column(g, "steps", "steps", COLUMN_NUMBER);
	grid_column(g, "tokens", "tokens", COLUMN_NUMBER);
	grid_column(g, "epochs", "epochs", COLUMN_NUMBER);
	grid_column(g, "params", "params", COLUMN_NUMBER);
	grid_column(g, "flops", "FLOPs", COLUMN_NUMBER);
	grid_column(g, "memory_bytes", "memory", COLUMN_NUMBER);
	grid_column(g, "seconds_left", "time", COLUMN_NUMBER);
	grid_column(g, "why", "why", COLUMN_TEXT);
	grid_column(g, "run", NULL, COLUMN_TEXT);
	grid_column(g, "workers", NULL, COLUMN_NUMBER);
	grid_column(g, "threads", NULL, COLUMN_NUMBER);
}

static void row(struct plan *p, int i, double seconds, const struct crew *crew, struct grid *g)
{
	const struct job *j = &p->jobs[i];
	char text[32];

	grid_row(g);
	grid_text(g, "%s", job_action_name[j->action]);
	grid_text(g, "%s", j->label);
	grid_number(g, (double)j->seed, "%ld", j->seed);
	grid_number(g, (double)j->steps, "%ld", j->steps);
	grid_number(g, p->tokens[i], "%s", str_count((long long)p->tokens[i], text));
	grid_number(g, p->epochs[i], isnan(p->epochs[i]) ? "?" : "%.2f", p->epochs[i]);
	put_count(g, p->costs[i].params.total, 0);
	grid_number(g, plan_flops(p, i), "%.2e", plan_flops(p, i));
	grid_number(g, p->costs[i].total_bytes, "%s", str_bytes(p->costs[i].total_bytes, text));
	grid_number(g, seconds, "%s", !job_is_work(j) ? "-" : isnan(seconds) ? "?"
		: str_duration(seconds, text));
	grid_text(g, "%s", j->why);
	grid_text(g, "%s", j->identity);
	grid_number(g, crew->workers, "%d", crew->workers);
	grid_number(g, crew->threads, "%d", crew->threads);
}

/* Curves are seldom read to a hundredth of a run, and a default that suits short runs is dear in long ones. */
static void warn_of_evaluations(const struct plan *p, struct notes *n)
{
	double evals = 0, all = 0;

	for (int i = 0; i < p->sweep.n_runs; i++) {
		evals += plan_evals_left(p, i);
		all += plan_flops_left(p, i);
	}
	if (evals > 0.4 * all)
		notes_add(n, NOTE_WARNING, "evaluations are %.0f %% of the FLOPs: raise eval.every or lower eval.tokens",
			100 * evals / all);
}

/* The best rate falls as runs grow. The bound is that of study_tuned_in_short(), by which tables doubt rates. */
static void warn_of_short_trials(const struct plan *p, const struct plan_options *o, struct notes *n)
{
	if (o->runs_per_trial > 2 && !strcmp(p->sweep.tune.key, "train.lr"))
		notes_add(n, NOTE_WARNING, "runs are %.3g times as long as the trials that choose their rate: these may prefer "
			"one that is too high for the runs, and not of all configurations alike", o->runs_per_trial);
}

static void notes(struct plan *p, const struct plan_options *o, const struct totals *t,
	const struct crew *crew, const char *why, struct notes *n)
{
	char time[32], memory[32], disk[32], free_disk[32];

	for (int i = 0; i < p->n_missing; i++)
		notes_add(n, NOTE_WARNING, "%s: no dataset: `moelab data import TEXT... -o %s` makes one, of a "
			"task `data make`; until then neither epochs, test sets nor what is done already are known",
			p->missing[i], p->missing[i]);
	for (int i = 0; i < p->sweep.n_runs; i++)
		if (p->sweep.runs[i].note && p->sweep.runs[i].seed == p->sweep.runs[0].seed)
			notes_add(n, NOTE_PLAIN, "%s: %s", p->sweep.runs[i].label, p->sweep.runs[i].note);
	notes_add(n, NOTE_PLAIN, "%d of %d runs to do, %d at a time on %d thread%s each: about %s (%s), "
		"memory %s, disk %s (free: %s)", t->work, p->sweep.n_runs, crew->workers, crew->threads,
		crew->threads == 1 ? "" : "s", isnan(t->seconds) ? "?" : str_duration(t->seconds, time),
		isnan(t->seconds) ? "the GPU is not here" : o->measure ? "from two steps of each" :
		"from the rate of matrix products; --measure times two steps of each",
		str_bytes(t->memory, memory), str_bytes(t->disk, disk),
		str_bytes(path_free_bytes("."), free_disk));
	if (*why)
		notes_add(n, NOTE_PLAIN, "%s", why);
	warn_of_evaluations(p, n);
	warn_of_short_trials(p, o, n);
}

static int show(struct plan *p, const struct plan_options *o)
{
	double *seconds = xcalloc((size_t)p->sweep.n_runs, sizeof *seconds);
	struct crew crew = {.workers = (int)o->jobs, .threads = (int)o->threads};
	struct str why, summary;
	struct totals t;
	struct grid g;
	int ret;

	str_init(&why);
	str_init(&summary);
	crew_choose(p, o->measure ? CREW_BY_MEASURING : CREW_BY_RULE, &crew, &why);
	t = add_up(p, o, &crew, seconds);
	sweep_summary(&p->sweep, &summary);
	grid_init(&g, "plan");
	grid_title(&g, "%s: %s", p->sweep.name, summary.text);
	columns(&g);
	for (int i = 0; i < p->sweep.n_runs; i++)
		row(p, i, seconds[i], &crew, &g);
	notes(p, o, &t, &crew, why.text, &g.notes);
	ret = lab_print(&o->lab, &g);
	str_release(&summary);
	str_release(&why);
	free(seconds);
	return ret ? ret : o->check && t.work ? EXIT_PENDING : EXIT_DONE;
}

/* Each with the threads that the plan gives a run. */
static int show_commands(struct plan *p, const struct plan_options *o, struct commands *c)
{
	struct crew crew = {.workers = (int)o->jobs, .threads = (int)o->threads};
	struct str why;

	str_init(&why);
	crew_choose(p, o->measure ? CREW_BY_MEASURING : CREW_BY_RULE, &crew, &why);
	str_release(&why);
	c->threads = crew.threads;
	return commands_print(p, c, o->check);
}

static bool for_people(const struct plan_options *o)
{
	return !o->lab.json && !strcmp(o->lab.format, "md");
}

/* What comes before the sweep's own runs, whose values of the tuned key are not known yet. */
static int show_trials(const char *path, const struct sweep_options *options, const struct plan *whole,
	const char *root, struct plan_options *o)
{
	struct plan trials;
	int ret;

	if (tune_open(&trials, path, options, whole->device, root))
		return EXIT_USAGE;
	ret = show(&trials, o);
	o->runs_per_trial = whole->tokens[0] / trials.tokens[0];
	if (for_people(o))
		printf("\nthen, each with the %s that its trials choose:\n\n", trials.sweep.tune.key);
	plan_close(&trials);
	return ret;
}

static int answer(struct plan *p, const struct sweep_options *options, struct plan_options *o, struct commands *c)
{
	int ret;

	if (o->commands)
		return show_commands(p, o, c);
	if (p->trials_left) {
		ret = show_trials(c->sweep, options, p, c->root, o);
		if (ret || !for_people(o))
			return ret;
	}
	return show(p, o);
}

static int run(int argc, char **argv)
{
	struct plan_options o = {.lab = LAB_NEW};
	const char *device = "cpu", *root = "results";
	struct texts restricts = {0};
	const struct option_row rows[] = {
		{"jobs", 'j', "N", "runs at a time (default: what run would choose)",
			.number = &o.jobs},
		{"threads", 'T', "T", "threads of each (default: chosen, or cores / N)", .number = &o.threads},
		{"measure", 0, NULL, "time two steps of each configuration, and runs side by side",
			.flag = &o.measure},
		{"check", 0, NULL, "exit code 3 if there is work", .flag = &o.check},
		{"commands", 0, NULL, "a shell command for each run to do, a line each, for other launchers",
			.flag = &o.commands},
		LAB_FORM(o.lab),
		{"device", 0, "NAME", "ref, cpu, cuda_scan, cuda or cuda_f32", .text = &device},
		{"results", 0, "DIR", "folder of run directories (default results)", .text = &root},
		{"restrict", 0, "KEY=VALUE", "only the runs with this value; given again: with all of them",
			.texts = &restricts},
		{0},
	};
	struct arguments a;
	struct sweep_options sweep_options;
	struct plan plan;
	const struct device *d;
	int ret = options_parse(&cmd_plan, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1)
		return error("plan takes one sweep or spec"), EXIT_USAGE;
	if (!grid_format_find(o.lab.format))
		return EXIT_USAGE;
	if (o.commands && !for_people(&o))
		return error("--commands prints lines for a shell, no table: leave --format out"), EXIT_USAGE;
	d = device_find(device);
	sweep_options = (struct sweep_options){a.overrides, a.n_overrides, restricts.items,
		restricts.n, NULL};
	if (!d || plan_open(&plan, a.words[0], &sweep_options, d, root))
		return EXIT_USAGE;
	struct commands commands = {.sweep = a.words[0], .device = device, .root = root,
		.overrides = a.overrides, .n_overrides = a.n_overrides};
	ret = answer(&plan, &sweep_options, &o, &commands);
	plan_close(&plan);
	return ret;
}

const struct cmd cmd_plan = {
	.name = "plan",
	.arguments = "SWEEP|SPEC [-j N] [--commands] [key=value...]",
	.help = "what `run` would do and why, with memory, disk and hours; nothing is done",
	.run = run,
};
