/* moelab why RUN: why it is in its state, and what the next `run` would do about it. */
#include <stdio.h>
#include <stdlib.h>

#include "base/path.h"
#include "cmd/lab.h"
#include "cmd/tasks.h"
#include "plan/job.h"

extern const struct cmd cmd_why;

/* What is known of the run in Slurm: of the task that has claimed it, and of those that may draw it. */
static void print_tasks(const char *root, const struct run_row *run, const struct job *job)
{
	struct str text;
	struct tasks t;

	str_init(&text);
	tasks_open(&t, root, run->sweep);
	if (t.n)
		tasks_ask(&t, &run->sweep, 1);
	tasks_run(&t, run->dir, &text);
	if (run->sweep && (job_is_work(job) || job->action == JOB_RUNNING))
		tasks_sweep(&t, run->sweep, 1, &text);
	fputs(text.text, stdout);
	tasks_close(&t);
	str_release(&text);
}

/* From the run directory, as `run` decides; the database may be behind. */
static int print_decision(struct lab *lab, const struct run_row *run)
{
	struct job job = {.label = run->label, .seed = run->seed, .identity = run->identity};
	char *runs = path_folder(run->dir), *root = path_folder(runs);
	int ret = jobs_decide(root, &job, 1, &lab->arena);

	if (!ret) {
		printf("%s s%ld: %s%s%s\n", run->label, run->seed, run->state,
			run->reason && *run->reason ? ": " : "", run->reason ? run->reason : "");
		printf("directory: %s\n", run->dir);
		printf("the next `moelab run` would %s: %s\n", job_is_work(&job) ? "run it" :
			job.action == JOB_RUNNING ? "wait for it" : "leave it as it is", job.why);
	}
	if (!ret)
		print_tasks(root, run, &job);
	free(root);
	free(runs);
	return ret;
}

static int print_events(struct lab *lab, const struct run_row *run)
{
	struct db_statement s;

	db_prepare(&s, &lab->db, "SELECT wall, kind, step, text FROM (SELECT * FROM event "
		"WHERE run_id = :run ORDER BY event_id DESC LIMIT 10) ORDER BY event_id");
	db_bind_int(&s, ":run", run->run_id);
	for (int i = 0; db_step(&s); i++)
		printf("%s%s  step %-8lld %-10s %s\n", i ? "" : "\nevents:\n", db_text(&s, 0),
			db_int(&s, 2), db_text(&s, 1), db_text(&s, 3));
	return db_finish(&s);
}

static void print_last_words(const struct run_row *run)
{
	enum { LINES = 10 };
	char *path = path_join(run->dir, "log.txt"), *line = NULL, *last[LINES] = {0};
	FILE *f = fopen(path, "re");
	size_t size = 0;
	int n = 0;

	while (f && getline(&line, &size, f) > 0) {
		free(last[n % LINES]);
		last[n++ % LINES] = xstrdup(line);
	}
	if (n)
		printf("\nlast lines of log.txt:\n");
	for (int i = n > LINES ? n - LINES : 0; i < n; i++)
		printf("%s", last[i % LINES]);
	for (int i = 0; i < LINES; i++)
		free(last[i]);
	if (f)
		fclose(f);
	free(line);
	free(path);
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const struct option_row rows[] = {LAB_DB(lab), {0}};
	struct run_row run_row;
	struct arguments a;
	int ret = lab_begin(&lab, &cmd_why, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	struct selection selection = lab_selection(&lab, &a, NULL);
	ret = EXIT_USAGE;
	if (!selection.n) {
		error("why takes one run: " RUN_WORDS);
	} else if (!query_one(&lab.db, &selection, &lab.arena, &run_row)) {
		ret = print_decision(&lab, &run_row) || print_events(&lab, &run_row) ?
			EXIT_ENVIRONMENT : EXIT_DONE;
		print_last_words(&run_row);
	}
	lab_end(&lab);
	return ret ? ret : lab_flush();
}

const struct cmd cmd_why = {
	.name = "why",
	.arguments = "RUN [KEY=VALUE...]",
	.help = "why a run is in its state, and what the next `run` would do",
	.run = run,
};
