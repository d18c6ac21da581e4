/* moelab export FORM RUN...: what runs measured, for other programs. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "cmd/lab.h"
#include "store/tfevents.h"

extern const struct cmd cmd_export;

/* One row a step; columns of an evaluation are there where it was one. Tags of TensorBoard are the
   names with a slash for the first underscore. */
static const char sql_rows[] =
	"SELECT n.step, coalesce(s.tokens, v.tokens) AS tokens, "
	"coalesce(s.seconds, v.seconds) AS seconds, "
	"coalesce(s.flops, v.flops) AS flops, s.ce AS train_loss, s.aux AS train_aux, "
	"s.balance AS train_balance, s.z AS train_z, s.lr AS train_lr, "
	"s.grad_norm AS train_grad_norm, s.clipped AS train_clipped, "
	"s.tokens_per_s AS train_tokens_per_s, s.\"drop\" AS train_drop, "
	"v.loss AS val_loss, v.bpb AS val_bpb, v.accuracy AS val_accuracy, "
	"v.loss_bigram AS val_loss_bigram, v.\"drop\" AS val_drop, d.loss AS dropless_loss "
	"FROM (SELECT step FROM step WHERE run_id = :run "
	"UNION SELECT step FROM eval WHERE run_id = :run) n "
	"LEFT JOIN step s ON s.run_id = :run AND s.step = n.step "
	"LEFT JOIN eval v ON v.run_id = :run AND v.kind = 'val' AND v.step = n.step "
	"LEFT JOIN eval d ON d.run_id = :run AND d.kind = 'val_dropless' AND d.step = n.step "
	"ORDER BY n.step";
enum { COLUMN_SECONDS = 2, FIRST_MEASURE = 4 };

struct form {
	const char *name;
	int (*run)(
		struct db_statement *s, const struct run_row *run, const char *folder, bool first);
};

/* --- csv ------------------------------------------------------------------------------------- */

/* Labels hold no quote and no line feed: they are names of folders. */
static int put_csv(
	struct db_statement *s, const struct run_row *run, const char *folder, bool first)
{
	(void)folder;
	if (first) {
		printf("label,seed,run");
		for (int i = 0; i < db_columns(s); i++)
			printf(",%s", db_column_name(s, i));
		printf("\n");
	}
	while (db_step(s)) {
		printf("\"%s\",%ld,%.8s", run->label, run->seed, run->identity);
		for (int i = 0; i < db_columns(s); i++)
			printf(",%s", db_null(s, i) ? "" : db_text(s, i));
		printf("\n");
	}
	return 0;
}

/* --- json lines ------------------------------------------------------------------------------ */

static int put_jsonl(struct db_statement *s, const struct run_row *run, const char *folder,
	bool first)
{
	(void)folder, (void)first;
	while (db_step(s)) {
		json_t *row = json_pack("{s:s, s:I, s:s}", "label", run->label, "seed",
			(json_int_t)run->seed, "run", run->identity);
		for (int i = 0; i < db_columns(s); i++)
			if (sqlite3_column_type(s->handle, i) == SQLITE_INTEGER)
				json_object_set_new(
					row, db_column_name(s, i), json_integer(db_int(s, i)));
			else if (!db_null(s, i))
				json_object_set_new(
					row, db_column_name(s, i), json_real(db_real(s, i)));
		json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
		printf("\n");
		json_decref(row);
	}
	return 0;
}

/* --- TensorBoard ----------------------------------------------------------------------------- */

static const char *tag_of(const char *column, char *tag, size_t size)
{
	char *underscore;

	snprintf(tag, size, "%s", column);
	underscore = strchr(tag, '_');
	if (underscore)
		*underscore = '/';
	return tag;
}

/* Wall time is the seconds of training: runs lie over each other, whenever they ran. */
static int put_events(struct db_statement *s, const struct run_row *run, const char *folder,
	bool first)
{
	char *own = path_join(folder, path_name(run->dir)), tag[64];
	FILE *f = tfevents_open(own, 0);
	int ret = -1;

	(void)first;
	while (f && db_step(s))
		for (int i = FIRST_MEASURE; i < db_columns(s); i++)
			if (!db_null(s, i))
				tfevents_scalar(f, db_real(s, COLUMN_SECONDS), db_int(s, 0),
					tag_of(db_column_name(s, i), tag, sizeof tag),
					db_real(s, i));
	if (f)
		ret = tfevents_close(f, own);
	free(own);
	return ret;
}

static const struct form forms[] = {
	{"csv", put_csv}, {"jsonl", put_jsonl}, {"tensorboard", put_events},
};

static const struct form *form_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		if (!strcmp(forms[i].name, name))
			return &forms[i];
	error("no form \"%s\": runs are exported as csv, jsonl or tensorboard", name);
	return NULL;
}

static int put_all(struct lab *lab, const struct form *form, const struct selection *selection,
	const char *folder)
{
	struct db_statement s;
	struct run_row *runs;
	int n, ret = 0;

	if (query_select(&lab->db, selection, &lab->arena, &runs, &n))
		return EXIT_USAGE;
	if (!n)
		return error("no run matches; `moelab ls` lists them"), EXIT_USAGE;
	db_prepare(&s, &lab->db, sql_rows);
	for (int i = 0; i < n && !ret; i++) {
		db_bind_int(&s, ":run", runs[i].run_id);
		ret = form->run(&s, &runs[i], folder, i == 0);
		db_reset(&s);
	}
	return db_finish(&s) || ret ? EXIT_ENVIRONMENT : lab_flush();
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const char *folder = NULL, *where = NULL;
	const struct option_row rows[] = {
		{"output", 'o', "DIR", "folder for tensorboard (default tensorboard)",
			.text = &folder},
		{"where", 0, "SQL", "condition on columns of the view `runs`", .text = &where},
		LAB_DB(lab),
		{0},
	};
	const struct form *form;
	struct arguments a;
	int ret = lab_begin(&lab, &cmd_export, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	ret = EXIT_USAGE;
	if (!a.n_words) {
		error("export takes a form (csv, jsonl, tensorboard) and runs");
	} else if ((form = form_find(a.words[0])) && folder && form->run != put_events) {
		error("export %s writes to standard output: -o is for tensorboard", form->name);
	} else if (form) {
		struct arguments rest = a;
		rest.words++;
		rest.n_words--;
		struct selection selection = lab_selection(&lab, &rest, where);
		ret = put_all(&lab, form, &selection, folder ? folder : "tensorboard");
	}
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_export = {
	.name = "export",
	.arguments = "csv|jsonl|tensorboard [RUN...] [-o DIR]",
	.help = "what runs measured at each step, for other programs",
	.run = run,
};
