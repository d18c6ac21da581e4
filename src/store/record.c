#include "store/record.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "store/run_dir.h"

enum member_type { INT, REAL, TEXT, JSON, REALS };

struct member {
	const char *name;
	enum member_type type;
	size_t offset;		/* in the struct of its kind */
};

#define STEP_MEMBER(type, name) {#name, type, offsetof(struct step_record, name)},
#define EVAL_MEMBER(type, name) {#name, type, offsetof(struct eval_record, name)},
#define SLICE_MEMBER(type, name) {#name, type, offsetof(struct slice_record, name)},
#define RECALL_MEMBER(type, name) {#name, type, offsetof(struct recall_record, name)},
#define EXPERT_MEMBER(type, name) {#name, type, offsetof(struct expert_record, name)},
#define MIX_MEMBER(type, name) {#name, type, offsetof(struct mix_record, name)},
#define STATE_MEMBER(type, name) {#name, type, offsetof(struct state_record, name)},
#define GROUP_MEMBER(type, name) {#name, type, offsetof(struct group_record, name)},
#define EVENT_MEMBER(type, name) {#name, type, offsetof(struct event_record, name)},
#define ATTEMPT_MEMBER(type, name) {#name, type, offsetof(struct attempt_record, name)},
#define EXIT_MEMBER(type, name) {#name, type, offsetof(struct exit_record, name)},
#define CALIBRATION_MEMBER(type, name) {#name, type, offsetof(struct calibration_record, name)},

static const struct member step_members[] = {RECORD_STEP(STEP_MEMBER)};
static const struct member eval_members[] = {RECORD_EVAL(EVAL_MEMBER)};
static const struct member slice_members[] = {RECORD_SLICE(SLICE_MEMBER)};
static const struct member recall_members[] = {RECORD_RECALL(RECALL_MEMBER)};
static const struct member expert_members[] = {RECORD_EXPERT(EXPERT_MEMBER)};
static const struct member mix_members[] = {RECORD_MIX(MIX_MEMBER)};
static const struct member state_members[] = {RECORD_STATE(STATE_MEMBER)};
static const struct member group_members[] = {RECORD_GROUP(GROUP_MEMBER)};
static const struct member event_members[] = {RECORD_EVENT(EVENT_MEMBER)};
static const struct member attempt_members[] = {RECORD_ATTEMPT(ATTEMPT_MEMBER)};
static const struct member process_members[] = {RECORD_OF_PROCESS(ATTEMPT_MEMBER)};
static const struct member exit_members[] = {RECORD_EXIT(EXIT_MEMBER)};
static const struct member calibration_members[] = {RECORD_CALIBRATION(CALIBRATION_MEMBER)};
static const struct member run_members[] = {RECORD_OF_RUN(ATTEMPT_MEMBER)};

struct members {
	const struct member *at;
	int n;
};
#define MEMBERS(array) {(array), (int)ARRAY_SIZE(array)}

#define SET(type, name) "\"" #name "\" = :" #name ", "

/* The newer of two records of one thing stays. */
#define ROW(table) "INSERT OR REPLACE INTO " table "(run_id", ") VALUES (:run_id", ")"
#define KIND(name, table) {#name, MEMBERS(name##_members), MEMBERS(name##_members), ROW(table)}

