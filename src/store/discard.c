#include "store/discard.h"

#include <ctype.h>
#include <fts.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "store/catalog.h"
#include "store/run_dir.h"

enum { WRITING_S = 600 };	/* a temporary file that is silent so long is nobody's, on any host */

static const char removed[] = ".removed-";	/* before the name of a directory that is on its way out */

const char *const leftover_kind_name[N_LEFTOVER_KINDS] = {"checkpoint", "temporary", "run"};

/* --- removing --------------------------------------------------------------------------------- */

static int discard_claimed(const char *dir)
{
	char *folder = path_folder(dir);
	char *away = xasprintf("%s/%s%s", folder, removed, path_name(dir));
	int ret = path_remove_tree(away);

	if (!ret && rename(dir, away))
		ret = error_errno("cannot rename %s to %s", dir, away);
	if (!ret)
		ret = path_remove_tree(away);
	free(away);
	free(folder);
	return ret;
}

int run_dir_discard(const char *dir)
{
	struct arena a = {0};
	struct run_status status;
	int lock, ret;

	if (!path_exists(dir))
		return 0;
	if (run_dir_is_claimed(dir))
		return error("%s: a process is at this run: it stays", dir);
	lock = run_dir_lock(dir);
	if (lock == CLAIM_FAILED)
		return -1;
	run_dir_status(dir, &a, &status);
	if (lock == CLAIM_TAKEN || status.state == RUN_RUNNING)
		ret = error("%s: a process is at this run: it stays", dir);
	else
		ret = discard_claimed(dir);
	if (lock >= 0)
		close(lock);
	arena_release(&a);
	return ret;
}

int leftover_remove(const struct leftover *l)
{
	return l->kind == LEFTOVER_RUN ? run_dir_discard(l->path) : path_remove_tree(l->path);
}

/* --- finding ---------------------------------------------------------------------------------- */

static void add(struct leftovers *list, enum leftover_kind kind, const char *path, const char *why)
{
	GROW(list->at, list->n + 1, list->size);
	list->at[list->n++] = (struct leftover){.kind = kind, .path = arena_strdup(list->arena, path),
		.why = arena_strdup(list->arena, why), .bytes = path_tree_bytes(path)};
}

/* As path_write() calls them: NAME.tmpPID. */
static bool is_temporary(const char *name)
{
	const char *end = strstr(name, ".tmp");

	for (const char *next; end && (next = strstr(end + 1, ".tmp"));)
		end = next;
	return end && strspn(end + 4, "0123456789") == strlen(end + 4);
}

static bool is_silent(const struct stat *st)
{
	return time(NULL) - st->st_mtime >= WRITING_S;
}

/* In the folder and, if deep, all below it. */
static void find_temporaries(struct leftovers *list, const char *folder, bool deep)
{
	char *const roots[] = {(char *)folder, NULL};
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);

	for (FTSENT *entry; tree && (entry = fts_read(tree));) {
		if (entry->fts_info == FTS_D && entry->fts_level > 0 && !deep)
			fts_set(tree, entry, FTS_SKIP);
		if (entry->fts_info == FTS_F && is_temporary(entry->fts_name) &&
			is_silent(entry->fts_statp))
			add(list, LEFTOVER_TEMPORARY, entry->fts_path, "of a write that did not end");
	}
	if (tree)
		fts_close(tree);
}

/* over: the run has ended for good. */
static void find_claims(struct leftovers *list, const char *dir, bool over)
{
	struct arena a = {0};
	struct stat st;

	for (const char *const *name = path_list(dir, &a); *name; name++) {
		const char *path = arena_printf(&a, "%s/%s", dir, *name);
		if (claim_is_left(path, over) && !stat(path, &st) && is_silent(&st))
			add(list, LEFTOVER_TEMPORARY, path, "of a process that died over a claim");
	}
	arena_release(&a);
}

/* What checkpoint.keep of its config says; -1: it says nothing, so nothing is known to be too much. */
static long kept(const struct run_info *info)
{
	json_t *config = info->config ? json_loads(info->config, 0, NULL) : NULL;
	const json_t *keep = json_object_get(config, "checkpoint.keep");
	long n = json_is_integer(keep) ? (long)json_integer_value(keep) : -1;

	json_decref(config);
	return n;
}

