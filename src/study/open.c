/* Reading a sweep from the database: the queries behind struct study. */
#include "study/beside.h"
#include "study/calibration.h"
#include "study/check.h"
#include "study/study.h"

#include "base/str.h"
#include "store/refresh.h"

#include <math.h>
#include <string.h>

#define THESE_SWEEPS "(SELECT value FROM json_each(:sweeps))"

static const char *keep(struct study *s, const struct db_statement *row, int column)
{
	const char *text = db_text(row, column);

	return text ? arena_strdup(&s->arena, text) : NULL;
}

static int read_targets(struct study *s)
{
	struct db_statement row;
	double value = NAN;

	if (s->options.target) {
		if (strcmp(s->options.target, "baseline") &&
			(!str_to_double(s->options.target, &value) || !(value > 0 && isfinite(value))))
			return error("target \"%s\": give a loss in nats, or \"baseline\"",
				s->options.target);
		s->targets = ARENA_NEW(&s->arena, double);
		s->targets[s->n_targets++] = value;
		return 0;
	}
	int n = 1;
	db_prepare(&row, s->db,
		"SELECT loss, count(*) OVER (), kind = 'perplexity' FROM target WHERE sweep_id = :sweep ORDER BY n");
	db_bind_int(&row, ":sweep", s->sweeps[0].sweep_id);
	while (db_step(&row)) {
		n = (int)db_int(&row, 1);
		if (!s->targets)
			s->targets = ARENA_ARRAY(&s->arena, double, n);
		s->targets[s->n_targets++] = db_real(&row, 0);
		s->perplexity |= db_int(&row, 2);
	}
	if (!s->targets) {
		s->targets = ARENA_NEW(&s->arena, double);
		s->targets[s->n_targets++] = NAN;
	}
	return db_finish(&row);
}

static int read_published(struct study *s)
{
	struct db_statement row;

	db_prepare(&row, s->db,
		"SELECT label, quantity, text, value, count(*) OVER (), sweep_id"
		" FROM published WHERE sweep_id IN " THESE_SWEEPS " ORDER BY n");
	db_bind_text(&row, ":sweeps", s->sweep_ids);
	while (db_step(&row)) {
		if (!s->published)
			s->published = ARENA_ARRAY(&s->arena, struct published, db_int(&row, 4));
		s->published[s->n_published++] = (struct published){.sweep_id = db_int(&row, 5),
			.label = keep(s, &row, 0),
			.quantity = keep(s, &row, 1),
			.text = keep(s, &row, 2),
			.value = db_real(&row, 3)};
	}
	return db_finish(&row);
}

static int read_axes(struct study *s)
{
	struct db_statement row;

	db_prepare(&row, s->db,
		"SELECT key, count(*) OVER () FROM"
		" (SELECT DISTINCT key FROM axis WHERE sweep_id IN " THESE_SWEEPS " ORDER BY key)");
	db_bind_text(&row, ":sweeps", s->sweep_ids);
	while (db_step(&row)) {
		if (!s->axes)
			s->axes = ARENA_ARRAY(&s->arena, const char *, db_int(&row, 1));
		s->axes[s->n_axes++] = keep(s, &row, 0);
	}
	return db_finish(&row);
}

static int read_params(struct study *s, struct run_data *r)
{
	struct db_statement row;
	struct run_param *params = NULL;

	db_prepare(&row, s->db,
		"SELECT key, value, typeof(value) IN ('integer', 'real'), count(*) OVER ()"
		" FROM param WHERE run_id = :run ORDER BY key");
	db_bind_int(&row, ":run", r->id);
	while (db_step(&row)) {
		if (!params)
			params = ARENA_ARRAY(&s->arena, struct run_param, db_int(&row, 3));
		const char *text = keep(s, &row, 1);
		params[r->n_params++] = (struct run_param){.key = keep(s, &row, 0),
			.text = text ? text : "",
			.number = db_int(&row, 2) ? db_real(&row, 1) : NAN};
	}
	r->params = params;
	return db_finish(&row);
}