static const struct kind {
	const char *name;
	struct members members;	/* of the line */
	struct members columns;	/* that are bound */
	const char *insert, *values, *end;	/* SQL: in front of the columns' names, of their values, behind; or all */
} kinds[N_RECORD_TYPES] = {
	[RECORD_IS_STEP] = KIND(step, "step"),
	[RECORD_IS_EVAL] = KIND(eval, "eval"),
	[RECORD_IS_SLICE] = KIND(slice, "slice"),
	[RECORD_IS_RECALL] = KIND(recall, "recall"),
	[RECORD_IS_EXPERT] = KIND(expert, "router"),
	[RECORD_IS_MIX] = KIND(mix, "mix"),
	[RECORD_IS_STATE] = KIND(state, "state"),
	[RECORD_IS_GROUP] = KIND(group, "param_group"),
	[RECORD_IS_EVENT] = {"event", MEMBERS(event_members), MEMBERS(event_members),
		"INSERT OR IGNORE INTO event(run_id", ") VALUES (:run_id", ")"},
	[RECORD_IS_ATTEMPT] = {"attempt", MEMBERS(attempt_members), MEMBERS(process_members),
		"INSERT INTO attempt(run_id, n", ") VALUES (:run_id, "
		"1 + (SELECT count(*) FROM attempt WHERE run_id = :run_id)",
		") ON CONFLICT (run_id, pid, boot_id, start_time) DO NOTHING"},
	[RECORD_IS_EXIT] = {"exit", MEMBERS(exit_members), MEMBERS(exit_members),
		"UPDATE attempt SET ended = :ended, exit_code = :exit_code, "
		"exit_signal = :exit_signal "
		"WHERE run_id = :run_id AND n = "
		"(SELECT max(n) FROM attempt WHERE run_id = :run_id AND pid = :pid)"},
	[RECORD_IS_CALIBRATION] = KIND(calibration, "calibration"),
};
static const char sql_of_run[] =
	"UPDATE run SET " RECORD_OF_RUN(SET) "run_id = run_id WHERE run_id = :run_id";
static const char sql_load[] = "INSERT OR REPLACE INTO expert(run_id, step, router, expert, load) "
	"VALUES (:run_id, :step, :router, :expert, :load)";

/* The attempt's `parts`: {"mixer":{"params":1,"active":1,"flops":1},...}. */
static const char sql_parts[] = "INSERT OR REPLACE INTO part(run_id, part, params, active, flops) "
	"SELECT :run_id, key, CAST(json_extract(:parts, fullkey || '.params') AS INTEGER), "
	"CAST(json_extract(:parts, fullkey || '.active') AS INTEGER), "
	"CAST(json_extract(:parts, fullkey || '.flops') AS REAL) "
	"FROM json_each(:parts) WHERE json_type(:parts) = 'object'";

/* The members of the union begin at one place. */
static const void *member_of(const struct record *r, const struct member *f)
{
	return (const char *)&r->step + f->offset;
}

static void *member_in(struct record *r, const struct member *f)
{
	return (char *)&r->step + f->offset;
}

struct record record_new(enum record_type type)
{
	struct record r = {.type = type};
	const struct members *members = &kinds[type].members;

	for (int i = 0; i < members->n; i++) {
		void *at = member_in(&r, &members->at[i]);
		if (members->at[i].type == INT)
			*(long long *)at = RECORD_NONE;
		else if (members->at[i].type == REAL)
			*(double *)at = NAN;
	}
	return r;
}

/* --- writing ---------------------------------------------------------------------------------- */

/* 9 digits bring every float back. */
static void write_real(double v, struct str *out)
{
	char digits[32];

	if (isfinite(v))
		str_add_bytes(out, digits, (size_t)snprintf(digits, sizeof digits, "%.9g", v));
	else
		str_add_bytes(out, "null", 4);
}

static void write_int(long long v, struct str *out)
{
	char digits[32];

	if (v != RECORD_NONE)
		str_add_bytes(out, digits, (size_t)snprintf(digits, sizeof digits, "%lld", v));
	else
		str_add_bytes(out, "null", 4);
}

/* Bytes that are no UTF-8, as paths may have, would make the line unreadable: they become "?". */
static void write_text(const char *text, struct str *out)
{
	json_t *valid = json_string(text);
	char escape[8];

	str_add(out, "\"");
	for (const char *c = text; *c; c++) {
		unsigned char byte = (unsigned char)*c;
		if (byte < 0x20 || *c == '"' || *c == '\\')
			str_add_bytes(out, escape,
				(size_t)snprintf(escape, sizeof escape, "\\u%04x", byte));
		else
			str_add_bytes(out, byte >= 0x80 && !valid ? "?" : c, 1);
	}
	str_add(out, "\"");
	json_decref(valid);
}

static void write_reals(struct record_reals reals, struct str *out)
{
	str_add(out, "[");
	for (int i = 0; i < reals.n; i++) {
		if (i)
			str_add(out, ",");
		write_real((double)reals.at[i], out);
	}
	str_add(out, "]");
}