/* Of a run that has ended for good: all but the newest `keep`. */
static void find_checkpoints(struct leftovers *list, const char *dir, const char *state, long keep)
{
	char *folder = path_join(dir, "ckpt"), why[96];
	int n;
	long *steps = run_dir_checkpoints(folder, &n);

	snprintf(why, sizeof why, keep ? "the run is %s and keeps %ld" : "the run is %s", state, keep);
	for (long i = keep; i < n; i++)
		add(list, LEFTOVER_CHECKPOINT,
			arena_printf(list->arena, "%s/step_%ld.safetensors", folder, steps[i]), why);
	free(steps);
	free(folder);
}

/* Also one that was left before its run.json was written. */
static bool is_run_dir(const char *dir)
{
	const char *name = path_name(dir), *end = strrchr(name, '-'), *seed = end;

	if (end && strlen(end) == 9 && strspn(end + 1, "0123456789abcdef") == 8) {
		while (seed > name && isdigit((unsigned char)seed[-1]))
			seed--;
		return seed < end && seed > name + 1 && seed[-1] == 's' && seed[-2] == '-';
	}
	return false;
}

static bool is_foreign(const struct run_info *info)
{
	json_t *config = info->config ? json_loads(info->config, 0, NULL) : NULL;
	bool foreign = json_object_get(config, "foreign");

	json_decref(config);
	return foreign;
}

static void find_in_run(struct leftovers *list, const char *dir, bool named, bool all_checkpoints)
{
	bool known = path_exists(arena_printf(list->arena, "%s/run.json", dir)), over;
	struct run_info info = {0};
	struct run_status status;
	long keep;

	run_dir_status(dir, list->arena, &status);
	if (status.state == RUN_RUNNING || run_dir_is_claimed(dir) ||
		(known ? run_info_read(&info, dir, list->arena) : !is_run_dir(dir)))
		return;
	if (!named && !is_foreign(&info)) {
		add(list, LEFTOVER_RUN, dir, "neither a sweep nor the database names it");
		return;
	}
	keep = all_checkpoints ? 0 : kept(&info);
	over = status.state == RUN_DONE || status.state == RUN_DIVERGED;
	if (keep >= 0 && over)
		find_checkpoints(list, dir, run_state_name[status.state], keep);
	find_temporaries(list, dir, true);
	find_claims(list, dir, over);
}

/* --- names that are in use: a set, an object whose keys they are ------------------------------ */

static int add_names_of_sweep(void *data, const char *path)
{
	json_error_t problem;
	json_t *names = data, *sweep = json_load_file(path, 0, &problem), *run;
	size_t i;

	if (!json_is_array(json_object_get(sweep, "runs"))) {
		error("%s:%d: %s: mend or remove it, for it may name any run", path, sweep ? 1 : problem.line,
			sweep ? "no record of a sweep" : problem.text);
		json_decref(sweep);
		return -1;
	}
	json_array_foreach(json_object_get(sweep, "runs"), i, run) {
		const char *name = json_string_value(json_object_get(run, "dir"));
		if (name)
			json_object_set_new(names, name, json_true());
	}
	json_decref(sweep);
	return 0;
}

static int add_names_of_rows(struct db *db, json_t *names)
{
	struct db_statement s;

	db_prepare(&s, db, "SELECT dir FROM run");
	while (db_step(&s))
		json_object_set_new(names, path_name(db_text(&s, 0)), json_true());
	return db_finish(&s);
}

static bool is_folder(const char *path)
{
	struct stat st;

	return !lstat(path, &st) && S_ISDIR(st.st_mode);
}

static void find_in_runs(struct leftovers *list, const char *root, const json_t *names,
	bool all_checkpoints)
{
	char *runs = path_join(root, "runs");
	struct arena a = {0};

	for (const char *const *name = path_list(runs, &a); *name; name++) {
		const char *dir = arena_printf(&a, "%s/%s", runs, *name);
		if (str_starts(*name, removed))
			add(list, LEFTOVER_TEMPORARY, dir, "of a removal that did not end");
		else if (**name != '.' && is_folder(dir))
			find_in_run(list, dir, json_object_get(names, *name), all_checkpoints);
	}
	arena_release(&a);
	free(runs);
}

int leftovers_find(struct db *db, const char *root, bool all_checkpoints, struct leftovers *list)
{
	json_t *names = json_object();
	char *sweeps = path_join(root, "sweeps");
	int ret = catalog_each_sweep(root, add_names_of_sweep, names) || add_names_of_rows(db, names) ?
		-1 : 0;

	if (!ret) {
		find_in_runs(list, root, names, all_checkpoints);
		find_temporaries(list, sweeps, true);
		find_temporaries(list, root, false);
	}
	free(sweeps);
	json_decref(names);
	return ret;
}
