#include "store/catalog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "store/home.h"

int catalog_write(const char *root, const json_t *sweep)
{
	const char *name = json_string_value(json_object_get(sweep, "name"));
	char *path = xasprintf("%s/sweeps/%s.json", root, name ? name : "");
	char *folder = path_folder(path), *text = json_dumps(sweep, JSON_INDENT(1));
	int ret = !name || !text ? error("cannot write %s: the sweep has no name", path) :
		path_mkdirs(folder) || path_write(path, text, strlen(text)) ? -1 : 0;

	free(text);
	free(folder);
	free(path);
	return ret;
}

static bool has_form(const json_t *sweep)
{
	json_t *run, *runs = json_object_get(sweep, "runs");
	bool has = json_is_string(json_object_get(sweep, "name")) && json_is_array(runs);
	size_t i;

	json_array_foreach(runs, i, run)
		has &= json_is_string(json_object_get(run, "run")) && json_is_string(json_object_get(run, "dir")) &&
			json_is_string(json_object_get(run, "label"));
	return has;
}

json_t *catalog_load(const char *path)
{
	json_error_t problem;
	json_t *sweep = json_load_file(path, 0, &problem);

	if (sweep && has_form(sweep))
		return sweep;
	warning("%s:%d: %s: passed over; `moelab run` of the sweep writes it anew", path,
		sweep ? 1 : problem.line, sweep ? "no record of a sweep" : problem.text);
	json_decref(sweep);
	return NULL;
}

json_t *catalog_read(const char *root, const char *name)
{
	char *path = xasprintf("%s/sweeps/%s.json", root, name);
	json_t *sweep = path_exists(path) ? catalog_load(path) : NULL;

	free(path);
	return sweep;
}

/* Sweeps have names with slashes, so folders in folders. A missing folder holds none. */
static int each_sweep(const char *folder, int (*take)(void *data, const char *path), void *data)
{
	struct arena a = {0};
	int ret = 0;

	for (const char *const *name = path_list(folder, &a); *name && !ret; name++) {
		const char *path = arena_printf(&a, "%s/%s", folder, *name);
		struct stat st;
		if (**name == '.')
			continue;
		if (!stat(path, &st) && S_ISDIR(st.st_mode))
			ret = each_sweep(path, take, data);
		else if (str_ends(path, ".json"))
			ret = take(data, path);
	}
	arena_release(&a);
	return ret;
}

int catalog_each_sweep(const char *root, int (*take)(void *data, const char *path), void *data)
{
	char *sweeps = path_join(root, "sweeps");
	int ret = each_sweep(sweeps, take, data);

	free(sweeps);
	return ret;
}

const char *catalog_dir(const struct db *db, const char *root, const char *dir, struct arena *a)
{
	char *folder = path_folder(db->path), *base = realpath(folder, NULL);
	char *real = realpath(root, NULL);
	const char *top = real ? real : root, *stored;
	size_t n = base ? strlen(base) : 0;

	if (base && !strcmp(top, base))
		stored = arena_printf(a, "runs/%s", dir);
	else if (base && str_starts(top, base) && top[n] == '/')
		stored = arena_printf(a, "%s/runs/%s", top + n + 1, dir);
	else
		stored = arena_printf(a, "%s/runs/%s", top, dir);
	free(real);
	free(base);
	free(folder);
	return stored;
}

static void bind_json(struct db_statement *s, const char *name, const json_t *v)
{
	if (json_is_string(v))
		db_bind_text(s, name, json_string_value(v));
	else if (json_is_integer(v))
		db_bind_int(s, name, json_integer_value(v));
	else if (json_is_real(v))
		db_bind_real(s, name, json_real_value(v));
	else
		db_bind_null(s, name);
}

/* Values of the object's keys to the parameters of the same names. */
static void bind_keys(struct db_statement *s, const json_t *object, const char *const *keys)
{
	char name[32];

	for (; *keys; keys++) {
		snprintf(name, sizeof name, ":%s", *keys);
		bind_json(s, name, json_object_get(object, *keys));
	}
}

/* One row of each element of a list; the statement has :sweep_id and the keys. :n counts from 1. */
static int add_list(struct db *db, const char *sql, long long sweep_id, const json_t *list,
	const char *const *keys)
{
	struct db_statement s;
	json_t *item;
	size_t i;

	db_prepare(&s, db, sql);
	db_bind_int(&s, ":sweep_id", sweep_id);
	json_array_foreach(list, i, item) {
		bind_keys(&s, item, keys);
		db_bind_int(&s, ":n", (long long)i + 1);
		db_run(&s);
	}
	return db_finish(&s);
}

