#include "store/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "store/run_dir.h"

static const char *column_text(const struct db_statement *s, int column, struct arena *a)
{
	const char *text = db_text(s, column);

	return text ? arena_strdup(a, text) : NULL;
}

/* --- sweeps ----------------------------------------------------------------------------------- */

static int no_sweep(struct db *db, const char *name)
{
	struct db_statement s;
	struct str list;
	int ret;

	str_init(&list);
	db_prepare(&s, db, "SELECT name FROM sweep ORDER BY name LIMIT 20");
	while (db_step(&s))
		str_printf(&list, " %s", db_text(&s, 0));
	ret = db_finish(&s);
	if (!ret && list.length && !*name)
		ret = error("which sweep of %s? name it with --sweep; there are:%s", db->path, list.text);
	else if (!ret && list.length)
		ret = error("no sweep \"%s\" in %s; there are:%s", name, db->path, list.text);
	else if (!ret)
		ret = error("no sweep \"%s\" in %s: it has none, `moelab run` adds them", name,
			db->path);
	str_release(&list);
	return ret;
}

int query_sweep(struct db *db, const char *name, struct arena *a, struct sweep_row *sweep)
{
	struct db_statement s;
	bool found;

	/* By file: the last one that was planned from it, which may have been renamed in it; or
	   sweeps/micro/table1.yaml ends as micro/table1 with .yaml does. Trials have the same file. */
	db_prepare(&s, db, "SELECT sweep_id, name, file, question, baseline FROM sweep "
		"WHERE name = :name OR file = :name "
		"OR ('/' || :name) GLOB ('*/' || name || '.y*ml') "
		"ORDER BY name = :name DESC, name GLOB '*.tune', iif(file = :name, planned, '') DESC, "
		"length(name) DESC LIMIT 1");
	db_bind_text(&s, ":name", name);
	found = db_step(&s);
	if (found)
		*sweep = (struct sweep_row){
			.sweep_id = db_int(&s, 0),
			.name = column_text(&s, 1, a),
			.file = column_text(&s, 2, a),
			.question = column_text(&s, 3, a),
			.baseline = column_text(&s, 4, a),
		};
	if (db_finish(&s))
		return -1;
	return found ? 0 : no_sweep(db, name);
}

/* --- runs ------------------------------------------------------------------------------------- */

#define RUN_COLUMNS                                                                                \
	"run_id, sweep, label, variant, seed, identity, dir, state, reason, arch, step, steps, "   \
	"loss, train_loss, "                                                                       \
	"(SELECT group_concat(name, ' ') FROM (SELECT name FROM tag t "                            \
	"WHERE t.run_id = runs.run_id ORDER BY name)), "                                           \
	"(SELECT reason FROM exclusion e WHERE e.run_id = runs.run_id) "

/* Where nobody writes the database, a run that it has as running may have lost its supervisor. */
static const char *true_state(const char *state, const char *dir, bool written, struct arena *a)
{
	struct run_status status;

	if (strcmp(state, run_state_name[RUN_RUNNING]) || written)
		return arena_strdup(a, state);
	run_dir_status(dir, a, &status);
	return run_state_name[status.state == RUN_QUEUED ? RUN_LOST : status.state];
}

static int collect_runs(struct db_statement *s, struct arena *a, struct run_row **runs, int *n)
{
	struct run_row *rows = NULL;
	bool written = db_is_written(s->db);
	int size = 0;

	for (*n = 0; db_step(s); ++*n) {
		const char *dir = query_dir(s->db, db_text(s, 6), a);
		GROW(rows, *n + 1, size);
		rows[*n] = (struct run_row){
			.run_id = db_int(s, 0),
			.sweep = column_text(s, 1, a),
			.label = column_text(s, 2, a),
			.variant = column_text(s, 3, a),
			.seed = (long)db_int(s, 4),
			.identity = column_text(s, 5, a),
			.dir = dir,
			.state = true_state(db_text(s, 7), dir, written, a),
			.reason = column_text(s, 8, a),
			.arch = column_text(s, 9, a),
			.step = db_int(s, 10),
			.steps = db_int(s, 11),
			.loss = db_real(s, 12),
			.train_loss = db_real(s, 13),
			.tags = column_text(s, 14, a),
			.excluded = column_text(s, 15, a),
		};
	}
	*runs = ARENA_ARRAY(a, struct run_row, *n);
	if (*n)
		memcpy(*runs, rows, (size_t)*n * sizeof *rows);
	free(rows);
	return db_finish(s);
}

