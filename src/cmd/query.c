/* moelab query SQL: a question to the database, read-only. */
#include <math.h>
#include <string.h>

#include "cmd/lab.h"

extern const struct cmd cmd_query;

/* A column is one of numbers if all its values are. */
static void add_columns(struct grid *g, struct db_statement *s, bool *number)
{
	int n = db_columns(s), n_rows = 0;

	for (; db_step(s); n_rows++)
		for (int i = 0; i < n; i++) {
			int type = sqlite3_column_type(s->handle, i);
			number[i] &= type == SQLITE_INTEGER || type == SQLITE_FLOAT ||
				     type == SQLITE_NULL;
		}
	db_reset(s);
	for (int i = 0; i < n; i++) {
		number[i] &= n_rows > 0;
		grid_column(g, db_column_name(s, i), db_column_name(s, i),
			number[i] ? COLUMN_NUMBER : COLUMN_TEXT);
	}
}

/* SQLite prepares the first of several statements, and of an empty text none. */
static int check_single(const struct db_statement *s, const char *sql)
{
	const char *rest = s->handle ? sql + strlen(sqlite3_sql(s->handle)) : "";

	if (s->failed)
		return -1;
	if (!s->handle)
		return error("query: there is no SQL statement in \"%s\"", sql);
	rest += strspn(rest, "; \t\r\n");
	if (*rest)
		return error("query takes one SQL statement; behind it stands: %s", rest);
	return 0;
}

static int fill(struct lab *lab, const char *sql, struct grid *g)
{
	struct db_statement s;
	bool *number;

	db_prepare(&s, &lab->db, sql);
	if (check_single(&s, sql)) {
		db_finish(&s);
		return -1;
	}
	number = ARENA_ARRAY(&lab->arena, bool, db_columns(&s));
	memset(number, true, (size_t)db_columns(&s));
	add_columns(g, &s, number);
	while (db_step(&s)) {
		grid_row(g);
		for (int i = 0; i < db_columns(&s); i++) {
			/* First the number: asking for the text converts it. */
			double value = number[i] ? db_real(&s, i) : NAN;
			const char *text = db_text(&s, i);
			if (number[i])
				grid_number(g, value, "%s", text ? text : "");
			else
				grid_text(g, "%s", text ? text : "");
		}
	}
	return db_finish(&s);
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const struct option_row rows[] = {LAB_FORM(lab), LAB_DB(lab), {0}};
	struct arguments a;
	struct grid g;
	int ret = lab_begin(&lab, &cmd_query, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words + a.n_overrides != 1) {
		error("query takes one SQL statement, in quotes");
		ret = EXIT_USAGE;
	} else {
		grid_init(&g, "query");
		if (fill(&lab, a.n_words ? a.words[0] : a.overrides[0], &g)) {
			grid_release(&g);
			ret = EXIT_USAGE;
		} else {
			ret = lab_print(&lab, &g);
		}
	}
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_query = {
	.name = "query",
	.arguments = "\"SQL\" [--format md|csv|json|latex|html]",
	.help = "ask the database, read-only; views runs and curve are its public interface",
	.run = run,
};