static int read_curve(struct study *s, struct run_data *r, const char *kind, struct curve *c)
{
	struct curve_rows rows;

	if (query_curve(s->db, r->id, kind, &s->arena, &rows))
		return -1;
	*c = curve_new(&s->arena, rows.n);
	c->diverged = r->diverged;
	for (int i = 0; i < rows.n; i++) {
		c->x[AXIS_STEPS][i] = (double)rows.step[i];
		c->x[AXIS_TOKENS][i] = rows.tokens[i];
		c->x[AXIS_SECONDS][i] = rows.seconds[i];
		c->x[AXIS_FLOPS][i] = rows.flops[i];
		if (s->options.no_head_flops)
			c->x[AXIS_FLOPS][i] -= rows.tokens[i] * r->head_flops_per_token;
		c->loss[i] = rows.loss[i];
	}
	return 0;
}

/* --- runs: columns of the view `runs`, and expressions on it, by the member they fill ------- */

#define LAST_VAL(column)                                                                           \
	"(SELECT " column " FROM eval e WHERE e.run_id = runs.run_id AND e.kind = 'val'"           \
	" ORDER BY e.step DESC LIMIT 1)"

/* The smallest share of any expert at the last record, times their number in its router. */
#define LEAST_LOAD                                                                                 \
	"(SELECT min(load * n) FROM (SELECT load, count(*) OVER (PARTITION BY router) AS n"         \
	" FROM expert x WHERE x.run_id = runs.run_id"                                              \
	" AND x.step = (SELECT max(step) FROM expert l WHERE l.run_id = runs.run_id)))"

/* Routers at the last record. */
#define ROUTERS                                                                                    \
	"(SELECT count(*) FROM router x WHERE x.run_id = runs.run_id"                              \
	" AND x.step = (SELECT max(step) FROM router l WHERE l.run_id = runs.run_id))"

/* The capacity factor, times what is left of it at the last record where it moves. */
#define CAPACITY                                                                                   \
	"(SELECT value FROM param x WHERE x.run_id = runs.run_id AND x.key = 'model.moe.capacity_factor')" \
	" * coalesce((SELECT avg(mean) FROM state x WHERE x.run_id = runs.run_id"                  \
	" AND x.state LIKE '%.capacity'"                                                           \
	" AND x.step = (SELECT max(step) FROM state l WHERE l.run_id = runs.run_id)), 1)"

/* Of parts of the model; NULL: it has none of them. */
#define PARTS(column, names)                                                                       \
	"(SELECT sum(x." column ") FROM part x WHERE x.run_id = runs.run_id AND x.part IN (" names "))"

/* Older runs tell of no parts: forward d V multiply-adds a token, backward twice as much. */
#define HEAD_FLOPS                                                                                 \
	"coalesce(" PARTS("flops", "'lm_head'") ", 6 * vocab * (SELECT value FROM param x"         \
	" WHERE x.run_id = runs.run_id AND x.key = 'model.d_model'))"

/* Mamba layers without mixtures in them, and nothing but channel mixers beside them. */
#define MAMBA_SHARE                                                                                \
	"CASE WHEN " PARTS("active", "'mixer'") " = " PARTS("params", "'mixer'")                   \
	" AND " PARTS("active", "'attn', 'shared'") " IS NULL"                                     \
	" THEN 1 - coalesce(1.0 * " PARTS("active", "'moe', 'ffn'") " / params_active, 0) END"

#define TEXT(member_, sql_)                                                                        \
	{                                                                                          \
		.sql = sql_, .member = offsetof(struct run_data, member_), .text = true            \
	}
#define REAL(member_, sql_)                                                                        \
	{                                                                                          \
		.sql = sql_, .member = offsetof(struct run_data, member_)                          \
	}

