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
#include <zlib.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "store/catalog.h"
#include "store/foreign.h"
#include "store/ingest.h"
#include "message.h"

static char root[256];
static struct arena arena;
static struct db db;

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

static struct foreign_points read_points(struct foreign f)
{
	struct foreign_points p;

	message[0] = '\0';
	if (foreign_read(&f, &p))
		fail_msg("refused: %s", message);
	return p;
}

static double value(const struct foreign_points *p, int i, enum foreign_column c)
{
	assert_in_range(i, 0, p->n - 1);
	return p->at[i][c];
}

static void test_csv(void **state)
{
	struct foreign f = curve_of("a.csv", "\n  \r\n\xef\xbb\xbfit\n");
	struct foreign_points p;

	(void)state;
	refused(f, "a.csv:3:1: no column \"step\"");	/* a mark belongs at the beginning */
	f = curve_of("A.CSV", "\xef\xbb\xbf\r\n \t\r\nit, tokens ,\"val, \"\"x\"\"\" ,note\r\r\n"
		"10,1000, \"2.5\" ,\"a,b\"\r\n,,,\r\n20,2000,,\r\n30,4e3,1.5,NA,,\n");
	f.columns = "step=it,loss=\"val, \"\"x\"\"\"";
	p = read_points(f);
	assert_int_equal(p.n, 2);
	assert_true(value(&p, 0, FOREIGN_STEP) == 10 && value(&p, 0, FOREIGN_LOSS) == 2.5);
	assert_true(value(&p, 1, FOREIGN_TOKENS) == 4000 && value(&p, 1, FOREIGN_LOSS) == 1.5);
	assert_true(isnan(p.at[0][FOREIGN_SECONDS]) && isnan(p.at[0][FOREIGN_TRAIN_LOSS]));
	assert_false(p.diverged);
	free(p.at);
	f = curve_of("a.csv", "step,tokens,val \"x\",loss,loss\n1,2,3.5,9,8\n");
	f.columns = "loss=val \"x\"";	/* two columns that are not asked for may have one name */
	p = read_points(f);
	assert_true(value(&p, 0, FOREIGN_LOSS) == 3.5);
	free(p.at);
}

static void test_json_lines(void **state)
{
	struct foreign f = curve_of("a.NDJSON",
		"\xef\xbb\xbf{\"step\": \"1\", \"train_loss\": 5.5, \"id\": 18446744073709551616}\n"
		"{\"step\": 2, \"train_loss\": null, \"x\": 1e400}\n \n"
		"{\"step\": 3.0, \"train_loss\": \" 5 \", \"loss\": 4.5, \"seconds\": 2, \"n\": [NaN, {}]}\n"
		"{\"lr\": -Infinity, \"text\": \"NaN, 1e400 \\\" \\\\\", \"on\": true}\n");
	struct foreign_points p;

	(void)state;
	refused(f, "a.NDJSON:4:15: train_loss \" 5 \" is no number");
	f = curve_of("a.jsonl", "{\"step\": \"1\", \"train_loss\": \"5.5\"}\n"
		"{\"step\": 3.0, \"train_loss\": 5, \"loss\": 4.5, \"seconds\": 2, \"n\": [NaN, {}]}");
	refused(f, "a.jsonl:1:1: no number of tokens in \"tokens\"");
	f.tokens_per_step = 256;
	p = read_points(f);
	assert_int_equal(p.n, 2);
	assert_true(value(&p, 0, FOREIGN_TRAIN_LOSS) == 5.5);
	assert_true(value(&p, 1, FOREIGN_TOKENS) == 768 && value(&p, 1, FOREIGN_SECONDS) == 2);
	assert_true(value(&p, 1, FOREIGN_LOSS) == 4.5);
	free(p.at);
}

