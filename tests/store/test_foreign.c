/* Foreign curves: read as they come, run directories that are done, members that stay. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "store/catalog.h"
#include "store/foreign.h"
#include "store/ingest.h"

static char root[256], message[4096];
static struct arena arena;
static struct db db;

static void keep_message(const char *line)
{
	snprintf(message, sizeof message, "%s", line);
}

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(path_tmp_folder(root, sizeof root, "test"), 0);
	message[0] = '\0';
	error_sink = keep_message;
	return db_open(&db, arena_printf(&arena, "%s/lab.db", root), DB_WRITE);
}

static int tear_down(void **state)
{
	(void)state;
	error_sink = NULL;
	db_close(&db);
	arena_release(&arena);
	return path_remove_tree(root);
}

static void assert_sql(const char *condition)
{
	if (db_value(&db, arena_printf(&arena, "SELECT %s", condition), -1) != 1)
		fail_msg("not so: %s %s", condition, message);
}

static struct foreign curve_of(const char *name, const char *text)
{
	struct foreign f = {.path = arena_printf(&arena, "%s/%s", root, name), .label = "torch",
		.sweep = "micro/a", .seed = 1};

	assert_int_equal(path_write(f.path, text, strlen(text)), 0);
	return f;
}

static void refused(struct foreign f, const char *text)
{
	struct foreign_points p;

	message[0] = '\0';
	assert_int_equal(foreign_read(&f, &p), -1);
	free(p.at);
	if (!strstr(message, text))
		fail_msg("no \"%s\" in: %s", text, message);
}

static void test_csv(void **state)
{
	struct foreign f = curve_of("a.csv",
		"\xef\xbb\xbfstep,\"val, loss \"\"x\"\"\",tokens,note\r\n"
		"10,\"2.5\",1000,\"a,b\"\r\n\r\n20,,2000,\r\n30,nan,3000,\r\n40,1.5,4e3");
	struct foreign_points p;

	(void)state;
	f.columns = "loss=val, loss \"x\"";
	refused(f, "column \" loss \"x\"\"");	/* commas part names */
	f = curve_of("a.csv", "it,tokens,\"val \"\"x\"\"\"\r\n10,1000,\"2.5\"\r\n\r\n20,2000,\r\n"
		"30,3000,nan\r\n40,4e3,1.5");
	f.columns = "step=it,loss=val \"x\"";
	assert_int_equal(foreign_read(&f, &p), 0);
	assert_int_equal(p.n, 2);
	assert_true(p.at[0][FOREIGN_STEP] == 10 && p.at[0][FOREIGN_LOSS] == 2.5);
	assert_true(p.at[1][FOREIGN_TOKENS] == 4000 && p.at[1][FOREIGN_LOSS] == 1.5);
	assert_true(isnan(p.at[0][FOREIGN_SECONDS]) && isnan(p.at[0][FOREIGN_TRAIN_LOSS]));
	free(p.at);
}

static void test_json_lines(void **state)
{
	struct foreign f = curve_of("a.jsonl",
		"{\"step\": 1, \"train_loss\": 5.5}\n{\"step\": 2, \"train_loss\": null}\n"
		"{\"step\": 3, \"train_loss\": 5, \"loss\": 4.5, \"seconds\": 2}\n{\"lr\": 1}\n");
	struct foreign_points p;

	(void)state;
	refused(f, "a.jsonl:1:1: no number of tokens in \"tokens\"");
	f.tokens_per_step = 256;
	assert_int_equal(foreign_read(&f, &p), 0);
	assert_int_equal(p.n, 2);
	assert_true(p.at[1][FOREIGN_TOKENS] == 768 && p.at[1][FOREIGN_SECONDS] == 2);
	free(p.at);
}

