/* moelab gc: files that nothing needs any more, with their sizes; removed with --yes. */
#include <stdlib.h>

#include "base/error.h"
#include "base/path.h"
#include "cmd/lab.h"
#include "store/discard.h"

extern const struct cmd cmd_gc;

static void fill(struct grid *g, const struct leftovers *list, bool removes)
{
	double bytes = 0;
	char text[32];

	grid_column(g, "kind", "kind", COLUMN_TEXT);
	grid_column(g, "path", "path", COLUMN_TEXT);
	grid_column(g, "bytes", "size", COLUMN_NUMBER);
	grid_column(g, "why", "why", COLUMN_TEXT);
	for (int i = 0; i < list->n; i++) {
		const struct leftover *l = &list->at[i];
		grid_row(g);
		grid_text(g, "%s", leftover_kind_name[l->kind]);
		grid_text(g, "%s", l->path);
		grid_number(g, l->bytes, "%s", str_bytes(l->bytes, text));
		grid_text(g, "%s", l->why);
		bytes += l->bytes;
	}
	notes_add(&g->notes, NOTE_PLAIN, !list->n ? "nothing is left over" : removes ?
		"%d to remove, %s" : "%d left over, %s; --yes removes them", list->n,
		str_bytes(bytes, text));
}

static int remove_all(const struct leftovers *list)
{
	double bytes = 0;
	int n = 0;
	char text[32];

	for (int i = 0; i < list->n; i++)
		if (!leftover_remove(&list->at[i])) {
			bytes += list->at[i].bytes;
			n++;
		}
	info("%d of %d removed, %s", n, list->n, str_bytes(bytes, text));
	return n == list->n ? EXIT_DONE : EXIT_ENVIRONMENT;
}

static int collect(struct lab *lab, const char *root, bool all_checkpoints, bool yes)
{
	struct leftovers list = {.arena = &lab->arena};
	struct grid g;
	int ret = EXIT_ENVIRONMENT;

	if (!leftovers_find(&lab->db, root, all_checkpoints, &list)) {
		grid_init(&g, "gc");
		fill(&g, &list, yes);
		ret = lab_print(lab, &g);
		if (!ret && yes)
			ret = remove_all(&list);
	}
	free(list.at);
	return ret;
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const char *root = "results", *path = NULL;
	bool all_checkpoints = false, yes = false;
	const struct option_row rows[] = {
		{"all-checkpoints", 0, NULL, "of finished runs also those that checkpoint.keep keeps",
			.flag = &all_checkpoints},
		{"yes", 'y', NULL, "remove what is listed", .flag = &yes},
		LAB_FORM(lab),
		{"results", 0, "DIR", "folder of run directories (default results)", .text = &root},
		{"db", 0, "FILE", "database (default DIR/lab.db)", .text = &path},
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd_gc, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words + a.n_overrides)
		return error("gc takes no arguments, only options"), EXIT_USAGE;
	if (!grid_format_find(lab.format))
		return EXIT_USAGE;
	char *file = path ? xstrdup(path) : path_join(root, "lab.db");
	ret = db_open(&lab.db, file, DB_READ) ? EXIT_ENVIRONMENT :
		collect(&lab, root, all_checkpoints, yes);
	free(file);
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_gc = {
	.name = "gc",
	.arguments = "[--all-checkpoints] [--yes]",
	.help = "list what finished runs no longer need, temporary files and orphans; --yes removes them",
	.run = run,
};