/* As loggers write them: a row is of training or of validation; in turn, or one behind the other. */
static void test_training_and_validation_apart(void **state)
{
	static const char *const texts[] = {
		"epoch,step,train_loss,loss,tokens,seconds\n0,49,2.5,,490,1\n0,49,,2.4,,1.5\n"
		"1,99,2.25,,990,2\n1,120,,2,1200,3\n1,149,2.1,,1490,4\n",
		"epoch,step,train_loss,loss,tokens,seconds\n0,49,2.5,,490,1\n1,99,2.25,,990,2\n"
		"1,149,2.1,,1490,4\n0,49,,2.4,,1.5\n1,120,,2,1200,3\n"};
	static const double step[] = {49, 49, 99, 120, 149}, seconds[] = {1, 1.5, 2, 3, 4};
	struct foreign_points p;
	struct foreign f;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		p = read_points(curve_of("a.csv", texts[i]));
		assert_int_equal(p.n, 5);
		for (int k = 0; k < 5; k++) {
			assert_true(value(&p, k, FOREIGN_STEP) == step[k]);
			assert_true(value(&p, k, FOREIGN_SECONDS) == seconds[k]);
		}
		assert_true(value(&p, 1, FOREIGN_TOKENS) == 490 && value(&p, 1, FOREIGN_LOSS) == 2.4);
		assert_true(isnan(p.at[1][FOREIGN_TRAIN_LOSS]) && isnan(p.at[0][FOREIGN_LOSS]));
		free(p.at);
	}
	f = curve_of("a.jsonl", "{\"loss\": 2.5, \"learning_rate\": 1e-3, \"step\": 500}\n"
		"{\"eval_loss\": 2.25, \"eval_runtime\": 7.5, \"step\": 500}\n"
		"{\"train_runtime\": 1.5, \"total_flos\": 1e30, \"step\": 500}\n");
	f.columns = "train_loss=loss,loss=eval_loss,flops=total_flos";
	f.tokens_per_step = 2;
	p = read_points(f);
	assert_int_equal(p.n, 2);
	assert_true(value(&p, 0, FOREIGN_TRAIN_LOSS) == 2.5 && value(&p, 0, FOREIGN_FLOPS) == 1e30);
	assert_true(value(&p, 1, FOREIGN_LOSS) == 2.25 && value(&p, 1, FOREIGN_TOKENS) == 1000);
	free(p.at);
}

static void test_not_finite_to_the_end_is_diverged(void **state)
{
	static const char *const diverged[] = {"nan", "NaN", "inf", "-Infinity", "-nan"};
	struct foreign_points p;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(diverged); i++) {
		p = read_points(curve_of("a.csv", arena_printf(&arena,
			"step,tokens,loss,train_loss\n1,1,5,4\n2,2,%s,3\n3,3,,2\n", diverged[i])));
		assert_true(p.diverged && p.n == 3);
		assert_true(isinf(p.at[1][FOREIGN_LOSS]) && isnan(p.at[2][FOREIGN_LOSS]));
		free(p.at);
	}
	p = read_points(curve_of("a.jsonl", "{\"step\":0,\"tokens\":0,\"loss\":5.5}\n"
		"{\"step\":5,\"tokens\":10,\"loss\":NaN}\n{\"step\":9,\"tokens\":20,\"loss\":-Infinity}\n"));
	assert_true(p.diverged && p.n == 3 && isinf(p.at[1][FOREIGN_LOSS]));
	free(p.at);
	p = read_points(curve_of("a.csv", "step,tokens,loss\n1,1,5\n2,2,nan\n3,3,inf\n4,4,4\n"));
	assert_true(!p.diverged && p.n == 2);
	assert_non_null(strstr(message, "a.csv:3: loss is not finite, and later it is again: 2 such"));
	free(p.at);
}

