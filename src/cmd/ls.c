/* moelab ls: the runs in the database. */
#include <math.h>

#include "cmd/lab.h"

extern const struct cmd cmd_ls;

static void fill(struct grid *g, const struct run_row *runs, int n)
{
	bool tags = false, excluded = false;	/* shown to people where there are any */

	for (int i = 0; i < n; i++) {
		tags |= runs[i].tags != NULL;
		excluded |= runs[i].excluded != NULL;
	}
	grid_column(g, "run", "run", COLUMN_TEXT);
	grid_column(g, "label", "label", COLUMN_TEXT);
	grid_column(g, "seed", "seed", COLUMN_NUMBER);
	grid_column(g, "state", "state", COLUMN_TEXT);
	grid_column(g, "step", "step", COLUMN_NUMBER);
	grid_column(g, "steps", "of", COLUMN_NUMBER);
	grid_column(g, "train_loss", "train loss", COLUMN_NUMBER);
	grid_column(g, "loss", "loss", COLUMN_NUMBER);
	grid_column(g, "sweep", "sweep", COLUMN_TEXT);
	grid_column(g, "tags", tags ? "tags" : NULL, COLUMN_TEXT);
	grid_column(g, "excluded", excluded ? "excluded" : NULL, COLUMN_TEXT);
	grid_column(g, "dir", NULL, COLUMN_TEXT);
	for (int i = 0; i < n; i++) {
		const struct run_row *r = &runs[i];
		grid_row(g);
		grid_text(g, "%.8s", r->identity);
		grid_text(g, "%s", r->label);
		grid_number(g, (double)r->seed, "%ld", r->seed);
		grid_text(g, "%s", r->state);
		grid_number(g, (double)r->step, "%lld", r->step);
		grid_number(g, (double)r->steps, "%lld", r->steps);
		grid_number(g, r->train_loss, isnan(r->train_loss) ? "" : "%.4f", r->train_loss);
		grid_number(g, r->loss, isnan(r->loss) ? "" : "%.4f", r->loss);
		grid_text(g, "%s", r->sweep ? r->sweep : "");
		grid_text(g, "%s", r->tags ? r->tags : "");
		grid_text(g, "%s", r->excluded ? r->excluded : "");
		grid_text(g, "%s", r->dir);
	}
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const char *where = NULL;
	const struct option_row rows[] = {
		{"where", 0, "SQL", "condition on columns of the view `runs`: \"loss < 2\"",
			.text = &where},
		LAB_FORM(lab), LAB_DB(lab), {0},
	};
	struct arguments a;
	struct run_row *runs;
	struct grid g;
	int n, ret = lab_begin(&lab, &cmd_ls, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	struct selection selection = lab_selection(&lab, &a, where);
	ret = query_select(&lab.db, &selection, &lab.arena, &runs, &n) ? EXIT_USAGE : EXIT_DONE;
	if (!ret && !n && (selection.n || where))
		info("no run of %s is like this: what is given must hold all at once", lab.db.path);
	if (!ret) {
		grid_init(&g, "runs");
		fill(&g, runs, n);
		ret = lab_print(&lab, &g);
	}
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_ls = {
	.name = "ls",
	.arguments = "[LABEL|HASH|DIR|KEY=VALUE...] [--where SQL]",
	.help = "list runs; KEY: state, sweep, label, variant, arch, seed, tag or a config key; globs",
	.run = run,
};