/* The id that an INSERT ... RETURNING gives. */
static int insert_id(struct db_statement *s, long long *id)
{
	*id = db_step(s) ? db_int(s, 0) : -1;
	return db_finish(s);
}

static int insert_sweep(struct db *db, const json_t *sweep, long long *sweep_id)
{
	static const char *const keys[] = {"name", "file", "question", "baseline", "planned", NULL};
	struct db_statement s;

	db_prepare(&s, db,
		"INSERT INTO sweep(name, file, question, baseline, planned) "
		"VALUES (:name, :file, :question, :baseline, :planned) "
		"ON CONFLICT (name) DO UPDATE SET file = excluded.file, "
		"question = excluded.question, "
		"baseline = excluded.baseline, planned = excluded.planned RETURNING sweep_id");
	bind_keys(&s, sweep, keys);
	return insert_id(&s, sweep_id);
}

static int insert_targets(struct db *db, long long sweep_id, const json_t *sweep)
{
	static const char *const target[] = {"kind", "loss", NULL};
	static const char *const published[] = {"label", "quantity", "value", "text", NULL};

	return add_list(db, "INSERT INTO target(sweep_id, n, kind, loss) "
			"VALUES (:sweep_id, :n, :kind, :loss)",
			sweep_id, json_object_get(sweep, "targets"), target) ||
		add_list(db, "INSERT INTO published(sweep_id, n, label, quantity, value, text) "
			"VALUES (:sweep_id, :n, :label, :quantity, :value, :text)",
			sweep_id, json_object_get(sweep, "published"), published) ? -1 : 0;
}

/* name: of its directory below root. Of a run that is known elsewhere it is a second one, which is not followed. */
static int insert_run(struct db *db, const struct run_info *info, const char *root, const char *name,
	long long *run_id)
{
	bool second = home_is_elsewhere(db, root, name, info->identity);
	struct arena a = {0};
	struct db_statement s;
	int ret;

	db_prepare(&s, db, "INSERT INTO run(identity, dir, label, seed, steps) "
		"VALUES (:identity, :dir, :label, :seed, nullif(:steps, 0)) "
		"ON CONFLICT (identity) DO UPDATE SET dir = CASE WHEN :second THEN dir ELSE excluded.dir END, "
		"steps = coalesce(excluded.steps, steps) RETURNING run_id");
	db_bind_text(&s, ":identity", info->identity);
	db_bind_text(&s, ":dir", catalog_dir(db, root, name, &a));
	db_bind_int(&s, ":second", second);
	db_bind_text(&s, ":label", info->label);
	db_bind_int(&s, ":seed", info->seed);
	db_bind_int(&s, ":steps", info->steps);
	ret = insert_id(&s, run_id);
	arena_release(&a);
	return ret;
}

static int insert_member(struct db *db, long long sweep_id, long long run_id, const json_t *run,
	size_t n)
{
	static const char *const keys[] = {"label", "variant", NULL};
	struct db_statement s;

	db_prepare(&s, db, "INSERT INTO member(sweep_id, run_id, label, variant, n) "
		"VALUES (:sweep_id, :run_id, :label, coalesce(:variant, :label), :n)");
	db_bind_int(&s, ":sweep_id", sweep_id);
	db_bind_int(&s, ":run_id", run_id);
	db_bind_int(&s, ":n", (long long)n);
	bind_keys(&s, run, keys);
	db_run(&s);
	return db_finish(&s);
}

static int insert_axes(struct db *db, long long sweep_id, long long run_id, const json_t *axes)
{
	static const char *const keys[] = {"key", "short_key", "value", NULL};
	struct db_statement s;
	json_t *axis;
	size_t i;

	db_prepare(&s, db, "INSERT OR IGNORE INTO axis(sweep_id, run_id, key, short_key, value) "
		"VALUES (:sweep_id, :run_id, :key, :short_key, :value)");
	db_bind_int(&s, ":sweep_id", sweep_id);
	db_bind_int(&s, ":run_id", run_id);
	json_array_foreach(axes, i, axis) {
		bind_keys(&s, axis, keys);
		db_run(&s);
	}
	return db_finish(&s);
}