static const struct run_column {
	const char *sql;
	size_t member;
	bool text;
} run_columns[] = {
	TEXT(label, "label"),
	TEXT(variant, "variant"),
	TEXT(arch, "coalesce(arch, '')"),
	TEXT(state, "state"),
	TEXT(depends, "coalesce((SELECT depends FROM run r WHERE r.run_id = runs.run_id), '')"),
	TEXT(data_hash, "data_hash"),
	TEXT(tokenizer, "tokenizer"),
	TEXT(precision, "\"precision\""),
	TEXT(windows, "windows"),
	TEXT(capacity_rule, "coalesce(" LAST_VAL("capacity") ", '')"),
	TEXT(host, "host"),
	TEXT(device, "device"),
	TEXT(cpu, "cpu"),
	TEXT(blas_core, "blas_core"),
	TEXT(git, "git"),
	TEXT(build, "build"),
	REAL(params_total, "params_total"),
	REAL(params_active, "params_active"),
	REAL(params_embedding, "params_embedding"),
	REAL(flops_per_token, "flops_per_token"),
	REAL(head_flops_per_token, HEAD_FLOPS),
	REAL(mamba_share, MAMBA_SHARE),
	REAL(vocab, "vocab"),
	REAL(memory_bytes, "memory_planned_bytes"),
	REAL(data_tokens, "data_tokens"),
	REAL(threads, "threads"),
	REAL(jobs, "(SELECT max(jobs) FROM attempt a WHERE a.run_id = runs.run_id)"),
	REAL(steps, "step"),
	REAL(tokens, "tokens"),
	REAL(seconds, "seconds"),
	REAL(flops, "flops"),
	REAL(tokens_per_s, "tokens_per_s"),
	REAL(bpb, "bpb"),
	REAL(accuracy, "accuracy"),
	REAL(eval_tokens, "eval_tokens"),
	REAL(loss_dropless, "loss_dropless"),
	REAL(loss_bigram, LAST_VAL("loss_bigram")),
	REAL(share_bigram, LAST_VAL("share_bigram")),
	REAL(drop, LAST_VAL("\"drop\"")),
	REAL(eval_choices, LAST_VAL("choices")),
	REAL(unserved, LAST_VAL("unserved")),
	REAL(clipped, "(SELECT avg(clipped) FROM step s WHERE s.run_id = runs.run_id)"),
	REAL(still, "(SELECT avg(grad_norm = 0) FROM step s WHERE s.run_id = runs.run_id)"),
	REAL(least_load, LEAST_LOAD),
	REAL(routers, ROUTERS),
	REAL(capacity, CAPACITY),
};

enum { RUN_ID, SEED, FIRST_COLUMN };

static void read_run(struct study *s, const struct db_statement *row, struct run_data *r)
{
	r->id = db_int(row, RUN_ID);
	r->seed = (long)db_int(row, SEED);
	for (int i = 0; i < (int)ARRAY_SIZE(run_columns); i++) {
		void *member = (char *)r + run_columns[i].member;
		if (run_columns[i].text)
			*(const char **)member = keep(s, row, FIRST_COLUMN + i);
		else
			*(double *)member = db_real(row, FIRST_COLUMN + i);
	}
	r->diverged = !strcmp(r->state, "diverged");
}

static void prepare_runs(struct study *s, struct db_statement *row, const struct sweep_row *w)
{
	struct str sql;

	str_init(&sql);
	str_add(&sql, "SELECT run_id, seed");
	for (int i = 0; i < (int)ARRAY_SIZE(run_columns); i++)
		str_printf(&sql, ", %s", run_columns[i].sql);
	str_add(&sql,
		" FROM runs WHERE sweep = :sweep AND state IN ('done', 'diverged')"
		" AND run_id NOT IN (SELECT run_id FROM exclusion) AND NOT " RUN_IS_CUT " ORDER BY n");
	db_prepare(row, s->db, sql.text);
	str_release(&sql);
	db_bind_text(row, ":sweep", w->name);
}