int query_runs(struct db *db, long long sweep_id, struct arena *a, struct run_row **runs, int *n)
{
	struct db_statement s;

	db_prepare(&s, db, "SELECT " RUN_COLUMNS "FROM runs "
		"WHERE sweep = (SELECT name FROM sweep WHERE sweep_id = :sweep_id) ORDER BY n");
	db_bind_int(&s, ":sweep_id", sweep_id);
	return collect_runs(&s, a, runs, n);
}

/* --- selectors -------------------------------------------------------------------------------- */

static bool is_hash_prefix(const char *s)
{
	size_t n = strlen(s);

	return n >= 4 && strspn(s, "0123456789abcdef") == n;
}

/* The column of `runs`, or the table `tag`, that a selector's key means; NULL: a config key, or part of a label. */
static const char *selector_column(const char *key, size_t n)
{
	static const char *const columns[][2] = {{"state", "state"}, {"status", "state"},
		{"sweep", "sweep"}, {"label", "label"}, {"variant", "variant"}, {"arch", "arch"},
		{"seed", "seed"}, {"tag", "tag"}};

	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		if (strlen(columns[i][0]) == n && !strncmp(columns[i][0], key, n))
			return columns[i][1];
	return NULL;
}

/* KEY=GLOB, cut in two. Labels may look so, too: they hold "n_experts=8". */
static bool cut_selector(const char *selector, struct arena *a, const char **key, const char **glob)
{
	const char *equals = strchr(selector, '=');

	if (equals) {
		*key = arena_printf(a, "%.*s", (int)(equals - selector), selector);
		*glob = equals + 1;
	}
	return equals;
}

/* One condition; :s is the selector, :d a directory's name, :k and :v a key and its value. 1e-3 also
   finds 0.001. */
static void add_condition(struct str *sql, const char *selector, int i)
{
	const char *equals = strchr(selector, '=');
	const char *column = equals ? selector_column(selector, (size_t)(equals - selector)) : NULL;

	if (column) {
		str_printf(sql, strcmp(column, "tag") ? " AND %s GLOB :v%d" :
			" AND run_id IN (SELECT run_id FROM %s WHERE name GLOB :v%d)", column, i);
		return;
	}
	str_printf(sql, " AND (label GLOB :s%d OR label || '-s' || seed GLOB :s%d OR dir GLOB '*/' || :d%d OR "
		"dir GLOB '*/' || :d%d || '-????????" "'",	/* cut: no trigraph */
		i, i, i, i);
	if (equals)
		str_printf(sql, " OR EXISTS (SELECT 1 FROM param p WHERE p.run_id = runs.run_id "
			"AND p.key = :k%d AND (p.value GLOB :v%d OR (typeof(p.value) != 'text' "
			"AND p.value = CAST(:v%d AS REAL))))", i, i, i);
	if (is_hash_prefix(selector))
		str_printf(sql, " OR identity GLOB :s%d || '*'", i);
	str_add(sql, ")");
}

static void bind_condition(struct db_statement *s, const char *selector, int i, struct arena *a)
{
	const char *key, *glob;
	char *dir = arena_strdup(a, selector);
	size_t n = strlen(dir);

	if (cut_selector(selector, a, &key, &glob)) {
		db_bind_text(s, arena_printf(a, ":v%d", i), glob);
		if (selector_column(key, strlen(key)))
			return;
		db_bind_text(s, arena_printf(a, ":k%d", i), key);
	}
	while (n > 1 && dir[n - 1] == '/')
		dir[--n] = '\0';
	db_bind_text(s, arena_printf(a, ":s%d", i), selector);
	db_bind_text(s, arena_printf(a, ":d%d", i), path_name(dir));
}