static const struct {
	const char *text, *says;
} csv_faults[] = {
	{"epoch,loss\n1,2\n", "a.csv:1:1: no column \"step\""},
	{"\n7,320,4.5\n9,640,4.4\n", "a.csv:2:1: no column \"step\""},
	{"step,tokens,loss,loss\n1,1,2,3\n", "a.csv:1:18: two columns are called \"loss\""},
	{"step,tokens,loss\n1,1,2\n3,3,x2\n", "a.csv:3:5: loss \"x2\" is no number"},
	{"step,tokens,loss\n1,1,0x1p3\n", "a.csv:2:5: loss \"0x1p3\" is no number"},
	{"step,tokens,loss\n5,1,2\n5,3,2\n", "a.csv:3:1: step 5 comes after step 5 of line 2"},
	{"step,tokens,loss\n5.5,1,2\n", "a.csv:2:1: step 5.5: not a whole number"},
	{"step,tokens,loss\nnan,1,2\n", "a.csv:2:1: step is not finite"},
	{"step,tokens,loss\n1,1.5,2\n", "a.csv:2:3: tokens 1.5: not a whole number"},
	{"step,tokens,loss\n-1,1,2\n", "a.csv:2:1: step is negative"},
	{"step,tokens,loss\n1,1,-2\n", "a.csv:2:5: loss is negative"},
	{"step,tokens,loss\n1,1,1e300\n", "a.csv:2:5: loss 1e+300 is beyond float32"},
	{"step,tokens,loss\n,1,2\n", "a.csv:2:1: a loss without a step"},
	{"step,tokens,loss\n1,1,\"2\n", "a.csv:2:5: a quoted cell does not end"},
	{"step,tokens,loss\n1,1,\"2\"3\n", "a.csv:2:5: text behind a quoted cell"},
	{"step,tokens,loss\n1,1,4,5\n", "a.csv:2:7: 4 cells, the line of names has 3"},
	{"step,tokens,loss\n1,1\n", "a.csv:2:3: 2 cells, the line of names has 3"},
	{"step,tokens,loss\n1,1,4.5\r2,2,4\n", "a.csv:2:8: a carriage return within the line"},
	{"step,tokens,loss\n1,128,5\n4,64,4\n", "a.csv:3:3: tokens fall from 128 in line 2 to 64"},
	{"step,tokens,loss,seconds\n1,1,5,2.5\n2,2,4,1.5\n", "a.csv:3:7: seconds fall from 2.5"},
	{"step,tokens,loss,flops\n1,1,5,inf\n", "a.csv:2:7: flops is not finite"},
	{"step,tokens,loss,train_loss\n1,1,5,\n1,2,,5\n", "a.csv:3:3: tokens 2 of step 1: in line 2 it has 1"},
	{"\xff\xfes", "a.csv: UTF-16"},
}, json_faults[] = {
	{"{\"step\": 1\n", "a.jsonl:1:10: no JSON object"},
	{"[1]\n", "a.jsonl:1:1: no JSON object: another value"},
	{"{\"a\": NaN, \"step\": 1 2}\n", "a.jsonl:1:22: no JSON object"},
	{"{\"step\": 1, \"loss\": 1, \"loss\": 2}\n", "no JSON object: duplicate"},
	{"{\"step\": 1, \"loss\": [2]}\n", "a.jsonl:1:13: loss is no number"},
	{"{\"step\": 1, \"loss\": true}\n", "a.jsonl:1:13: loss is no number"},
	{"{\"step\": 1, \"loss\": \"4\\u00005\"}\n", "a.jsonl:1:13: loss is no number"},
	{"{\"loss\": 2}\n", "a.jsonl:1:1: a loss without a step (\"step\")"},
	{"{\"step\":1,\"tokens\":9,\"loss\":2}\n{\"step\":2,\"tokens\":8,\"loss\":2}\n",
		"a.jsonl:2:11: tokens fall from 9 in line 1 to 8"},
};