static void write_member(const void *at, enum member_type type, struct str *out)
{
	const char *text = type == TEXT || type == JSON ? *(const char *const *)at : NULL;

	if (type == INT)
		write_int(*(const long long *)at, out);
	else if (type == REAL)
		write_real(*(const double *)at, out);
	else if (type == REALS)
		write_reals(*(const struct record_reals *)at, out);
	else if (!text)
		str_add(out, "null");
	else if (type == JSON)
		str_add(out, text);
	else
		write_text(text, out);
}

void record_write(const struct record *r, struct str *out)
{
	const struct kind *kind = &kinds[r->type];

	str_add(out, "{\"t\":\"");
	str_add(out, kind->name);
	for (int i = 0; i < kind->members.n; i++) {
		str_add(out, i ? ",\"" : "\",\"");
		str_add(out, kind->members.at[i].name);
		str_add(out, "\":");
		write_member(member_of(r, &kind->members.at[i]), kind->members.at[i].type, out);
	}
	str_add(out, "}\n");
}

int record_append(const struct record *r, const char *run_dir)
{
	int fd = run_dir_open_metrics(run_dir), ret = fd < 0 ? -1 : 0;
	struct str line;

	str_init(&line);
	record_write(r, &line);
	if (fd >= 0 && write(fd, line.text, line.length) != (ssize_t)line.length)
		ret = error_errno("cannot add a record to %s/metrics.jsonl", run_dir);
	if (fd >= 0)
		close(fd);
	str_release(&line);
	return ret;
}

/* --- reading ---------------------------------------------------------------------------------- */

static struct record_reals read_reals(const json_t *array, struct arena *a)
{
	struct record_reals reals = {.n = (int)json_array_size(array)};
	float *at = ARENA_ARRAY(a, float, reals.n);

	for (int i = 0; i < reals.n; i++) {
		const json_t *v = json_array_get(array, (size_t)i);
		at[i] = json_is_number(v) ? (float)json_number_value(v) : NAN;
	}
	reals.at = at;
	return reals;
}

static const char *read_json(const json_t *v, struct arena *a)
{
	char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
	const char *copy = text ? arena_strdup(a, text) : NULL;

	free(text);
	return copy;
}

/* A value of another type than the member's leaves the member absent. */
static void read_member(void *at, enum member_type type, const json_t *v, struct arena *a)
{
	double number = json_is_number(v) ? json_number_value(v) : NAN;

	if (type == REAL)
		*(double *)at = number;
	else if (type == INT && json_is_integer(v))
		*(long long *)at = json_integer_value(v);
	else if (type == INT && fabs(number) < 0x1p62)
		*(long long *)at = llround(number);
	else if (type == TEXT && json_is_string(v))
		*(const char **)at = arena_strdup(a, json_string_value(v));
	else if (type == JSON && v && !json_is_null(v))
		*(const char **)at = read_json(v, a);
	else if (type == REALS && json_is_array(v))
		*(struct record_reals *)at = read_reals(v, a);
}

static int kind_find(const char *name)
{
	for (int i = 0; name && i < N_RECORD_TYPES; i++)
		if (!strcmp(name, kinds[i].name))
			return i;
	return -1;
}

/* Has it what its row is found by? */
static bool record_complete(const struct record *r)
{
	switch (r->type) {
	case RECORD_IS_STEP: return r->step.step != RECORD_NONE;
	case RECORD_IS_EVAL: return r->eval.kind && r->eval.step != RECORD_NONE;
	case RECORD_IS_SLICE: return r->slice.kind && r->slice.step != RECORD_NONE &&
			r->slice.by && r->slice.low != RECORD_NONE && r->slice.high != RECORD_NONE;
	case RECORD_IS_RECALL: return r->recall.test && r->recall.step != RECORD_NONE;
	case RECORD_IS_EXPERT:
		return r->expert.step != RECORD_NONE && r->expert.router != RECORD_NONE;
	case RECORD_IS_MIX: return r->mix.step != RECORD_NONE && r->mix.mix != RECORD_NONE;
	case RECORD_IS_STATE: return r->state.step != RECORD_NONE && r->state.state;
	case RECORD_IS_GROUP: return r->group.group && r->group.step != RECORD_NONE;
	case RECORD_IS_EVENT: return r->event.kind && r->event.step != RECORD_NONE &&
			r->event.wall && r->event.text;
	case RECORD_IS_ATTEMPT: return r->attempt.run && r->attempt.started;
	case RECORD_IS_EXIT: return r->exit.pid != RECORD_NONE && r->exit.ended;
	case RECORD_IS_CALIBRATION: return r->calibration.seconds_per_step > 0 &&
			r->calibration.measured;
	default: return false;
	}
}