/* A selector that found nothing: does any run have such a key? */
static int check_key(struct db *db, const char *selector, struct arena *a)
{
	struct db_statement s;
	const char *key, *glob, *longer;
	int ret;

	if (!cut_selector(selector, a, &key, &glob) || selector_column(key, strlen(key)))
		return 0;
	db_prepare(&s, db, "SELECT coalesce((SELECT printf(' (did you mean \"%s\"?)', min(key)) FROM param"
		" WHERE key LIKE '%.' || :key HAVING count(*)), '') WHERE :key NOT IN (SELECT key FROM param)"
		" AND EXISTS (SELECT 1 FROM param)");
	db_bind_text(&s, ":key", key);
	longer = db_step(&s) ? arena_strdup(a, db_text(&s, 0)) : NULL;
	ret = db_finish(&s);
	return ret || !longer ? ret : error("no run in %s has a key \"%s\"%s, or the label \"%s\": keys are "
		"state, sweep, label, variant, arch, seed, tag and those of a config (`moelab show RUN`)",
		db->path, key, longer, selector);
}

int query_select(struct db *db, const struct selection *selection, struct arena *a,
	struct run_row **runs, int *n)
{
	struct db_statement s;
	struct str sql;

	str_init(&sql);
	str_add(&sql, "SELECT " RUN_COLUMNS "FROM runs WHERE 1");
	for (int i = 0; i < selection->n; i++)
		add_condition(&sql, selection->selectors[i], i);
	if (selection->where)
		str_printf(&sql, " AND (%s)", selection->where);
	str_add(&sql, " GROUP BY run_id ORDER BY run_id");
	db_prepare(&s, db, sql.text);
	for (int i = 0; i < selection->n; i++)
		bind_condition(&s, selection->selectors[i], i, a);
	str_release(&sql);
	if (collect_runs(&s, a, runs, n))
		return -1;
	for (int i = 0; *n == 0 && i < selection->n; i++)
		if (check_key(db, selection->selectors[i], a))
			return -1;
	return 0;
}

static void add_selectors(struct str *out, const struct selection *s)
{
	for (int i = 0; i < s->n; i++)
		str_printf(out, "%s%s", i ? " " : "", s->selectors[i]);
}

static int several_runs(const struct selection *s, const struct run_row *runs, int n)
{
	struct str list;
	int ret;

	str_init(&list);
	add_selectors(&list, s);
	str_printf(&list, "\" means %d runs:", n);
	for (int i = 0; i < n && i < 8; i++)
		str_printf(&list, " %s", path_name(runs[i].dir));
	ret = error("\"%s%s", list.text, n > 8 ? " ..." : "");
	str_release(&list);
	return ret;
}

static int no_run(struct db *db, const struct selection *s)
{
	struct str list;
	int ret;

	str_init(&list);
	add_selectors(&list, s);
	ret = error(
		"no run \"%s\" in %s: a run is named by its label, LABEL-sSEED, the first digits "
		"of its identity, or its directory; `moelab ls` lists them",
		list.text, db->path);
	str_release(&list);
	return ret;
}

int query_one(struct db *db, const struct selection *selection, struct arena *a,
	struct run_row *run)
{
	struct run_row *runs;
	int n;

	if (query_select(db, selection, a, &runs, &n))
		return -1;
	if (n > 1)
		return several_runs(selection, runs, n);
	if (n == 0)
		return no_run(db, selection);
	*run = runs[0];
	return 0;
}

char *query_dir(struct db *db, const char *dir, struct arena *a)
{
	char *folder = path_folder(db->path), *path = path_join(folder, dir);
	char *copy = arena_strdup(a, path);

	free(path);
	free(folder);
	return copy;
}