static void test_faults_name_file_line_and_column(void **state)
{
	struct foreign f = curve_of("a.txt", "step,loss\n");

	(void)state;
	refused(f, "no row has a step");
	f = curve_of("a.csv", "step,loss\n1,2\n");
	f.columns = "loss=absent";
	refused(f, "a.csv:1:1: no column \"absent\"");
	f.columns = "lose=loss";
	refused(f, "column \"lose=loss\"");
	f.columns = "loss=a,loss=b";
	refused(f, "column \"loss\" is named twice");
	f.columns = "loss=\"a";
	refused(f, "the quotes do not end");
	for (size_t i = 0; i < ARRAY_SIZE(csv_faults); i++)
		refused(curve_of("a.csv", csv_faults[i].text), csv_faults[i].says);
	for (size_t i = 0; i < ARRAY_SIZE(json_faults); i++)
		refused(curve_of("a.jsonl", json_faults[i].text), json_faults[i].says);
	assert_int_equal(path_write(f.path, "step,tokens,loss\n0,0,5\n1,2,4\0.5\n", 32), 0);
	f.columns = NULL;
	refused(f, "a.csv:3:6: a NUL byte");
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

/* Each column to its own; a training loss before the first update is no step. */
static void test_every_column(void **state)
{
	struct foreign f = curve_of("a.csv", "step,tokens,seconds,flops,loss,train_loss\n"
		"0,0,0,0,5.5,5.75\n2,100,7,9e9,2.5,2.625\n4,250,15,2e10,NA,2.25\n");
	struct ingest_count count = {0};
	const char *name;

	(void)state;
	f.tokens_per_step = 3;	/* only where no tokens are given */
	assert_int_equal(foreign_import(&f, root, &arena, &name), 0);
	assert_int_equal(ingest_all(&db, root, &count), 0);
	assert_sql("group_concat(step || '/' || tokens || '/' || seconds || '/' || (flops / 1e9) || '/' || ce)"
		" = '2/100/7.0/9.0/2.625,4/250/15.0/20.0/2.25' FROM (SELECT * FROM step ORDER BY step)");
	assert_sql("group_concat(step || '/' || tokens || '/' || seconds || '/' || (flops / 1e9) || '/' || loss)"
		" = '0/0/0.0/0.0/5.5,2/100/7.0/9.0/2.5' FROM (SELECT * FROM eval ORDER BY step)");
	f.sweep = "micro/b";	/* a run belongs to its sweep: this would be another */
	assert_int_equal(foreign_import(&f, root, &arena, &name), -1);
	assert_non_null(strstr(message, "is there already, of the same label and seed"));
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

static void test_diverged_import_has_no_loss(void **state)
{
	struct foreign f = curve_of("a.csv", "step,tokens,loss\n0,0,5\n10,100,2.5\n20,200,nan\n");
	struct ingest_count count = {0};
	const char *name;

	(void)state;
	assert_int_equal(foreign_import(&f, root, &arena, &name), 0);
	assert_non_null(strstr(message, "taken in as diverged"));
	assert_int_equal(ingest_all(&db, root, &count), 0);
	assert_sql("count(*) = 1 AND state = 'diverged' AND steps = 20 AND loss IS NULL FROM runs");
	assert_sql("count(*) = 3 AND count(loss) = 2 FROM curve");
	assert_sql("reason GLOB 'losses are not finite; imported from *' FROM run");
}

/* Neither names with brackets nor labels that begin alike are taken for another curve's. */
static void test_other_labels_are_no_duplicates(void **state)
{
	const char *here = arena_printf(&arena, "%s/r[12]*?", root), *name;
	struct foreign f = curve_of("a.csv", points);

	(void)state;
	f.label = "a-s1-b";
	assert_int_equal(foreign_import(&f, here, &arena, &name), 0);
	f.label = "a";
	assert_int_equal(foreign_import(&f, here, &arena, &name), 0);
	f = curve_of("a.csv", "step,tokens,loss\n1,1,2\n");
	f.label = "a";
	assert_int_equal(foreign_import(&f, here, &arena, &name), -1);
	assert_non_null(strstr(message, "is there already, of the same label and seed"));
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

static void put_gzip(const char *path, const char *text)
{
	gzFile f = gzopen(path, "wb");

	assert_int_equal(gzwrite(f, text, (unsigned)strlen(text)), strlen(text));
	assert_int_equal(gzclose(f), Z_OK);
}

/* What a file is its content says, packed or not; the hash is that of the text. */
static void test_form_and_packing_by_content(void **state)
{
	static const char json[] = "\xef\xbb\xbf\n {\"step\": 1, \"tokens\": 2, \"loss\": 2.5}\n";
	struct foreign f = curve_of("a.csv", points);
	struct foreign_points plain = read_points(f), packed;

	(void)state;
	f.path = arena_printf(&arena, "%s/a.csv.gz", root);
	put_gzip(f.path, points);
	packed = read_points(f);
	assert_true(packed.n == 3 && packed.at[2][FOREIGN_LOSS] == 2.25);
	assert_string_equal(packed.hash, plain.hash);
	free(packed.at);
	put_gzip(f.path, json);
	packed = read_points(f);
	assert_true(packed.n == 1 && packed.at[0][FOREIGN_LOSS] == 2.5);
	free(packed.at);
	f = curve_of("a.dat", json);
	packed = read_points(f);
	assert_int_equal(packed.n, 1);
	free(packed.at);
	free(plain.at);
	refused(curve_of("a.jsonl", "step,tokens,loss\n"), "a.jsonl:1:4: no JSON object");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_csv, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_json_lines, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_faults_name_file_line_and_column, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_form_and_packing_by_content, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_import_is_a_run_that_is_done, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_every_column, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_training_and_validation_apart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_finite_to_the_end_is_diverged, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_diverged_import_has_no_loss, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_other_labels_are_no_duplicates, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_names_are_names_of_folders, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_foreign_runs_stay_in_their_sweep, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
