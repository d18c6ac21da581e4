/* moelab status: how far the sweeps are, and what runs now. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "cmd/status.h"
#include "supervise/display.h"

extern const struct cmd cmd_status;

static int read_sweep(struct lab *lab, const struct sweep_row *sweep, struct sweep_status *status)
{
	double done = 0, steps = 0;
	struct run_row *runs;

	*status = (struct sweep_status){.name = sweep->name};
	if (query_runs(&lab->db, sweep->sweep_id, &lab->arena, &runs, &status->n))
		return -1;
	for (int i = 0; i < status->n; i++) {
		for (int s = 0; s < N_RUN_STATES; s++)
			status->count[s] += !strcmp(runs[i].state, run_state_name[s]);
		done += (double)runs[i].step;
		steps += (double)runs[i].steps;
	}
	status->share = steps > 0 ? done / steps : NAN;
	return 0;
}

static int read_all(struct lab *lab, struct sweep_status *list, int n)
{
	struct db_statement s;
	int ret = 0, i = 0;

	db_prepare(&s, &lab->db, "SELECT sweep_id, name FROM sweep ORDER BY name");
	while (!ret && i < n && db_step(&s)) {
		struct sweep_row sweep = {.sweep_id = db_int(&s, 0),
			.name = arena_strdup(&lab->arena, db_text(&s, 1))};
		ret = read_sweep(lab, &sweep, &list[i++]);
	}
	return db_finish(&s) ? -1 : ret;
}

int status_read(struct lab *lab, const char *const *names, int n_names, struct sweep_status **list,
	int *n)
{
	struct sweep_row sweep;

	*n = n_names ? n_names : (int)db_value(&lab->db, "SELECT count(*) FROM sweep", 0);
	*list = ARENA_ARRAY(&lab->arena, struct sweep_status, *n);
	if (!n_names)
		return read_all(lab, *list, *n);
	for (int i = 0; i < n_names; i++)
		if (query_sweep(&lab->db, names[i], &lab->arena, &sweep) ||
				read_sweep(lab, &sweep, &(*list)[i]))
			return -1;
	return 0;
}

/* Runs that another `run` or `submit` would go on with, or that are at work. */
static int left_of(const struct sweep_status *s)
{
	return s->n - s->count[RUN_DONE] - s->count[RUN_DIVERGED];
}

int status_over(const struct sweep_status *s)
{
	return s->count[RUN_DONE] + s->count[RUN_FAILED] + s->count[RUN_DIVERGED];
}

/* Of a sweep that is over, nothing: Slurm was not asked. */
static void put_tasks(struct grid *g, struct tasks *t, const struct sweep_status *s)
{
	struct task_counts c;

	tasks_count(t, s->name, &c);
	c.known = c.known && c.job && left_of(s);
	grid_number(g, c.job ? (double)c.job : NAN, "%lld", c.job);
	for (int phase = 0; phase <= SLURM_ENDED; phase++)
		grid_number(g, c.known ? c.n[phase] : NAN, "%d", c.n[phase]);
	grid_text(g, "%s", c.known ? c.states : "");
}

static void tasks_columns(struct grid *g)
{
	static const char *const counts[] = {"slurm_job", "tasks_waiting", "tasks_active", "tasks_ended"};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		grid_column(g, counts[i], NULL, COLUMN_NUMBER);
	grid_column(g, "tasks", NULL, COLUMN_TEXT);
}

void status_grid(const struct sweep_status *list, int n, struct tasks *t, struct grid *g)
{
	grid_column(g, "sweep", "sweep", COLUMN_TEXT);
	grid_column(g, "runs", "runs", COLUMN_NUMBER);
	for (int s = 0; s < N_RUN_STATES; s++)
		grid_column(g, run_state_name[s], run_state_name[s], COLUMN_NUMBER);
	grid_column(g, "share", "steps done", COLUMN_NUMBER);
	if (t)
		tasks_columns(g);
	for (int i = 0; i < n; i++) {
		const int *count = list[i].count;
		double share = list[i].share;
		grid_row(g);
		grid_text(g, "%s", list[i].name);
		grid_number(g, list[i].n, "%d", list[i].n);
		for (int s = 0; s < N_RUN_STATES; s++)
			grid_number(g, count[s], count[s] ? "%d" : "", count[s]);
		grid_number(g, share, isnan(share) ? "" : "%.0f %%", 100 * share);
		if (t)
			put_tasks(g, t, &list[i]);
	}
}

