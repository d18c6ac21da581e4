/* moelab ingest: the database from the run directories. */
#include <stdlib.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "cmd/options.h"
#include "store/ingest.h"

extern const struct cmd cmd_ingest;

static void report(struct db *db, const struct ingest_count *c, const char *root, const char *path)
{
	long long apart = db_value(db, "SELECT count(*) FROM place WHERE sweep IS NULL", 0);
	char records[32];

	info("%s: %d sweeps, %d runs, %s records, %ld benches", path, c->sweeps, c->runs,
		str_count(c->records, records), c->benches);
	if (c->skipped_lines)
		info("%ld lines were torn or unknown: skipped", c->skipped_lines);
	if (c->skipped_runs)
		info("%d folders hold no run: skipped", c->skipped_runs);
	if (c->second_runs)
		info("%d runs below %s, such as %s, have other directories, which %s goes on to follow: "
			"`moelab show RUN` names them", c->second_runs, root, path_name(c->second), path);
	if (apart > 0)
		info("%lld runs are in no sweep, as %s/sweeps does not name them: `moelab ls --where 'sweep IS NULL'` "
			"lists them, `moelab run` of a sweep takes in those that its file names", apart, root);
}

static int run(int argc, char **argv)
{
	const char *root = "results", *path = NULL;
	const struct option_row rows[] = {
		{"results", 0, "DIR", "folder with runs/, sweeps/, bench.jsonl (default results)",
			.text = &root},
		{"db", 0, "FILE", "database (default DIR/lab.db)", .text = &path},
		{0},
	};
	struct ingest_count count = {0};
	struct arguments a;
	struct db db;
	int ret = options_parse(&cmd_ingest, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words + a.n_overrides)
		return error("ingest takes no arguments, only options"), EXIT_USAGE;
	char *file = path ? xstrdup(path) : path_join(root, "lab.db");
	ret = EXIT_ENVIRONMENT;
	if (!db_open(&db, file, DB_WRITE)) {
		if (!ingest_all(&db, root, &count))
			ret = EXIT_DONE;
		report(&db, &count, root, file);
		db_close(&db);
	}
	free(file);
	return ret;
}

const struct cmd cmd_ingest = {
	.name = "ingest",
	.arguments = "[--results DIR] [--db FILE]",
	.help = "rebuild the database from the run directories and benches, or fill its gaps",
	.run = run,
};
