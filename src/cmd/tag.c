/* moelab tag RUN NAME...: names by which `ls tag=NAME` and queries find runs. */
#include "base/error.h"
#include "cmd/mark.h"
#include "store/mark.h"

extern const struct cmd cmd_tag;

static int check_names(const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (!mark_is_tag(names[i]))
			return error("\"%s\" is no tag: letters, digits and ._:+- , the first a letter or "
				"digit", names[i]);
	return 0;
}

static int tag(struct lab *lab, const struct selection *selection, const char *const *names, int n,
	bool remove)
{
	struct run_row run;

	if (check_names(names, n) || mark_find(lab, selection, &run))
		return EXIT_USAGE;
	return mark_tags(run.dir, names, n, remove) ? EXIT_ENVIRONMENT : mark_store(lab, &run);
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	bool remove = false;
	const struct option_row rows[] = {
		{"remove", 0, NULL, "take these names away", .flag = &remove},
		LAB_DB(lab), {0},
	};
	struct arguments a;
	int ret = lab_begin(&lab, &cmd_tag, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	struct arguments of_run = a;
	of_run.n_words = a.n_words ? 1 : 0;
	struct selection selection = lab_selection(&lab, &of_run, NULL);
	if (a.n_words < 2) {
		error("tag takes one run (" RUN_WORDS ") and names");
		ret = EXIT_USAGE;
	} else {
		ret = tag(&lab, &selection, a.words + 1, a.n_words - 1, remove);
	}
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_tag = {
	.name = "tag",
	.arguments = "RUN [KEY=VALUE...] NAME... [--remove]",
	.help = "give a run names, or take them away; `ls tag=NAME` finds it",
	.run = run,
};