static void test_faults_name_file_and_line(void **state)
{
	struct foreign f = curve_of("a.txt", "step,loss\n");

	(void)state;
	refused(f, "Say --csv or --jsonl");
	f.form = FOREIGN_CSV;
	refused(f, "no row has a step");
	refused(curve_of("a.csv", "epoch,loss\n1,2\n"), "a.csv:1:1: no column \"step\"");
	refused(curve_of("a.csv", "step,tokens,loss\n1,1,2\n3,3,x2\n"), "a.csv:3:1: loss \"x2\"");
	refused(curve_of("a.csv", "step,tokens,loss\n5,1,2\n5,3,2\n"), "step 5 comes after step 5");
	refused(curve_of("a.csv", "step,tokens,loss\n5.5,1,2\n"), "not a whole number");
	refused(curve_of("a.csv", "step,tokens,loss\n5,1,\"2\n"), "a.csv:2:1: a quoted cell");
	refused(curve_of("a.jsonl", "{\"step\": 1\n"), "a.jsonl:1:1: no JSON object");
	refused(curve_of("a.jsonl", "[1]\n"), "a.jsonl:1:1: no JSON object: another value");
	f = curve_of("a.csv", "step,loss\n1,2\n");
	f.columns = "loss=absent";
	refused(f, "no column \"absent\"");
	f.columns = "lose=loss";
	refused(f, "column \"lose=loss\"");
}

static const char points[] = "step,tokens,loss,train_loss\n0,0,5.5,\n10,100,2.5,2.6\n20,200,2.25,2.3\n";

static void test_import_is_a_run_that_is_done(void **state)
{
	struct foreign f = curve_of("a.csv", points);
	struct ingest_count count = {0};
	struct run_status status;
	const char *name, *again;

	(void)state;
	f.variant = "other";
	assert_int_equal(foreign_import(&f, root, &arena, &name), 0);
	assert_int_equal(foreign_import(&f, root, &arena, &again), 0);
	assert_string_equal(name, again);
	run_dir_status(arena_printf(&arena, "%s/runs/%s", root, name), &arena, &status);
	assert_int_equal(status.state, RUN_DONE);
	for (int i = 0; i < 2; i++)
		assert_int_equal(ingest_all(&db, root, &count), 0);
	assert_sql("count(*) = 1 AND sweep = 'micro/a' AND label = 'torch' AND variant = 'other' "
		"AND seed = 1 AND state = 'done' AND loss = 2.25 AND train_loss = 2.3 "
		"AND steps = 20 AND attempts IS NULL FROM runs");
	assert_sql("count(*) = 3 FROM curve WHERE kind = 'val'");
	assert_sql("value GLOB '*/a.csv' FROM param WHERE key = 'foreign'");
	assert_sql("length(value) = 32 FROM param WHERE key = 'foreign_hash'");
	assert_sql("config GLOB '*foreign*' FROM run");

	f = curve_of("a.csv", "step,tokens,loss\n1,1,2\n");
	assert_int_equal(foreign_import(&f, root, &arena, &again), -1);
	assert_non_null(strstr(message, "is there already, of the same label and seed"));
	f.seed = 2;
	assert_int_equal(foreign_import(&f, root, &arena, &again), 0);
}

static void test_names_are_names_of_folders(void **state)
{
	static const char *const bad[] = {"", "a/b", "../a", "a*", ".a", "a b"};
	struct foreign f = curve_of("a.csv", points);
	const char *name;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		f.label = bad[i];
		assert_int_equal(foreign_import(&f, root, &arena, &name), -1);
		assert_non_null(strstr(message, "becomes the name of a folder"));
	}
	f.label = "a";
	f.sweep = "../../a";
	assert_int_equal(foreign_import(&f, root, &arena, &name), -1);
}

/* `run` states anew what a sweep consists of; the foreign run is none of that, and stays. */
static void test_foreign_runs_stay_in_their_sweep(void **state)
{
	struct foreign f = curve_of("a.csv", points);
	struct ingest_count count = {0};
	json_t *sweep = json_loads("{\"name\":\"micro/a\",\"runs\":[{\"run\":\"aaaa\",\"dir\":\"m-s1-aaaa\","
		"\"label\":\"m\",\"variant\":\"m\",\"seed\":1,\"steps\":20,\"axes\":[]}]}", 0, NULL);
	const char *name;

	(void)state;
	assert_int_equal(foreign_import(&f, root, &arena, &name), 0);
	assert_int_equal(ingest_run(&db, root, name, &count), 0);
	assert_int_equal(catalog_add_sweep(&db, root, sweep), 0);
	assert_int_equal(catalog_add_sweep(&db, root, sweep), 0);
	assert_sql("group_concat(label) IN ('m,torch', 'torch,m') FROM runs WHERE sweep = 'micro/a'");
	json_decref(sweep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_csv, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_json_lines, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_faults_name_file_and_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_import_is_a_run_that_is_done, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_names_are_names_of_folders, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_foreign_runs_stay_in_their_sweep, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
