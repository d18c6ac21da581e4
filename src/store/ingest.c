#include "store/ingest.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/path.h"
#include "store/bench.h"
#include "store/catalog.h"
#include "store/mark.h"
#include "store/news.h"

int ingest_records(struct db *db, long long run_id, const char *dir, struct ingest_count *count)
{
	struct intake in = {.db = db, .count = count};
	struct taken t;

	in.failed = taken_get_run(db, run_id, &t) || intake_records(&in, run_id, dir, &t);
	return intake_end(&in);
}

int ingest_run(struct db *db, const char *root, const char *name, struct ingest_count *count)
{
	char *dir = xasprintf("%s/runs/%s", root, name);
	struct intake in = {.db = db, .count = count};
	struct intake_run r = {.run_id = -1, .dir = dir, .root = root, .name = name};

	intake_run(&in, &r);
	free(dir);
	return intake_end(&in);
}

/* --- news ------------------------------------------------------------------------------------- */

static int ingest_sweep(struct db *db, const char *root, const char *path, struct ingest_count *count)
{
	struct taken now;
	bool is_there = taken_of_file(path, &now);
	json_t *sweep = catalog_load(path);
	int ret;

	if (!sweep)
		return 0;
	ret = catalog_add_sweep(db, root, sweep);
	if (!ret && is_there)
		ret = taken_keep_sweep(db, json_string_value(json_object_get(sweep, "name")), &now);
	json_decref(sweep);
	count->sweeps++;
	return ret;
}

/* joins: known runs join the sweeps that their run.json name, too. */
static int take_in(struct db *db, const char *root, bool joins, struct ingest_count *count)
{
	struct intake in = {.db = db, .count = count, .joins = joins};
	struct news news;
	int ret = news_find(&news, db, root);

	for (int i = 0; i < news.n_sweeps && !ret; i++)
		ret = ingest_sweep(db, root, news.sweeps[i], count);
	if (news.n_sweeps && !ret) {	/* runs that were unknown came with them, others left */
		news_release(&news);
		ret = news_find(&news, db, root);
	}
	for (int i = 0; i < news.n_runs && !ret; i++)
		ret = intake_run(&in, &news.runs[i]);
	count->skipped_runs += news.n_others;
	count->second_runs += news.n_second;
	if (news.second)
		snprintf(count->second, sizeof count->second, "%s", news.second);
	news_release(&news);
	return intake_end(&in) || ret ? -1 : 0;
}

int ingest_news(struct db *db, const char *root, struct ingest_count *count)
{
	return take_in(db, root, false, count);
}

int ingest_all(struct db *db, const char *root, struct ingest_count *count)
{
	char *runs = path_join(root, "runs");
	int ret = bench_ingest(db, root, &count->benches, &count->skipped_lines);

	if (!ret && !count->benches && access(runs, R_OK | X_OK))
		ret = error_errno("cannot read run directories in %s", runs);
	free(runs);
	return ret ? -1 : take_in(db, root, true, count);
}

/* --- gaps ------------------------------------------------------------------------------------- */

/* Runs of the sweep whose directories say another state than the database. */
static struct intake_run *other_states(struct db *db, const char *root, const char *sweep,
	struct arena *a, int *n)
{
	struct db_statement s;
	struct run_status status;
	struct intake_run *runs = NULL;
	int size = 0;

	*n = 0;
	db_prepare(&s, db, "SELECT DISTINCT run_id, dir, state FROM run JOIN member USING (run_id) "
		"JOIN sweep USING (sweep_id) WHERE name = :name AND state <> 'done'");
	db_bind_text(&s, ":name", sweep);
	while (db_step(&s)) {
		const char *dir = arena_printf(a, "%s/runs/%s", root, path_name(db_text(&s, 1)));
		run_dir_status(dir, a, &status);
		if (status.state == RUN_QUEUED || status.state == RUN_RUNNING ||
			!strcmp(run_state_name[status.state], db_text(&s, 2)))
			continue;
		GROW(runs, *n + 1, size);
		runs[(*n)++] = (struct intake_run){.run_id = db_int(&s, 0), .dir = dir};
	}
	if (db_finish(&s))
		*n = 0;
	return runs;
}

static bool is_known(struct db *db, const char *root, const char *name, struct arena *a)
{
	struct db_statement s;
	bool known;

	db_prepare(&s, db, "SELECT 1 FROM run WHERE dir = :dir");
	db_bind_text(&s, ":dir", catalog_dir(db, root, name, a));
	known = db_step(&s);
	return db_finish(&s) || known;
}

/* Is this the run directory of a foreign curve of the sweep? */
static bool is_foreign(const char *root, const char *name, const char *sweep, struct arena *a)
{
	const char *dir = arena_printf(a, "%s/runs/%s", root, name);
	struct run_info info;

	return path_exists(arena_printf(a, "%s/run.json", dir)) && !run_info_read(&info, dir, a) && info.sweep &&
		!strcmp(info.sweep, sweep) && info.foreign;
}

static int ingest_foreign(struct db *db, const char *root, const char *sweep,
	struct ingest_count *count)
{
	char *runs = path_join(root, "runs");
	struct arena names = {0};
	int ret = 0;

	for (const char *const *name = path_list(runs, &names); *name && !ret; name++) {
		struct arena a = {0};
		if (**name != '.' && !is_known(db, root, *name, &a) && is_foreign(root, *name, sweep, &a))
			ret = ingest_run(db, root, *name, count);
		arena_release(&a);
	}
	arena_release(&names);
	free(runs);
	return ret;
}

int ingest_gaps(struct db *db, const char *root, const char *sweep, struct ingest_count *count)
{
	struct intake in = {.db = db, .count = count};
	struct arena a = {0};
	int n, ret = 0;
	struct intake_run *runs = other_states(db, root, sweep, &a, &n);

	for (int i = 0; i < n && !ret; i++)
		ret = intake_run(&in, &runs[i]);
	ret |= intake_end(&in);
	free(runs);
	arena_release(&a);
	return ret || mark_take_in_all(db) ? -1 : ingest_foreign(db, root, sweep, count);
}