static int add_run_of_sweep(struct db *db, const char *root, long long sweep_id,
	const json_t *run, size_t n)
{
	const char *dir = json_string_value(json_object_get(run, "dir"));
	struct run_info info = {
		.identity = json_string_value(json_object_get(run, "run")),
		.label = json_string_value(json_object_get(run, "label")),
		.seed = (long)json_integer_value(json_object_get(run, "seed")),
		.steps = (long)json_integer_value(json_object_get(run, "steps")),
	};
	long long run_id;

	if (!dir || !info.identity || !info.label)
		return error("run %zu of the sweep lacks \"run\", \"dir\" or \"label\"", n);
	return insert_run(db, &info, root, dir, &run_id) || insert_member(db, sweep_id, run_id, run, n) ||
		insert_axes(db, sweep_id, run_id, json_object_get(run, "axes")) ? -1 : 0;
}

/* Foreign runs stand in no sweep file and stay. */
static int clear_sweep(struct db *db, long long sweep_id)
{
	char sql[512];

	snprintf(sql, sizeof sql,
		"DELETE FROM member WHERE sweep_id = %lld AND run_id NOT IN "
		"(SELECT run_id FROM param WHERE key = 'foreign'); "
		"DELETE FROM axis WHERE sweep_id = %lld; DELETE FROM target WHERE sweep_id = %lld; "
		"DELETE FROM published WHERE sweep_id = %lld",
		sweep_id, sweep_id, sweep_id, sweep_id);
	return db_exec(db, sql);
}

static int add_sweep(struct db *db, const char *root, const json_t *sweep)
{
	const json_t *run, *runs = json_object_get(sweep, "runs");
	long long sweep_id;
	size_t i;

	if (insert_sweep(db, sweep, &sweep_id) || clear_sweep(db, sweep_id) ||
			insert_targets(db, sweep_id, sweep))
		return -1;
	json_array_foreach(runs, i, run)
		if (add_run_of_sweep(db, root, sweep_id, run, i + 1))
			return -1;
	return 0;
}

int catalog_add_sweep(struct db *db, const char *root, const json_t *sweep)
{
	if (db_begin(db))
		return -1;
	if (add_sweep(db, root, sweep)) {
		db_rollback(db);
		return -1;
	}
	return db_commit(db);
}

int catalog_join(struct db *db, long long run_id, const struct run_info *info)
{
	struct db_statement s;
	const char *sweep = info->sweep ? info->sweep : "train";
	int ret;

	db_prepare(&s, db, "INSERT INTO sweep(name) VALUES (:name) ON CONFLICT DO NOTHING");
	db_bind_text(&s, ":name", sweep);
	db_run(&s);
	ret = db_finish(&s);
	db_prepare(&s, db, "INSERT INTO member(sweep_id, run_id, label, variant, n) "
		"SELECT sweep_id, :run_id, :label, coalesce(:variant, :label), "
		"1 + (SELECT count(*) FROM member m WHERE m.sweep_id = sweep.sweep_id) "
		"FROM sweep WHERE name = :name AND (planned IS NULL OR :foreign) ON CONFLICT DO NOTHING");
	db_bind_int(&s, ":run_id", run_id);
	db_bind_text(&s, ":label", info->label);
	db_bind_text(&s, ":variant", info->variant);
	db_bind_text(&s, ":name", sweep);
	db_bind_int(&s, ":foreign", info->foreign);
	db_run(&s);
	return ret | db_finish(&s);
}

int catalog_add_run(struct db *db, const char *root, const char *dir, const struct run_info *info)
{
	long long run_id;

	return insert_run(db, info, root, dir, &run_id) || catalog_join(db, run_id, info) ? -1 : 0;
}

/* Numbers as numbers; true, false as text; lists and maps as JSON. */
static void bind_value(struct db_statement *s, const char *name, const json_t *v)
{
	char *text = NULL;

	if (json_is_boolean(v))
		text = xstrdup(json_is_true(v) ? "true" : "false");
	else if (json_is_object(v) || json_is_array(v))
		text = json_dumps(v, JSON_COMPACT | JSON_SORT_KEYS);
	if (text)
		db_bind_text(s, name, text);
	else
		bind_json(s, name, v);
	free(text);
}

