#include "store/ingest.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/path.h"
#include "store/bench.h"
#include "store/catalog.h"
#include "store/mark.h"
#include "store/record.h"
#include "store/run_dir.h"

/* Lines of one file, if it is there. A torn line, also in the middle, is counted and skipped. */
static void ingest_lines(struct recorder *recorder, long long run_id, const char *path,
	struct ingest_count *count)
{
	FILE *f = fopen(path, "re");
	struct arena a = {0};
	struct record r;
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	while (f && (n = getline(&line, &size, f)) > 0) {
		if (record_parse(&r, line, (size_t)n, &a)) {
			recorder_add(recorder, run_id, &r);
			count->records++;
		} else if (n > 1) {
			count->skipped_lines++;
		}
		arena_release(&a);
	}
	if (f)
		fclose(f);
	free(line);
}

int ingest_records(struct db *db, long long run_id, const char *dir, struct ingest_count *count)
{
	char *metrics = path_join(dir, "metrics.jsonl"), *attempt = path_join(dir, "attempt.json");
	struct recorder recorder;
	int ret = db_begin(db);

	if (!ret) {
		recorder_open(&recorder, db);
		ingest_lines(&recorder, run_id, metrics, count);
		ingest_lines(&recorder, run_id, attempt, count);	/* if the other was lost */
		ret = recorder_close(&recorder);
		if (ret)
			db_rollback(db);
		else
			ret = db_commit(db);
	}
	free(metrics);
	free(attempt);
	return ret;
}

/* Who it is and what people say of it; join: also the sweep that run.json names. *run_id: the row. */
static int ingest_facts(struct db *db, const char *root, const char *name,
	const struct run_info *info, bool join, long long *run_id)
{
	char *dir = xasprintf("%s/runs/%s", root, name), *yaml = path_join(dir, "config.yaml");
	char *config = path_exists(yaml) ? path_read(yaml, NULL) : NULL;
	int ret = db_begin(db);

	if (!ret) {
		ret = (join && catalog_add_run(db, root, name, info)) ||
			(*run_id = catalog_run_id(db, info->identity)) < 0 ||
			catalog_set_config(db, *run_id, config, info->config) ||
			mark_take_in(db, *run_id, dir) ? -1 : 0;
		if (ret)
			db_rollback(db);
		else
			ret = db_commit(db);
	}
	free(config);
	free(yaml);
	free(dir);
	return ret;
}

/* The state comes last: where it stands, all else does. */
static int take_in(struct db *db, const char *root, const char *name, bool join,
	struct ingest_count *count)
{
	struct arena a = {0};
	const char *dir = arena_printf(&a, "%s/runs/%s", root, name);
	struct run_status status;
	struct run_info info;
	long long run_id;
	int ret = 0;

	if (run_info_read(&info, dir, &a)) {
		count->skipped_runs++;
	} else {
		run_dir_status(dir, &a, &status);
		ret = ingest_facts(db, root, name, &info, join, &run_id) ||
			ingest_records(db, run_id, dir, count) ||
			catalog_set_state(db, run_id, status.state, status.reason) ? -1 : 0;
		count->runs++;
	}
	arena_release(&a);
	return ret;
}

int ingest_run(struct db *db, const char *root, const char *name, struct ingest_count *count)
{
	return take_in(db, root, name, true, count);
}

struct taking {
	struct db *db;
	const char *root;
	struct ingest_count *count;
};

static int ingest_sweep(void *data, const char *path)
{
	struct taking *t = data;
	json_error_t problem;
	json_t *sweep = json_load_file(path, 0, &problem);
	int ret;

	if (!sweep) {
		warning("%s:%d: %s: skipped", path, problem.line, problem.text);
		return 0;
	}
	ret = catalog_add_sweep(t->db, t->root, sweep);
	json_decref(sweep);
	t->count->sweeps++;
	return ret;
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int ingest_all(struct db *db, const char *root, struct ingest_count *count)
{
	struct taking t = {db, root, count};
	char *runs = path_join(root, "runs");
	struct dirent **entries;
	int ret = catalog_each_sweep(root, ingest_sweep, &t) ||
		bench_ingest(db, root, &count->benches, &count->skipped_lines) ? -1 : 0;
	int n = scandir(runs, &entries, visible, alphasort);

	if (n < 0 && !ret && !count->benches)
		ret = error_errno("cannot read run directories in %s", runs);
	for (int i = 0; i < n; i++) {
		if (!ret)
			ret = ingest_run(db, root, entries[i]->d_name, count);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	free(runs);
	return ret;
}

/* --- gaps ------------------------------------------------------------------------------------- */

/* Names of the sweep's directories that say another state than the database. */
static const char **other_states(struct db *db, const char *root, const char *sweep,
	struct arena *a, int *n)
{
	struct db_statement s;
	struct run_status status;
	const char **names = NULL;
	int size = 0;

	*n = 0;
	db_prepare(&s, db, "SELECT DISTINCT dir, state FROM run JOIN member USING (run_id) "
		"JOIN sweep USING (sweep_id) WHERE name = :name AND state <> 'done'");
	db_bind_text(&s, ":name", sweep);
	while (db_step(&s)) {
		const char *name = path_name(db_text(&s, 0));
		run_dir_status(arena_printf(a, "%s/runs/%s", root, name), a, &status);
		if (status.state == RUN_QUEUED || status.state == RUN_RUNNING ||
			!strcmp(run_state_name[status.state], db_text(&s, 1)))
			continue;
		GROW(names, *n + 1, size);
		names[(*n)++] = arena_strdup(a, name);
	}
	if (db_finish(&s))
		*n = 0;
	return names;
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
	json_t *config;
	bool foreign;

	if (!path_exists(arena_printf(a, "%s/run.json", dir)) || run_info_read(&info, dir, a) ||
		!info.sweep || strcmp(info.sweep, sweep) || !info.config)
		return false;
	config = json_loads(info.config, 0, NULL);
	foreign = json_object_get(config, "foreign");
	json_decref(config);
	return foreign;
}

static int ingest_foreign(struct db *db, const char *root, const char *sweep,
	struct ingest_count *count)
{
	char *runs = path_join(root, "runs");
	struct dirent **entries;
	int n = scandir(runs, &entries, visible, alphasort), ret = 0;

	for (int i = 0; i < n; i++) {
		struct arena a = {0};
		const char *name = entries[i]->d_name;
		if (!ret && !is_known(db, root, name, &a) && is_foreign(root, name, sweep, &a))
			ret = take_in(db, root, name, true, count);
		arena_release(&a);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	free(runs);
	return ret;
}

int ingest_gaps(struct db *db, const char *root, const char *sweep, struct ingest_count *count)
{
	struct arena a = {0};
	int n, ret = 0;
	const char **names = other_states(db, root, sweep, &a, &n);

	for (int i = 0; i < n && !ret; i++)
		ret = take_in(db, root, names[i], false, count);
	free(names);
	arena_release(&a);
	return ret || mark_take_in_all(db) ? -1 : ingest_foreign(db, root, sweep, count);
}