/* --- curves ----------------------------------------------------------------------------------- */

#define CURVE_POINTS                                                                               \
	"SELECT step, tokens, seconds, flops, ce FROM step "                                       \
	"WHERE run_id = :run AND :kind = 'train' "                                                 \
	"UNION ALL SELECT step, tokens, seconds, flops, loss FROM eval "                           \
	"WHERE run_id = :run AND kind = :kind "

static void bind_curve(struct db_statement *s, struct db *db, const char *sql, long long run_id,
	const char *kind)
{
	db_prepare(s, db, sql);
	db_bind_int(s, ":run", run_id);
	db_bind_text(s, ":kind", kind);
}

int query_curve(struct db *db, long long run_id, const char *kind, struct arena *a,
	struct curve_rows *c)
{
	struct db_statement s;
	long long n;

	bind_curve(&s, db, "SELECT count(*) FROM (" CURVE_POINTS ")", run_id, kind);
	n = db_step(&s) ? db_int(&s, 0) : 0;
	if (db_finish(&s))
		return -1;
	*c = (struct curve_rows){
		.step = ARENA_ARRAY(a, long long, n), .tokens = ARENA_ARRAY(a, double, n),
		.seconds = ARENA_ARRAY(a, double, n), .flops = ARENA_ARRAY(a, double, n),
		.loss = ARENA_ARRAY(a, double, n),
	};
	bind_curve(&s, db, CURVE_POINTS "ORDER BY step", run_id, kind);
	for (; c->n < n && db_step(&s); c->n++) {	/* more may have come meanwhile */
		c->step[c->n] = db_int(&s, 0);
		c->tokens[c->n] = db_real(&s, 1);
		c->seconds[c->n] = db_real(&s, 2);
		c->flops[c->n] = db_real(&s, 3);
		c->loss[c->n] = db_real(&s, 4);
	}
	return db_finish(&s);
}

/* Ends the statement. */
static bool finds_row(struct db_statement *s)
{
	bool found = db_step(s);

	return !db_finish(s) && found;
}

