/* moelab status: how far the sweeps are, and what runs now. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cmd/lab.h"
#include "store/run_dir.h"

extern const struct cmd cmd_status;

static void add_columns(struct grid *g)
{
	grid_column(g, "sweep", "sweep", COLUMN_TEXT);
	grid_column(g, "runs", "runs", COLUMN_NUMBER);
	for (int s = 0; s < N_RUN_STATES; s++)
		grid_column(g, run_state_name[s], run_state_name[s], COLUMN_NUMBER);
	grid_column(g, "share", "steps done", COLUMN_NUMBER);
}

static int add_sweep(struct lab *lab, const struct sweep_row *sweep, struct grid *g)
{
	int n, count[N_RUN_STATES] = {0};
	double done = 0, steps = 0;
	struct run_row *runs;

	if (query_runs(&lab->db, sweep->sweep_id, &lab->arena, &runs, &n))
		return -1;
	for (int i = 0; i < n; i++) {
		for (int s = 0; s < N_RUN_STATES; s++)
			count[s] += !strcmp(runs[i].state, run_state_name[s]);
		done += (double)runs[i].step;
		steps += (double)runs[i].steps;
	}
	grid_row(g);
	grid_text(g, "%s", sweep->name);
	grid_number(g, n, "%d", n);
	for (int s = 0; s < N_RUN_STATES; s++)
		grid_number(g, count[s], count[s] ? "%d" : "", count[s]);
	grid_number(
		g, steps > 0 ? done / steps : NAN, steps > 0 ? "%.0f %%" : "", 100 * done / steps);
	return 0;
}

static int add_all(struct lab *lab, struct grid *g)
{
	struct db_statement s;
	int ret = 0;

	db_prepare(&s, &lab->db, "SELECT sweep_id, name FROM sweep ORDER BY name");
	while (!ret && db_step(&s)) {
		struct sweep_row sweep = {.sweep_id = db_int(&s, 0),
			.name = arena_strdup(&lab->arena, db_text(&s, 1))};
		ret = add_sweep(lab, &sweep, g);
	}
	return db_finish(&s) ? -1 : ret;
}

static int add_named(struct lab *lab, const struct arguments *a, struct grid *g)
{
	struct sweep_row sweep;

	for (int i = 0; i < a->n_words; i++)
		if (query_sweep(&lab->db, a->words[i], &lab->arena, &sweep) ||
				add_sweep(lab, &sweep, g))
			return -1;
	return 0;
}

/* One line of each run at work, for people. */
static int print_running(struct lab *lab)
{
	char left[32], rate[32];
	struct db_statement s;

	if (!db_is_written(&lab->db))
		return 0;
	db_prepare(&s, &lab->db, "SELECT label, seed, step, steps, train_loss, loss, tokens_per_s, "
		"seconds FROM runs WHERE state = 'running' GROUP BY run_id ORDER BY run_id");
	while (db_step(&s)) {
		double per_step = db_real(&s, 7) / (double)db_int(&s, 2);
		printf("%s s%lld  %lld/%lld  loss %.4f  val %.4f  %s tok/s  %s left\n",
			db_text(&s, 0), db_int(&s, 1), db_int(&s, 2), db_int(&s, 3), db_real(&s, 4),
			db_real(&s, 5), str_count((long long)db_real(&s, 6), rate),
			str_duration(per_step * (double)(db_int(&s, 3) - db_int(&s, 2)), left));
	}
	return db_finish(&s);
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const struct option_row rows[] = {LAB_FORM(lab), LAB_DB(lab), {0}};
	struct arguments a;
	struct grid g;
	int ret = lab_begin(&lab, &cmd_status, rows, argc, argv, &a);

	if (ret)
		return lab_code(ret);
	grid_init(&g, "status");
	add_columns(&g);
	if (a.n_words ? add_named(&lab, &a, &g) : add_all(&lab, &g)) {
		grid_release(&g);
		ret = EXIT_USAGE;
	} else {
		ret = lab_print(&lab, &g);
	}
	if (!ret && !lab.json && !strcmp(lab.format, "md") && print_running(&lab))
		ret = EXIT_ENVIRONMENT;
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_status = {
	.name = "status",
	.arguments = "[SWEEP...]",
	.help = "how many runs of each sweep are done, and what runs now",
	.run = run,
};