static int insert_params(struct db *db, long long run_id, json_t *config)
{
	struct db_statement s;
	const char *key;
	json_t *value;

	db_prepare(&s, db, "INSERT OR REPLACE INTO param(run_id, key, value) "
		"VALUES (:run_id, :key, :value)");
	db_bind_int(&s, ":run_id", run_id);
	json_object_foreach(config, key, value) {
		db_bind_text(&s, ":key", key);
		bind_value(&s, ":value", value);
		db_run(&s);
	}
	return db_finish(&s);
}

int catalog_set_config(struct db *db, long long run_id, const char *yaml, const char *json)
{
	json_t *config = json ? json_loads(json, 0, NULL) : NULL;
	struct db_statement s;
	int ret;

	db_prepare(
		&s, db, "UPDATE run SET config = coalesce(:config, config) WHERE run_id = :run_id");
	db_bind_text(&s, ":config", yaml);
	db_bind_int(&s, ":run_id", run_id);
	db_run(&s);
	ret = db_finish(&s) | insert_params(db, run_id, config);
	json_decref(config);
	return ret;
}

int catalog_set_state(struct db *db, long long run_id, enum run_state state, const char *reason)
{
	struct db_statement s;

	db_prepare(
		&s, db, "UPDATE run SET state = :state, reason = :reason WHERE run_id = :run_id");
	db_bind_text(&s, ":state", run_state_name[state]);
	db_bind_text(&s, ":reason", reason);
	db_bind_int(&s, ":run_id", run_id);
	db_run(&s);
	return db_finish(&s);
}

long long catalog_run_id(struct db *db, const char *identity)
{
	struct db_statement s;
	long long id = -1;

	db_prepare(&s, db, "SELECT run_id FROM run WHERE identity = :identity");
	db_bind_text(&s, ":identity", identity);
	if (db_step(&s))
		id = db_int(&s, 0);
	return db_finish(&s) ? -1 : id;
}

/* --- forgetting ------------------------------------------------------------------------------- */

struct place {
	long long sweep_id;
	const char *sweep;
};

static struct place *places_of(struct db *db, long long run_id, struct arena *a, int *n)
{
	struct db_statement s;
	struct place *places = NULL;

	*n = 0;
	db_prepare(&s, db, "SELECT DISTINCT sweep_id, name, (SELECT count(*) FROM sweep) FROM sweep "
		"JOIN member USING (sweep_id) WHERE run_id = :run");
	db_bind_int(&s, ":run", run_id);
	while (db_step(&s)) {
		if (!places)
			places = ARENA_ARRAY(a, struct place, db_int(&s, 2));
		places[(*n)++] = (struct place){db_int(&s, 0), arena_strdup(a, db_text(&s, 1))};
	}
	if (db_finish(&s))
		*n = -1;
	return places;
}

/* Enters the run anew where the sweep's file names it. A sweep without a file is what its runs made. */
static int enter_again(struct db *db, const char *root, const struct place *place, const char *identity)
{
	json_t *sweep = catalog_read(root, place->sweep), *run;
	int ret = 0;
	size_t i;

	json_array_foreach(json_object_get(sweep, "runs"), i, run) {
		const char *named = json_string_value(json_object_get(run, "run"));
		if (!ret && named && !strcmp(named, identity))
			ret = add_run_of_sweep(db, root, place->sweep_id, run, i + 1);
	}
	json_decref(sweep);
	return ret;
}

static int delete_run(struct db *db, const char *identity)
{
	struct db_statement s;

	db_prepare(&s, db, "DELETE FROM run WHERE identity = :identity");
	db_bind_text(&s, ":identity", identity);
	db_run(&s);
	return db_finish(&s);
}

int catalog_forget_run(struct db *db, const char *root, const char *identity)
{
	struct arena a = {0};
	int n = 0, ret = db_begin(db);
	const struct place *places =
		ret ? NULL : places_of(db, catalog_run_id(db, identity), &a, &n);

	if (!ret)
		ret = n < 0 || delete_run(db, identity) ? -1 : 0;
	for (int i = 0; i < n && !ret; i++)
		ret = enter_again(db, root, &places[i], identity);
	if (!ret)	/* one that its runs alone have made, as a misspelled name of a curve's does */
		ret = db_exec(db, "DELETE FROM sweep WHERE planned IS NULL AND sweep_id NOT IN"
			" (SELECT sweep_id FROM member)");
	if (ret)
		db_rollback(db);
	else
		ret = db_commit(db);
	arena_release(&a);
	return ret;
}