/* How many places the sweeps have for runs, how many runs are not finished, how many are excluded. */
static int count_runs(struct study *s, int *most)
{
	struct db_statement row;

	db_prepare(&row, s->db,
		"SELECT count(*), count(DISTINCT run_id) FILTER (WHERE state NOT IN ('done', 'diverged')"
		" AND e.reason IS NULL), count(DISTINCT run_id) FILTER (WHERE e.reason IS NOT NULL)"
		" FROM member JOIN run USING (run_id) LEFT JOIN exclusion e USING (run_id)"
		" WHERE sweep_id IN " THESE_SWEEPS);
	db_bind_text(&row, ":sweeps", s->sweep_ids);
	if (db_step(&row)) {
		*most = (int)db_int(&row, 0);
		s->n_unfinished = (int)db_int(&row, 1);
		s->n_excluded = (int)db_int(&row, 2);
	}
	return db_finish(&row);
}

static int count_cut(struct study *s)
{
	struct db_statement row;

	db_prepare(&row, s->db, "SELECT count(DISTINCT run_id) FROM runs"
		" WHERE sweep IN (SELECT name FROM sweep WHERE sweep_id IN " THESE_SWEEPS ") AND " RUN_IS_CUT);
	db_bind_text(&row, ":sweeps", s->sweep_ids);
	if (db_step(&row))
		s->n_cut = (int)db_int(&row, 0);
	return db_finish(&row);
}

static bool in_earlier_sweep(const struct study *s, const struct sweep_row *w, long long run_id)
{
	for (int i = 0; i < s->n_runs; i++)
		if (s->runs[i].id == run_id && s->runs[i].sweep != w)
			return true;
	return false;
}

static int read_runs(struct study *s)
{
	struct db_statement row;
	int most = 0;

	if (count_runs(s, &most) || count_cut(s))
		return -1;
	s->runs = ARENA_ARRAY(&s->arena, struct run_data, most);
	for (const struct sweep_row *w = s->sweeps; w < s->sweeps + s->n_sweeps; w++) {
		for (prepare_runs(s, &row, w); db_step(&row) && s->n_runs < most;) {
			if (in_earlier_sweep(s, w, db_int(&row, RUN_ID)))
				continue;
			read_run(s, &row, &s->runs[s->n_runs]);
			s->runs[s->n_runs++].sweep = w;
		}
		if (db_finish(&row))
			return -1;
	}
	return 0;
}

static int complete_run(struct study *s, struct run_data *r)
{
	if (read_params(s, r))
		return -1;
	if (s->options.no_head_flops) {
		if (isnan(r->head_flops_per_token))
			return error("run %s: its record lacks what the head's FLOPs follow from",
				r->label);
		r->flops_per_token -= r->head_flops_per_token;
		r->flops -= r->tokens * r->head_flops_per_token;
	}
	if (read_curve(s, r, "val", &r->val))
		return -1;
	if (s->rule->training && read_curve(s, r, "train", &r->train))
		return -1;
	r->curve = rule_smooth(s->rule, s->rule->training ? &r->train : &r->val, &s->arena);
	r->final_loss = r->diverged ? NAN : curve_final(&r->curve);
	return 0;
}

static int add_sweep(struct study *s, const char *name)
{
	struct sweep_row *w = &s->sweeps[s->n_sweeps];

	if (query_sweep(s->db, name, &s->arena, w))
		return -1;
	for (int i = 0; i < s->n_sweeps; i++)
		if (s->sweeps[i].sweep_id == w->sweep_id)
			return error("sweep %s is named twice", w->name);
	if (s->n_sweeps++ == 0) {
		s->name = w->name;
		s->question = w->question;
		s->sweep_ids = arena_printf(&s->arena, "[%lld]", w->sweep_id);
		return 0;
	}
	s->name = arena_printf(&s->arena, "%s+%s", s->name, w->name);
	if (w->question && (!s->question || strcmp(s->question, w->question)))
		s->question = s->question ? arena_printf(&s->arena, "%s %s", s->question, w->question)
					  : w->question;
	s->sweep_ids = arena_printf(&s->arena, "%.*s,%lld]", (int)strlen(s->sweep_ids) - 1,
		s->sweep_ids, w->sweep_id);
	return 0;
}

