/* moelab show RUN: all that is known of a run. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cmd/lab.h"
#include "cmd/run_model.h"
#include "cmd/show_experts.h"

extern const struct cmd cmd_show;

/* Everything shown comes from these, with :run; a column's name is its title. */
static const char sql_facts[] = "SELECT group_concat(sweep, ' ') AS sweeps, runs.*, (SELECT CASE depends "
	"WHEN 'A' THEN 'A: its own past' WHEN 'B' THEN 'B: other sequences of the batch' "
	"WHEN 'F' THEN 'F: its own future, in training' END FROM run r WHERE r.run_id = runs.run_id) AS depends_on, "
	"(SELECT CASE WHEN capacity = '0' THEN 'all' WHEN capacity GLOB '[0-9]*' THEN 'capacity ' || capacity "
	"WHEN capacity <> 'none' THEN capacity END FROM eval e WHERE e.run_id = runs.run_id AND e.kind = 'val' "
	"AND e.step = runs.loss_step) AS evaluated_by, s.aux, s.balance, s.z, x.importance, x.load_cv2, x.mean_entropy "
	"FROM runs LEFT JOIN step s ON s.run_id = runs.run_id AND s.step = runs.step "
	/* of the last step that told of routers, means over them */
	"LEFT JOIN (SELECT avg(importance) AS importance, avg(load_cv2) AS load_cv2, avg(mean_entropy) AS mean_entropy "
	"FROM router WHERE run_id = :run GROUP BY step ORDER BY step DESC LIMIT 1) x "
	"WHERE runs.run_id = :run GROUP BY runs.run_id";
static const char sql_attempts[] = "SELECT n, started, ended, exit_code, exit_signal, host, pid, "
	"device, threads, jobs, blas_core, git FROM attempt WHERE run_id = :run ORDER BY n";
/* A step that was done again after a resume tells the same once more. */
static const char sql_samples[] = "SELECT step, text FROM event WHERE run_id = :run AND kind = 'sample' "
	"GROUP BY step, text ORDER BY min(event_id)";
static const char sql_config[] = "SELECT key, value FROM param WHERE run_id = :run ORDER BY key";

static void ask(struct db_statement *s, struct lab *lab, const char *sql, long long run_id)
{
	db_prepare(s, &lab->db, sql);
	db_bind_int(s, ":run", run_id);
}

static bool is_place(const char *column)	/* in a sweep or in the database: not of the run */
{
	return !strcmp(column, "sweep") || !strcmp(column, "n") || !strcmp(column, "run_id");
}

/* --- for people ------------------------------------------------------------------------------ */

static int print_facts(struct lab *lab, const struct run_row *run)
{
	struct db_statement s;

	ask(&s, lab, sql_facts, run->run_id);
	if (db_step(&s))
		for (int i = 0; i < db_columns(&s); i++)
			if (!db_null(&s, i) && !is_place(db_column_name(&s, i)))
				printf("%-20s %s\n", db_column_name(&s, i),
					!strcmp(db_column_name(&s, i), "dir") ? run->dir :
					!strcmp(db_column_name(&s, i), "state") ? run->state :
					db_text(&s, i));
	return db_finish(&s);
}

static int print_attempts(struct lab *lab, const struct run_row *run)
{
	struct db_statement s;

	ask(&s, lab, sql_attempts, run->run_id);
	while (db_step(&s)) {
		printf("attempt %-12s", db_text(&s, 0));
		for (int i = 1; i < db_columns(&s); i++)
			if (!db_null(&s, i))
				printf(" %s %s", db_column_name(&s, i), db_text(&s, i));
		printf("\n");
	}
	return db_finish(&s);
}

static int print_samples(struct lab *lab, const struct run_row *run)
{
	struct db_statement s;

	ask(&s, lab, sql_samples, run->run_id);
	while (db_step(&s))
		printf("\nsample at step %s:\n%s\n", db_text(&s, 0), db_text(&s, 1));
	return db_finish(&s);
}

static int print_config(struct lab *lab, const struct run_row *run)
{
	struct db_statement s;

	printf("\n");
	ask(&s, lab, sql_config, run->run_id);
	while (db_step(&s))
		printf("%-32s %s\n", db_text(&s, 0), db_null(&s, 1) ? "null" : db_text(&s, 1));
	return db_finish(&s);
}