/* Readers bring no database up to date. */
static bool has_table(struct db *db, const char *name)
{
	struct db_statement s;

	db_prepare(&s, db, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = :name");
	db_bind_text(&s, ":name", name);
	return finds_row(&s);
}

/* --- slices, calibrations --------------------------------------------------------------------- */

bool query_has_slices(struct db *db, long long run_id, const char *by)
{
	struct db_statement s;

	if (!has_table(db, "slice"))
		return false;
	db_prepare(&s, db, "SELECT 1 FROM slice WHERE run_id = :run AND kind = 'val' AND \"by\" = :by LIMIT 1");
	db_bind_int(&s, ":run", run_id);
	db_bind_text(&s, ":by", by);
	return finds_row(&s);
}

int query_slices(struct db *db, long long run_id, const char *by, struct arena *a,
	struct slice_rows *rows)
{
	struct db_statement s;

	*rows = (struct slice_rows){0};
	if (!has_table(db, "slice"))
		return 0;
	db_prepare(&s, db, "SELECT low, high, loss, n_tokens, count(*) OVER () FROM slice "
		"WHERE run_id = :run AND kind = 'val' AND \"by\" = :by AND step = "
		"(SELECT max(step) FROM slice WHERE run_id = :run AND kind = 'val') ORDER BY low");
	db_bind_int(&s, ":run", run_id);
	db_bind_text(&s, ":by", by);
	for (; db_step(&s); rows->n++) {
		if (!rows->n)
			*rows = (struct slice_rows){.low = ARENA_ARRAY(a, long long, db_int(&s, 4)),
				.high = ARENA_ARRAY(a, long long, db_int(&s, 4)),
				.loss = ARENA_ARRAY(a, double, db_int(&s, 4)),
				.tokens = ARENA_ARRAY(a, double, db_int(&s, 4))};
		rows->low[rows->n] = db_int(&s, 0);
		rows->high[rows->n] = db_int(&s, 1);
		rows->loss[rows->n] = db_real(&s, 2);
		rows->tokens[rows->n] = db_real(&s, 3);
	}
	return db_finish(&s);
}

/* Columns for forecasts are younger than the table. */
static bool has_errors(struct db *db)
{
	return db_value(db, "SELECT count(*) FROM pragma_table_info('recall') WHERE name = 'mae'", 0) > 0;
}

bool query_has_recall(struct db *db, long long run_id, bool forecasts)
{
	struct db_statement s;

	if (!has_table(db, "recall") || (forecasts && !has_errors(db)))
		return false;
	db_prepare(&s, db, forecasts ? "SELECT 1 FROM recall WHERE run_id = :run AND mae IS NOT NULL LIMIT 1"
		: "SELECT 1 FROM recall WHERE run_id = :run AND accuracy IS NOT NULL LIMIT 1");
	db_bind_int(&s, ":run", run_id);
	return finds_row(&s);
}

static struct recall_row recall_row(const struct db_statement *s, struct arena *a)
{
	return (struct recall_row){.test = column_text(s, 0, a), .length = db_int(s, 1), .items = db_int(s, 2),
		.accuracy = db_real(s, 3), .answer_accuracy = db_real(s, 4), .n_tokens = db_int(s, 5),
		.n_answers = db_int(s, 6), .mae = db_real(s, 8), .mse = db_real(s, 9), .majority = db_real(s, 10),
		.last_mse = db_real(s, 11), .last_mae = db_real(s, 12), .season_mse = db_real(s, 13),
		.season_mae = db_real(s, 14)};
}

int query_recall(struct db *db, long long run_id, struct arena *a, struct recall_row **rows, int *n)
{
	struct db_statement s;
	char *sql;

	*n = 0;
	if (!has_table(db, "recall"))
		return 0;
	sql = xasprintf("SELECT test, ifnull(length, -1), ifnull(items, -1), accuracy, "
		"answer_accuracy, n_tokens, n_answers, count(*) OVER (), %s FROM recall r "
		"WHERE run_id = :run AND step = "
		"(SELECT max(step) FROM recall WHERE run_id = :run AND test = r.test) ORDER BY 2, 3, 1", has_errors(db)
		? "mae, iif(mae IS NULL, NULL, loss), majority, last_mse, last_mae, season_mse, season_mae"
		: "NULL, NULL, NULL, NULL, NULL, NULL, NULL");
	db_prepare(&s, db, sql);
	free(sql);
	db_bind_int(&s, ":run", run_id);
	for (; db_step(&s); ++*n) {
		if (!*n)
			*rows = ARENA_ARRAY(a, struct recall_row, db_int(&s, 7));
		(*rows)[*n] = recall_row(&s, a);
	}
	return db_finish(&s);
}

int query_calibration(struct db *db, long long run_id, struct arena *a, struct calibration_row *row)
{
	struct db_statement s;

	*row = (struct calibration_row){.seconds_per_step = NAN, .busy = NAN};
	if (!has_table(db, "calibration"))
		return 0;
	db_prepare(&s, db, "SELECT seconds_per_step, busy, threads, measured, host "
		"FROM calibration WHERE run_id = :run");
	db_bind_int(&s, ":run", run_id);
	if (db_step(&s))
		*row = (struct calibration_row){.seconds_per_step = db_real(&s, 0),
			.busy = db_real(&s, 1), .threads = (long)db_int(&s, 2),
			.measured = column_text(&s, 3, a), .host = column_text(&s, 4, a)};
	return db_finish(&s);
}

const char *query_param(struct db *db, long long run_id, const char *key, struct arena *a)
{
	struct db_statement s;
	const char *value = NULL;

	db_prepare(&s, db, "SELECT value FROM param WHERE run_id = :run AND key = :key");
	db_bind_int(&s, ":run", run_id);
	db_bind_text(&s, ":key", key);
	if (db_step(&s))
		value = column_text(&s, 0, a);
	return db_finish(&s) ? NULL : value;
}