bool record_parse(struct record *r, const char *line, size_t n, struct arena *a)
{
	json_t *object = json_loadb(line, n, 0, NULL);
	int type = kind_find(json_string_value(json_object_get(object, "t")));

	if (type >= 0) {
		const struct members *members = &kinds[type].members;
		*r = record_new((enum record_type)type);
		for (int i = 0; i < members->n; i++)
			read_member(member_in(r, &members->at[i]), members->at[i].type,
				json_object_get(object, members->at[i].name), a);
	}
	json_decref(object);
	return type >= 0 && record_complete(r);
}

/* --- storing ---------------------------------------------------------------------------------- */

/* An array is no column. */
static void add_columns(struct str *sql, const struct members *columns, const char *before, const char *behind)
{
	for (int i = 0; i < columns->n; i++)
		if (columns->at[i].type != REALS)
			str_printf(sql, "%s%s%s", before, columns->at[i].name, behind);
}

static void prepare_insert(struct db_statement *s, struct db *db, const struct kind *k)
{
	struct str sql;

	str_init(&sql);
	str_add(&sql, k->insert);
	if (k->values) {
		add_columns(&sql, &k->columns, ", \"", "\"");
		str_add(&sql, k->values);
		add_columns(&sql, &k->columns, ", :", "");
		str_add(&sql, k->end);
	}
	db_prepare(s, db, sql.text);
	str_release(&sql);
}

void recorder_open(struct recorder *r, struct db *db)
{
	for (int i = 0; i < N_RECORD_TYPES; i++)
		prepare_insert(&r->insert[i], db, &kinds[i]);
	db_prepare(&r->load, db, sql_load);
	db_prepare(&r->of_run, db, sql_of_run);
	db_prepare(&r->parts, db, sql_parts);
}

static void bind_members(struct db_statement *s, const struct members *members,
	const struct record *r)
{
	char name[64];

	for (int i = 0; i < members->n; i++) {
		const struct member *f = &members->at[i];
		const void *at = member_of(r, f);
		snprintf(name, sizeof name, ":%s", f->name);
		if (f->type == REAL)
			db_bind_real(s, name, *(const double *)at);
		else if (f->type == INT && *(const long long *)at == RECORD_NONE)
			db_bind_null(s, name);
		else if (f->type == INT)
			db_bind_int(s, name, *(const long long *)at);
		else if (f->type != REALS)
			db_bind_text(s, name, *(const char *const *)at);
	}
}

static void add_loads(struct db_statement *s, long long run_id, const struct expert_record *e)
{
	db_bind_int(s, ":run_id", run_id);
	db_bind_int(s, ":step", e->step);
	db_bind_int(s, ":router", e->router);
	for (int i = 0; i < e->load.n; i++) {
		db_bind_int(s, ":expert", i);
		db_bind_real(s, ":load", (double)e->load.at[i]);
		db_run(s);
	}
}

void recorder_add(struct recorder *r, long long run_id, const struct record *record)
{
	static const struct members of_run = MEMBERS(run_members);
	struct db_statement *s = &r->insert[record->type];

	db_bind_int(s, ":run_id", run_id);
	bind_members(s, &kinds[record->type].columns, record);
	db_run(s);
	if (record->type == RECORD_IS_EXPERT)
		add_loads(&r->load, run_id, &record->expert);
	if (record->type == RECORD_IS_ATTEMPT) {
		db_bind_int(&r->of_run, ":run_id", run_id);
		bind_members(&r->of_run, &of_run, record);
		db_run(&r->of_run);
		db_bind_int(&r->parts, ":run_id", run_id);
		db_bind_text(&r->parts, ":parts", record->attempt.parts);
		db_run(&r->parts);
	}
}

int recorder_close(struct recorder *r)
{
	int ret = db_finish(&r->load) | db_finish(&r->of_run) | db_finish(&r->parts);

	for (int i = 0; i < N_RECORD_TYPES; i++)
		ret |= db_finish(&r->insert[i]);
	return ret ? -1 : 0;
}