/* --- for programs ---------------------------------------------------------------------------- */

static json_t *value(const struct db_statement *s, int column)
{
	switch (sqlite3_column_type(s->handle, column)) {
	case SQLITE_INTEGER: return json_integer(db_int(s, column));
	case SQLITE_FLOAT: return json_real(db_real(s, column));
	case SQLITE_NULL: return json_null();
	default: return json_string(db_text(s, column));
	}
}

static json_t *row(const struct db_statement *s)
{
	json_t *object = json_object();

	for (int i = 0; i < db_columns(s); i++)
		if (!is_place(db_column_name(s, i)))
			json_object_set_new(object, db_column_name(s, i), value(s, i));
	return object;
}

static int print_json(struct lab *lab, const struct run_row *run)
{
	json_t *all = NULL, *attempts = json_array(), *samples = json_array(), *config = json_object();
	struct db_statement s;
	int ret;

	ask(&s, lab, sql_facts, run->run_id);
	all = db_step(&s) ? row(&s) : json_object();
	ret = db_finish(&s);
	ask(&s, lab, sql_attempts, run->run_id);
	while (db_step(&s))
		json_array_append_new(attempts, row(&s));
	ret |= db_finish(&s);
	ask(&s, lab, sql_samples, run->run_id);
	while (db_step(&s))
		json_array_append_new(samples, row(&s));
	ret |= db_finish(&s);
	ask(&s, lab, sql_config, run->run_id);
	while (db_step(&s))
		json_object_set_new(config, db_text(&s, 0), value(&s, 1));
	ret |= db_finish(&s);
	json_object_set_new(all, "dir", json_string(run->dir));
	json_object_set_new(all, "state", json_string(run->state));
	json_object_set_new(all, "processes", attempts);
	json_object_set_new(all, "samples", samples);
	json_object_set_new(all, "config", config);
	json_dumpf(all, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(all);
	return ret;
}

/* experts NULL: they are not asked for. */
static int show(struct lab *lab, const struct selection *selection, struct show_experts *experts)
{
	struct run_row run;
	int ret;

	if (query_one(&lab->db, selection, &lab->arena, &run))
		return EXIT_USAGE;
	if (experts) {
		experts->dir = run_model_of_row(&run, &lab->arena);
		return experts->dir ? show_experts(experts) : EXIT_USAGE;
	}
	ret = lab->json ? print_json(lab, &run) : print_facts(lab, &run) ||
		print_attempts(lab, &run) || print_config(lab, &run) || print_samples(lab, &run);
	return ret ? EXIT_ENVIRONMENT : lab_flush();
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	struct show_experts experts = {.lab = &lab, .step = -1, .since = -1};
	bool of_experts = false;
	const struct option_row rows[] = {
		{"json", 0, NULL, "as JSON", .flag = &lab.json}, LAB_DB(lab),
		{"experts", 0, NULL, "tokens that go most often to each expert, and how many choices stay from the "
			"oldest checkpoint that is kept to the newest", .flag = &of_experts},
		{"format", 0, "FORM", "of experts: md, csv, json, latex or html (default md)", .text = &lab.format},
		{"step", 0, "N", "of experts: the newer checkpoint", .number = &experts.step},
		{"since", 0, "N", "of experts: the older checkpoint", .number = &experts.since},
		{"data", 0, "DIR", "of experts: dataset (default the run's)", .text = &experts.data},
		{"tokens", 0, "N", "of experts: to look at (default the run's eval.tokens)", .number = &experts.tokens},
		{0},
	};
	struct arguments a;
	int ret = lab_begin(&lab, &cmd_show, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	struct selection selection = lab_selection(&lab, &a, NULL);
	if (!selection.n) {
		error("show takes one run: " RUN_WORDS);
		ret = EXIT_USAGE;
	} else {
		ret = show(&lab, &selection, of_experts ? &experts : NULL);
	}
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_show = {
	.name = "show",
	.arguments = "RUN [KEY=VALUE...] [--json] [--experts]",
	.help = "all that is known of a run: results, provenance, attempts, config, samples",
	.run = run,
};