static int read_sweeps(struct study *s, const char *names)
{
	char *list = arena_strdup(&s->arena, names);

	s->sweeps = ARENA_ARRAY(&s->arena, struct sweep_row, strlen(names) + 1);
	for (char *name = strsep(&list, ","); name; name = strsep(&list, ","))
		if (add_sweep(s, name))
			return -1;
	return 0;
}

/* A perplexity given as a loss, say. Of a sweep's own targets check_study() says it. */
static int check_target(const struct study *s)
{
	if (!s->options.target || isnan(study_begins_below(s, s->targets[0])))
		return 0;
	return error("target %g: %s begins below it, at %.3f %s", s->targets[0], s->baseline->label,
		study_begins_below(s, s->targets[0]), study_loss_unit(s));
}

static int study_read(struct study *s, const char *sweeps)
{
	if (read_sweeps(s, sweeps) || read_targets(s) || read_published(s) || read_axes(s) ||
		read_runs(s) || beside_count(s))
		return -1;
	if (s->n_runs == 0 && s->n_excluded)
		return error("sweep %s: no finished run that counts (%d unfinished, %d excluded by hand)",
			s->name, s->n_unfinished, s->n_excluded);
	if (s->n_runs == 0 && s->n_cut)
		return error("sweep %s: no finished run whose records are whole (%d lack the last evaluation, %d runs "
			"are unfinished): `moelab rm` takes those away, `moelab run` does them anew",
			s->name, s->n_cut, s->n_unfinished);
	if (s->n_runs == 0)
		return error(
			"sweep %s: no finished run yet (%d unfinished); `moelab run` does them",
			s->name, s->n_unfinished);
	for (int i = 0; i < s->n_runs; i++)
		if (complete_run(s, &s->runs[i]))
			return -1;
	study_group(s);
	return study_relabel(s) || study_reorder(s) || check_target(s) ? -1 : 0;
}

int study_open(struct study *s, struct db *db, const char *sweeps, const struct study_options *o)
{
	*s = (struct study){.db = db, .options = *o};
	s->rule = rule_find(o->rule ? o->rule : "default");
	/* One look at the database, whoever writes meanwhile; and one lock instead of one a question. */
	bool failed = !s->rule || db_exec(db, "BEGIN") || study_read(s, sweeps) || study_calibrate(s);
	db_rollback(db);
	if (failed || check_study(s)) {
		study_close(s);
		return -1;
	}
	return 0;
}

void study_close(struct study *s)
{
	notes_release(&s->notes);
	arena_release(&s->arena);
}

/* The only sweep of the database, its trials not counted; else "", which no sweep is called. */
static const char *only_sweep(struct db *db, struct arena *a)
{
	struct db_statement row;
	const char *name = "";

	db_prepare(&row, db, "SELECT max(name) FROM sweep WHERE name NOT GLOB '*.tune' HAVING count(*) = 1");
	if (db_step(&row))
		name = arena_strdup(a, db_text(&row, 0));
	db_finish(&row);
	return name;
}

int study_begin(struct study *s, struct db *db, const struct study_query *q)
{
	struct arena names = {0};

	if (refresh_open(db, q->db))
		return EXIT_ENVIRONMENT;
	const char *sweeps = q->sweeps.n ? q->sweeps.items[0] : only_sweep(db, &names);
	for (int i = 1; i < q->sweeps.n; i++)
		sweeps = arena_printf(&names, "%s,%s", sweeps, q->sweeps.items[i]);
	int failed = study_open(s, db, sweeps, &q->options);
	arena_release(&names);
	if (failed)
		db_close(db);
	return failed ? EXIT_USAGE : EXIT_DONE;
}

void study_end(struct study *s, struct db *db)
{
	study_close(s);
	db_close(db);
}
