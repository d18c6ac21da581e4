/* moelab data make TASK DIR [key=value...] */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "cmd/data.h"
#include "cmd/options.h"
#include "data/dataset.h"
#include "data/task.h"

static void print_task(const struct task *t)
{
	char *settings = task_settings_help(t);

	printf("%s: %s\n%s", t->name, t->help, settings);
	free(settings);
}

int data_make_run(const struct cmd *cmd, int argc, char **argv)
{
	bool force = false;
	const struct option_row rows[] = {
		{"force", 0, NULL, "replace an existing dataset", .flag = &force},
		{0},
	};
	struct arguments a;
	const struct task *t;
	int ret = options_parse(cmd, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	for (int i = 0; tasks[i] && !a.n_words; i++)
		print_task(tasks[i]);
	if (!a.n_words)
		return EXIT_DONE;
	t = task_find(a.words[0]);
	if (!t)
		return EXIT_USAGE;
	if (a.n_words == 1) {
		print_task(t);
		return EXIT_DONE;
	}
	if (a.n_words > 2)
		return error("data make: needs a task and one folder, not also %s", a.words[2]), EXIT_USAGE;
	ret = data_make(t, &(struct make_options){.folder = a.words[1], .settings = a.overrides,
		.n_settings = a.n_overrides, .force = force});
	return data_exit(ret);
}
