#include "store/news.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "store/catalog.h"
#include "store/home.h"
#include "store/query.h"

struct known {
	const char *stored;		/* column run.dir */
	struct intake_run run;
};

struct known_runs {
	struct known *at;		/* by `stored` */
	int n;
};

static int list_known(struct known_runs *list, struct db *db, struct arena *a)
{
	struct db_statement s;
	int size = 0;

	*list = (struct known_runs){0};
	db_prepare(&s, db, "SELECT run_id, dir, state, inode, size, bytes, changed FROM run "
		"LEFT JOIN taken USING (run_id) ORDER BY dir");
	while (db_step(&s)) {
		GROW(list->at, list->n + 1, size);
		list->at[list->n++] = (struct known){
			.stored = arena_strdup(a, db_text(&s, 1)),
			.run = {.run_id = db_int(&s, 0), .dir = query_dir(db, db_text(&s, 1), a),
				.state = arena_strdup(a, db_text(&s, 2)),
				.had = {db_int(&s, 3), db_int(&s, 4), db_int(&s, 5), db_int(&s, 6)}}};
	}
	return db_finish(&s);
}

static bool holds_run(const char *dir, struct arena *a)
{
	return path_exists(arena_printf(a, "%s/run.json", dir));
}

/* A run at work may have ended without a trace in its files. */
static bool is_other_now(const struct intake_run *r)
{
	struct arena a = {0};
	struct run_status status;
	struct taken now;
	bool other = false;

	if (!taken_of_run(r->dir, &now))
		;
	else if (taken_is_old(&r->had, &now)) {
		other = holds_run(r->dir, &a);
	} else if (!strcmp(r->state, run_state_name[RUN_RUNNING])) {
		run_dir_status(r->dir, &a, &status);
		other = status.state != RUN_RUNNING;
	}
	arena_release(&a);
	return other;
}

static void add_run(struct news *news, const struct intake_run *r)
{
	GROW(news->runs, news->n_runs + 1, news->size_runs);
	news->runs[news->n_runs++] = *r;
}

/* --- what the database does not know ---------------------------------------------------------- */

static int by_stored(const void *a, const void *b)
{
	return strcmp(((const struct known *)a)->stored, ((const struct known *)b)->stored);
}

static bool is_over(enum run_state state)
{
	return state == RUN_DONE || state == RUN_DIVERGED;
}

/* Sets what the database knows of the run. Is this its only directory, or the one of two where it is over? */
static bool is_to_follow(struct news *news, struct db *db, struct intake_run *r)
{
	struct run_status status;
	struct db_statement s;
	struct run_info info;
	bool over = false;

	if (run_info_read(&info, r->dir, &news->arena))
		return false;
	if (!home_is_elsewhere(db, r->root, r->name, info.identity))
		return true;
	db_prepare(&s, db, "SELECT run_id, state IN ('done', 'diverged') FROM run WHERE identity = :identity");
	db_bind_text(&s, ":identity", info.identity);
	if (db_step(&s)) {
		r->run_id = db_int(&s, 0);
		over = db_int(&s, 1);
	}
	if (db_finish(&s))
		return false;
	run_dir_status(r->dir, &news->arena, &status);
	r->moves = !over && is_over(status.state);
	if (!r->moves && !news->n_second++)
		news->second = r->dir;
	return r->moves;
}

static void look_at(struct news *news, struct db *db, const char *root, const char *name,
	const char *folder, const struct known_runs *list)
{
	struct arena *a = &news->arena;
	struct known key = {.stored = arena_printf(a, "%s%s", folder, name),
		.run = {.run_id = -1, .dir = arena_printf(a, "%s/runs/%s", root, name),
			.root = root, .name = arena_strdup(a, name)}};

	if (list->n && bsearch(&key, list->at, (size_t)list->n, sizeof *list->at, by_stored))
		return;
	if (!holds_run(key.run.dir, a))
		news->n_others++;
	else if (is_to_follow(news, db, &key.run))
		add_run(news, &key.run);
}

static void find_unknown(struct news *news, struct db *db, const char *root, const struct known_runs *list)
{
	const char *folder = catalog_dir(db, root, "", &news->arena);
	const char *const *name = path_list(arena_printf(&news->arena, "%s/runs", root), &news->arena);

	for (; *name; name++)
		if (**name != '.')
			look_at(news, db, root, *name, folder, list);
}

/* --- sweeps ----------------------------------------------------------------------------------- */

struct sweep_look {
	struct news *news;
	struct db *db;
	size_t skip;		/* bytes of the path before the sweep's name */
};

static int look_at_sweep(void *data, const char *path)
{
	struct sweep_look *look = data;
	struct news *news = look->news;
	size_t n = strlen(path) - look->skip - strlen(".json");
	struct taken had, now;

	if (!taken_of_file(path, &now))
		return 0;
	if (taken_get_sweep(look->db, arena_printf(&news->arena, "%.*s", (int)n, path + look->skip), &had))
		return -1;
	if (taken_is_old(&had, &now)) {
		GROW(news->sweeps, news->n_sweeps + 1, news->size_sweeps);
		news->sweeps[news->n_sweeps++] = arena_strdup(&news->arena, path);
	}
	return 0;
}

int news_find(struct news *news, struct db *db, const char *root)
{
	char *sweeps = path_join(root ? root : "", "sweeps");
	struct sweep_look look = {news, db, strlen(sweeps) + 1};
	struct known_runs list;
	int ret;

	free(sweeps);
	*news = (struct news){0};
	ret = list_known(&list, db, &news->arena);
	for (int i = 0; i < list.n && !ret; i++)
		if (is_other_now(&list.at[i].run))
			add_run(news, &list.at[i].run);
	if (root && !ret)
		find_unknown(news, db, root, &list);
	if (root && !ret)
		ret = catalog_each_sweep(root, look_at_sweep, &look);
	free(list.at);
	return ret;
}

void news_release(struct news *news)
{
	free(news->runs);
	free(news->sweeps);
	arena_release(&news->arena);
	*news = (struct news){0};
}