/* At work in truth? Its supervisor or task may be gone since the database was written. */
static bool is_running(struct lab *lab, const char *dir)
{
	struct run_status status;

	if (db_is_written(&lab->db))
		return true;
	run_dir_status(dir, &lab->arena, &status);
	return status.state == RUN_RUNNING;
}

int status_running(struct lab *lab, struct str *out)
{
	char line[200];
	struct db_statement s;

	db_prepare(&s, &lab->db, "SELECT label, seed, step, steps, train_loss, loss, tokens_per_s, "
		"seconds, dir FROM runs WHERE state = 'running' GROUP BY run_id ORDER BY run_id");
	while (db_step(&s)) {
		struct display_row row = {.label = db_text(&s, 0), .seed = db_int(&s, 1), .step = db_int(&s, 2),
			.steps = db_int(&s, 3), .loss = db_real(&s, 4), .val_loss = db_real(&s, 5),
			.tokens_per_s = db_real(&s, 6)};
		const char *dir = query_dir(&lab->db, db_text(&s, 8), &lab->arena);
		if (!is_running(lab, dir))
			continue;
		display_line(&row, db_real(&s, 7), line, sizeof line);
		str_printf(out, "%s%s\n", line, tasks_place(dir, &lab->arena));
	}
	return db_finish(&s);
}

/* Slurm is asked of those that are not over and were submitted; ends with tasks_close(). */
static void ask_slurm(struct lab *lab, const struct sweep_status *list, int n, struct tasks *t)
{
	char *root = path_folder(lab->db.path);
	const char **open = ARENA_ARRAY(&lab->arena, const char *, n);
	int n_open = 0;

	for (int i = 0; i < n; i++)
		if (left_of(&list[i]))
			open[n_open++] = list[i].name;
	tasks_open(t, root, NULL);
	if (t->n && n_open)
		tasks_ask(t, open, n_open);
	free(root);
}

void status_tasks(struct lab *lab, const struct sweep_status *list, int n, struct str *out)
{
	struct tasks t;

	ask_slurm(lab, list, n, &t);
	for (int i = 0; i < n; i++)
		tasks_sweep(&t, list[i].name, left_of(&list[i]), out);
	tasks_close(&t);
}

/* For programs, with what Slurm says in columns. */
static int print_values(struct lab *lab, const struct sweep_status *list, int n)
{
	struct tasks t;
	struct grid g;
	int ret;

	ask_slurm(lab, list, n, &t);
	grid_init(&g, "status");
	status_grid(list, n, &t, &g);
	ret = lab_print(lab, &g);
	tasks_close(&t);
	return ret;
}

static int print(struct lab *lab, const struct arguments *a)
{
	struct sweep_status *list;
	struct str running;
	struct grid g;
	int n, ret;

	if (status_read(lab, a->words, a->n_words, &list, &n))
		return EXIT_USAGE;
	if (lab->json || !strcmp(lab->format, "csv") || !strcmp(lab->format, "json"))
		return print_values(lab, list, n);
	grid_init(&g, "status");
	status_grid(list, n, NULL, &g);
	ret = lab_print(lab, &g);
	if (ret || strcmp(lab->format, "md"))
		return ret;
	str_init(&running);
	ret = status_running(lab, &running) ? EXIT_ENVIRONMENT : EXIT_DONE;
	status_tasks(lab, list, n, &running);
	fputs(running.text, stdout);
	str_release(&running);
	return ret;
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const struct option_row rows[] = {LAB_FORM(lab), LAB_DB(lab), {0}};
	struct arguments a;
	int ret = lab_begin(&lab, &cmd_status, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	ret = print(&lab, &a);
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_status = {
	.name = "status",
	.arguments = "[SWEEP...]",
	.help = "how many runs of each sweep are done, and what runs now",
	.run = run,
};
