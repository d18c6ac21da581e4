/* moelab rm RUN: a run with all that is known of it, away. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"
#include "cmd/lab.h"
#include "store/catalog.h"
#include "store/discard.h"
#include "store/run_dir.h"

extern const struct cmd cmd_rm;

static bool is_running(struct lab *lab, const struct run_row *run)
{
	struct run_status status;

	run_dir_status(run->dir, &lab->arena, &status);
	return status.state == RUN_RUNNING || run_dir_is_claimed(run->dir);
}

/* Those that a process is at stay: an error of whoever names one, told where they were sought. */
static int leave_running(struct lab *lab, struct run_row *runs, int *n, bool sought)
{
	int kept = 0;

	for (int i = 0; i < *n; i++) {
		if (!is_running(lab, &runs[i]))
			runs[kept++] = runs[i];
		else if (!sought)
			return error("%s is running: stop it first, or wait for it", runs[i].dir);
		else
			warning("%s is running: it stays", runs[i].dir);
	}
	*n = kept;
	return 0;
}

static int choose(struct lab *lab, const struct selection *selection, struct run_row **runs, int *n)
{
	*n = 1;
	*runs = ARENA_NEW(&lab->arena, struct run_row);
	if (selection->where ? query_select(&lab->db, selection, &lab->arena, runs, n) :
			query_one(&lab->db, selection, &lab->arena, *runs))
		return -1;
	return leave_running(lab, *runs, n, selection->where);
}

static int print_runs(const struct lab *lab, const struct run_row *runs, int n)
{
	double bytes, sum = 0;
	struct grid g;
	char text[32];

	grid_init(&g, "rm");
	grid_column(&g, "dir", "run", COLUMN_TEXT);
	grid_column(&g, "state", "state", COLUMN_TEXT);
	grid_column(&g, "bytes", "size", COLUMN_NUMBER);
	grid_column(&g, "sweep", "sweep", COLUMN_TEXT);
	for (int i = 0; i < n; i++) {
		bytes = path_tree_bytes(runs[i].dir);
		sum += bytes;
		grid_row(&g);
		grid_text(&g, "%s", runs[i].dir);
		grid_text(&g, "%s", runs[i].state);
		grid_number(&g, bytes, "%s", str_bytes(bytes, text));
		grid_text(&g, "%s", runs[i].sweep ? runs[i].sweep : "");
	}
	notes_add(&g.notes, NOTE_PLAIN, "%d to remove, %s", n, str_bytes(sum, text));
	return lab_print(lab, &g);
}

/* 1: yes, 0: no, -1: there is nobody to ask. */
static int ask(int n)
{
	char answer[16] = "";

	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return error("rm asks before it removes, and this is no terminal: --yes removes");
	fprintf(stderr, "remove %s for good? [y/N] ", n == 1 ? "this run" : "these runs");
	return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

/* The folder of results, in which it is runs/NAME. */
static const char *root_of(struct lab *lab, const struct run_row *run)
{
	char *runs = path_folder(run->dir), *folder = path_folder(runs);
	const char *root = arena_strdup(&lab->arena, folder);

	free(folder);
	free(runs);
	return root;
}

/* Directory first: `run` forgets rows without one, but would take in a directory without rows. */
static int remove_runs(struct lab *lab, const struct run_row *runs, int n)
{
	int ret = EXIT_DONE, done = 0;

	db_close(&lab->db);
	if (db_open(&lab->db, lab->path, DB_WRITE))
		return EXIT_ENVIRONMENT;
	for (int i = 0; i < n; i++) {
		if (run_dir_discard(runs[i].dir) ||
			catalog_forget_run(&lab->db, root_of(lab, &runs[i]), runs[i].identity))
			ret = EXIT_ENVIRONMENT;
		else
			done++;
	}
	info("%d of %d removed", done, n);
	return ret;
}

static int rm(struct lab *lab, const struct selection *selection, bool yes)
{
	struct run_row *runs;
	int n, ret;

	if (choose(lab, selection, &runs, &n))
		return EXIT_USAGE;
	if (!n) {
		info("no run to remove");
		return EXIT_DONE;
	}
	ret = print_runs(lab, runs, n);
	if (ret)
		return ret;
	ret = yes ? 1 : ask(n);
	if (ret < 0)
		return EXIT_USAGE;
	if (ret)
		return remove_runs(lab, runs, n);
	info("nothing is removed");
	return EXIT_DONE;
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const char *where = NULL;
	bool yes = false;
	const struct option_row rows[] = {
		{"where", 0, "SQL", "all runs of this condition on columns of the view `runs`",
			.text = &where},
		{"yes", 'y', NULL, "do not ask", .flag = &yes},
		LAB_FORM(lab), LAB_DB(lab), {0},
	};
	struct arguments a;
	int ret = lab_begin(&lab, &cmd_rm, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	struct selection selection = lab_selection(&lab, &a, where);
	if (!selection.n && !where) {
		error("rm takes one run (" RUN_WORDS "), or --where SQL");
		ret = EXIT_USAGE;
	} else {
		ret = rm(&lab, &selection, yes);
	}
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_rm = {
	.name = "rm",
	.arguments = "RUN [KEY=VALUE...] | --where SQL [--yes]",
	.help = "remove a run: its directory and all rows; a sweep that names it may run it again",
	.run = run,
};
