/* moelab diff A B: in what two runs differ. */
#include "cmd/diff.h"

#include <stdio.h>

extern const struct cmd cmd_diff;

/* Every statement gives (what, in A, in B) of the runs :a and :b, differing rows only. */
static const char sql_config[] =
	"SELECT k.key, a.value, b.value FROM "
	"(SELECT DISTINCT key FROM param WHERE run_id IN (:a, :b)) k "
	"LEFT JOIN param a ON a.run_id = :a AND a.key = k.key "
	"LEFT JOIN param b ON b.run_id = :b AND b.key = k.key "
	"WHERE a.value IS NOT b.value ORDER BY k.key";

/* Facts and results: columns of the view `runs`. */
static const char *const columns[] = {"state", "data_hash", "tokenizer", "semantics",
	"params_total", "params_active", "flops_per_token", "windows", "host", "device", "threads",
	"jobs", "blas", "blas_core", "cpu", "git", "build", "step", "tokens", "seconds", "flops",
	"train_loss", "loss", "loss_dropless", "bpb", "accuracy", "drop", "tokens_per_s"};

static void add_row(struct grid *g, const char *kind, const struct db_statement *s)
{
	const char *a = db_text(s, 1), *b = db_text(s, 2);

	grid_row(g);
	grid_text(g, "%s", kind);
	grid_text(g, "%s", db_text(s, 0));
	grid_text(g, "%s", a ? a : "");
	grid_text(g, "%s", b ? b : "");
}

static int add_rows(struct lab *lab, const char *kind, const char *sql, const struct run_row *ab,
	struct grid *g)
{
	struct db_statement s;

	db_prepare(&s, &lab->db, sql);
	db_bind_int(&s, ":a", ab[0].run_id);
	db_bind_int(&s, ":b", ab[1].run_id);
	while (db_step(&s))
		add_row(g, kind, &s);
	return db_finish(&s);
}

static int add_column(struct lab *lab, const char *name, const struct run_row *ab, struct grid *g)
{
	const char *sql = arena_printf(&lab->arena,
		"SELECT '%s', a.\"%s\", b.\"%s\" FROM runs a, runs b WHERE a.run_id = :a "
		"AND b.run_id = :b AND a.\"%s\" IS NOT b.\"%s\" LIMIT 1",
		name, name, name, name, name);

	return add_rows(lab, "run", sql, ab, g);
}

static int add_columns(struct lab *lab, const struct run_row *ab, struct grid *g)
{
	for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
		if (add_column(lab, columns[i], ab, g))
			return -1;
	return 0;
}

int diff_runs(struct lab *lab, const struct arguments *a, struct run_row *ab)
{
	struct selection two = lab_selection(lab, a, NULL);

	if (two.n != 2)
		return error("this takes two runs");
	for (int i = 0; i < 2; i++) {
		struct selection one = {.selectors = &two.selectors[i], .n = 1};
		if (query_one(&lab->db, &one, &lab->arena, &ab[i]))
			return -1;
	}
	return 0;
}

void diff_begin(struct lab *lab, const struct run_row *ab, struct grid *g)
{
	grid_init(g, "diff");
	grid_column(g, "kind", "", COLUMN_TEXT);
	grid_column(g, "key", "key", COLUMN_TEXT);
	for (int i = 0; i < 2; i++)
		grid_column(g, i ? "b" : "a",
			arena_printf(&lab->arena, "%s s%ld %.8s", ab[i].label, ab[i].seed,
				ab[i].identity),
			COLUMN_TEXT);
}

int diff_config(struct lab *lab, const struct run_row *ab, struct grid *g)
{
	return add_rows(lab, "config", sql_config, ab, g) || add_column(lab, "precision", ab, g) ? -1 : 0;
}

static int compare(struct lab *lab, const struct arguments *a)
{
	struct run_row ab[2];
	struct grid g;

	if (diff_runs(lab, a, ab))
		return EXIT_USAGE;
	diff_begin(lab, ab, &g);
	if (diff_config(lab, ab, &g) || add_columns(lab, ab, &g)) {
		grid_release(&g);
		return EXIT_ENVIRONMENT;
	}
	return lab_print(lab, &g);
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const struct option_row rows[] = {LAB_FORM(lab), LAB_DB(lab), {0}};
	struct arguments a;
	int ret = lab_begin(&lab, &cmd_diff, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	ret = compare(&lab, &a);
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_diff = {
	.name = "diff",
	.arguments = "RUN RUN",
	.help = "in what two runs differ: config, provenance, results",
	.run = run,
};
