/* moelab import-curve FILE: what another program measured, as a run of a sweep. */
#include <stdlib.h>

#include "base/error.h"
#include "base/path.h"
#include "cmd/options.h"
#include "store/foreign.h"
#include "store/ingest.h"

extern const struct cmd cmd_import_curve;

/* Into the database, too; if somebody else writes it, `ingest` does that later. */
static int take_in(const char *root, const char *path, const char *name)
{
	char *file = path ? xstrdup(path) : path_join(root, "lab.db");
	struct ingest_count count = {0};
	struct db db;
	int ret = db_open(&db, file, DB_WRITE);

	if (!ret) {
		ret = ingest_run(&db, root, name, &count);
		db_close(&db);
	}
	if (ret)
		info("%s/runs/%s is complete; `moelab ingest` takes it into the database", root,
			name);
	else
		info("%s/runs/%s: %ld records", root, name, count.records);
	free(file);
	return ret ? EXIT_ENVIRONMENT : EXIT_DONE;
}

static int import(struct foreign *f, const char *root, const char *path)
{
	struct arena a = {0};
	const char *name;
	int code = foreign_import(f, root, &a, &name) ? EXIT_USAGE : take_in(root, path, name);

	arena_release(&a);
	return code;
}

static int run(int argc, char **argv)
{
	struct foreign f = {.seed = 1};
	const char *root = "results", *path = NULL;
	bool csv = false, jsonl = false;
	const struct option_row rows[] = {
		{"label", 0, "L", "its name in tables and legends", .text = &f.label},
		{"sweep", 0, "S", "the sweep it joins", .text = &f.sweep},
		{"variant", 0, "V", "default: the label", .text = &f.variant},
		{"seed", 0, "N", "of the pairs it belongs to (default 1)", .number = &f.seed},
		{"csv", 0, NULL, "commas, a line of names (default by what is in it)",
			.flag = &csv},
		{"jsonl", 0, NULL, "one JSON object a line", .flag = &jsonl},
		{"column", 0, "LIST", "step=NAME,loss=\"NAME, WITH COMMA\",...: what step, tokens, seconds, "
			"flops, loss, train_loss are called in the file", .text = &f.columns},
		{"tokens-per-step", 0, "N", "if the file has no tokens",
			.real = &f.tokens_per_step},
		{"results", 0, "DIR", "folder of run directories (default results)", .text = &root},
		{"db", 0, "FILE", "database (default DIR/lab.db)", .text = &path},
		{0},
	};
	struct arguments a;
	int ret = options_parse(&cmd_import_curve, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1 || a.n_overrides || !f.label || !f.sweep || (csv && jsonl))
		return error("import-curve takes one file, --label and --sweep"), EXIT_USAGE;
	if (f.tokens_per_step < 0)
		return error("--tokens-per-step %g: below 0", f.tokens_per_step), EXIT_USAGE;
	f.path = a.words[0];
	f.form = csv ? FOREIGN_CSV : jsonl ? FOREIGN_JSONL : FOREIGN_BY_CONTENT;
	return import(&f, root, path);
}

const struct cmd cmd_import_curve = {
	.name = "import-curve",
	.arguments = "FILE --label L --sweep S [--column LIST]",
	.help = "take the curve of another program into tables and figures",
	.run = run,
};
