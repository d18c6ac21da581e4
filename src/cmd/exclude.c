/*
 * moelab exclude RUN: a run that tables and plots leave out and name in their notes. `run` and the
 * choice of `tune` count it as before: nothing is trained anew for it.
 */
#include "base/error.h"
#include "cmd/mark.h"
#include "store/mark.h"

extern const struct cmd cmd_exclude;

static int exclude(struct lab *lab, const struct selection *selection, const char *reason)
{
	struct run_row run;

	if (mark_find(lab, selection, &run))
		return EXIT_USAGE;
	if (!reason && !run.excluded)
		info("%s is not excluded", run.dir);
	return mark_excluded(run.dir, reason) ? EXIT_ENVIRONMENT : mark_store(lab, &run);
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const char *reason = NULL;
	bool undo = false;
	const struct option_row rows[] = {
		{"reason", 0, "TEXT", "why; stands in the notes of tables and plots", .text = &reason},
		{"undo", 0, NULL, "the run counts again", .flag = &undo},
		LAB_DB(lab), {0},
	};
	struct arguments a;
	int ret = lab_begin(&lab, &cmd_exclude, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	struct selection selection = lab_selection(&lab, &a, NULL);
	if (!selection.n || undo == (reason != NULL) || (reason && !*reason)) {
		error("exclude takes one run (" RUN_WORDS ") and either --reason TEXT or --undo");
		ret = EXIT_USAGE;
	} else {
		ret = exclude(&lab, &selection, reason);
	}
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_exclude = {
	.name = "exclude",
	.arguments = "RUN [KEY=VALUE...] --reason TEXT | --undo",
	.help = "leave a run out of tables and plots, whose notes name it with the reason",
	.run = run,
};
