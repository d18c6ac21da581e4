/* Records: line, struct, row. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "store/record.h"

static char folder[256];
static struct db db;
static struct arena arena;

static int set_up(void **state)
{
	char path[384];

	(void)state;
	assert_int_equal(path_tmp_folder(folder, sizeof folder, "test"), 0);
	snprintf(path, sizeof path, "%s/lab.db", folder);
	assert_int_equal(db_open(&db, path, DB_WRITE), 0);
	return db_exec(&db, "INSERT INTO run(run_id, identity, dir, label, seed) "
		"VALUES (1, 'i', 'd', 'l', 1)");
}

static int tear_down(void **state)
{
	(void)state;
	db_close(&db);
	arena_release(&arena);
	return path_remove_tree(folder);
}

static bool parse(struct record *r, const char *line)
{
	return record_parse(r, line, strlen(line), &arena);
}

static void store(const char *line)
{
	struct recorder recorder;
	struct record r;

	assert_true(parse(&r, line));
	recorder_open(&recorder, &db);
	recorder_add(&recorder, 1, &r);
	assert_int_equal(recorder_close(&recorder), 0);
}

static void assert_sql(const char *condition)
{
	char *sql = xasprintf("SELECT %s", condition);

	if (db_value(&db, sql, -1) != 1)
		fail_msg("not so: %s", condition);
	free(sql);
}

static const char step_line[] =
	"{\"t\":\"step\",\"step\":7,\"tokens\":28672,\"seconds\":0.5,\"flops\":1.25e+12,"
	"\"ce\":5.53999996,\"aux\":0.0109999999,\"balance\":1.01999998,\"z\":null,\"lr\":1e-05,"
	"\"grad_norm\":2.0999999,\"clipped\":1,\"tokens_per_s\":9990,\"drop\":null}\n";

/* What is written reads back, and every float comes back to the bit. */
static void test_step_there_and_back(void **state)
{
	struct record r = record_new(RECORD_IS_STEP), back;
	struct str line;

	(void)state;
	r.step = (struct step_record){.step = 7,
		.tokens = 28672,
		.seconds = 0.5,
		.flops = 1.25e12,
		.ce = 5.54f,
		.aux = 0.011f,
		.balance = 1.02f,
		.z = NAN,
		.lr = 1e-5,
		.grad_norm = 2.1f,
		.clipped = 1,
		.tokens_per_s = 9990,
		.drop = INFINITY};
	str_init(&line);
	record_write(&r, &line);
	assert_string_equal(line.text, step_line);
	assert_true(parse(&back, line.text));
	assert_int_equal(back.type, RECORD_IS_STEP);
	assert_true((float)back.step.ce == 5.54f && (float)back.step.aux == 0.011f);
	assert_true(back.step.tokens == 28672 && back.step.flops == 1.25e12);
	assert_true(isnan(back.step.z) && isnan(back.step.drop));
	str_release(&line);
}

static void test_absent_fields(void **state)
{
	struct record r = record_new(RECORD_IS_EVAL), back;
	struct str line;

	(void)state;
	r.eval.kind = "val";
	r.eval.step = 3;
	str_init(&line);
	record_write(&r, &line);
	assert_true(parse(&back, line.text));
	assert_true(back.eval.tokens == RECORD_NONE && isnan(back.eval.loss) && !back.eval.windows);
	store(line.text);
	assert_sql("tokens IS NULL AND loss IS NULL AND windows IS NULL FROM eval");
	str_release(&line);
}

/* Text of any kind survives, or becomes readable; a line is one line. */
static void test_text(void **state)
{
	static const char odd[] = "quote \" slash \\ line\nfeed\ttab \x01\x0f\x10\x1b\x1f \xc3\xa4";
	struct record r = record_new(RECORD_IS_EVENT), back;
	struct str line;

	(void)state;
	r.event = (struct event_record){.kind = "warning", .step = 0, .wall = "w", .text = odd};
	str_init(&line);
	record_write(&r, &line);
	assert_ptr_equal(strchr(line.text, '\n'), line.text + line.length - 1);
	assert_true(parse(&back, line.text));
	assert_string_equal(back.event.text, odd);
	str_clear(&line);
	r.event.text = "bad \xff byte";
	record_write(&r, &line);
	assert_true(parse(&back, line.text));
	assert_string_equal(back.event.text, "bad ? byte");
	str_release(&line);
}

static void test_no_records(void **state)
{
	static const char *const lines[] = {"", "\n", "{", "[]", "7",
		"{\"t\":\"other\",\"step\":1}", "{\"step\":1}", "{\"t\":\"step\"}",
		"{\"t\":\"step\",\"step\":null}", "{\"t\":\"step\",\"step\":\"1\"}",
		"{\"t\":\"eval\",\"step\":1}", "{\"t\":\"eval\",\"kind\":\"val\",\"loss\":1}",
		"{\"t\":\"expert\",\"step\":1,\"load\":[]}",
		"{\"t\":\"slice\",\"kind\":\"val\",\"step\":1,\"by\":\"position\",\"low\":3}",
		"{\"t\":\"recall\",\"step\":1,\"accuracy\":1}",
		"{\"t\":\"calibration\",\"seconds_per_step\":0,\"measured\":\"2026\"}",
		"{\"t\":\"mix\",\"step\":1,\"share\":0.5}", "{\"t\":\"state\",\"step\":1}",
		"{\"t\":\"group\",\"step\":1}", "{\"t\":\"event\",\"kind\":\"start\",\"step\":1}",
		"{\"t\":7}"};
	struct record r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if (parse(&r, lines[i]))
			fail_msg("taken for a record: %s", lines[i]);
	/* Torn anywhere, it is no record. */
	for (size_t n = 0; n < strlen(step_line) - 2; n++)
		assert_false(record_parse(&r, step_line, n, &arena));
	/* A newer writer's key is skipped. */
	assert_true(parse(&r, "{\"t\":\"step\",\"step\":1,\"colour\":\"red\",\"ce\":2}"));
	assert_true(r.step.ce == 2);
	/* As other writers have it: whole numbers with a point, numbers that are none. */
	assert_true(parse(&r, "{\"t\":\"expert\",\"step\":1e3,\"router\":2.0,\"load\":[0.5,null]}"));
	assert_true(r.expert.step == 1000 && r.expert.router == 2);
	assert_true(r.expert.load.n == 2 && r.expert.load.at[0] == 0.5f && isnan(r.expert.load.at[1]));
}

/* The views tell of each run how far it is itself: the second is longer, of two attempts, and in a sweep. */
static void test_views(void **state)
{
	(void)state;
	store("{\"t\":\"step\",\"step\":7,\"tokens\":70,\"seconds\":2}");
	store("{\"t\":\"eval\",\"kind\":\"val\",\"step\":5,\"loss\":2.5}");
	assert_int_equal(db_exec(&db, "INSERT INTO run(run_id, identity, dir, label, seed) VALUES (2, 'j', 'e', 'm', 1); "
		"INSERT INTO sweep(sweep_id, name) VALUES (1, 's'); "
		"INSERT INTO member(sweep_id, run_id, label, variant, n) VALUES (1, 2, 'm-k=1', 'm', 1); "
		"INSERT INTO attempt(run_id, n, started, host) VALUES (2, 1, '2025', 'first'), (2, 2, '2026', 'second'); "
		"INSERT INTO step(run_id, step, tokens, seconds) VALUES (2, 7, 70, 1), (2, 30, 300, 10); "
		"INSERT INTO eval(run_id, kind, step, loss) VALUES (2, 'val', 7, 4), (2, 'val', 20, 3), "
		"(2, 'val_dropless', 20, 5), (2, 'val_dropless', 30, 1)"), 0);
	assert_sql("count(*) = 2 FROM runs");
	assert_sql("step = 7 AND tokens = 70 AND tokens_per_s = 35 AND loss = 2.5 AND loss_step = 5 AND sweep IS NULL AND "
		"loss_dropless IS NULL FROM runs WHERE run_id = 1");
	assert_sql("step = 30 AND tokens = 300 AND tokens_per_s = 30 AND loss = 3 AND loss_step = 20 AND loss_dropless = 1 "
		"AND sweep = 's' AND label = 'm-k=1' AND attempts = 2 AND host = 'second' FROM runs WHERE run_id = 2");
	assert_sql("count(*) = 6 AND min(loss) = 1 FROM curve WHERE run_id = 2");
	assert_sql("count(*) = 2 FROM curve WHERE run_id = 1");
}

/* Told again: the later record of a step stands; events and attempts are not doubled. */
static void test_again(void **state)
{
	(void)state;
	assert_int_equal(db_exec(&db, "INSERT INTO run(run_id, identity, dir, label, seed) VALUES (2, 'j', 'e', 'm', 1); "
		"INSERT INTO attempt(run_id, n, started) VALUES (2, 1, '2025')"), 0);
	for (int i = 0; i < 2; i++) {
		store(step_line);
		store("{\"t\":\"eval\",\"kind\":\"val\",\"step\":7,\"loss\":2.5}");
		store("{\"t\":\"slice\",\"kind\":\"val\",\"step\":7,\"by\":\"position\",\"low\":3,"
			"\"high\":4,\"loss\":2.25,\"n_tokens\":64}");
		store("{\"t\":\"recall\",\"test\":\"64x4\",\"step\":7,\"length\":64,\"items\":4,"
			"\"accuracy\":0.75,\"answer_accuracy\":0.5,\"n_tokens\":12,\"n_answers\":6,"
			"\"mae\":0.125,\"majority\":0.25,\"last_mse\":1,\"last_mae\":2,\"season_mse\":3,"
			"\"season_mae\":4}");
		store("{\"t\":\"calibration\",\"seconds_per_step\":0.5,\"measured\":\"2026\","
			"\"host\":\"h\",\"threads\":2,\"busy\":0.01}");
		store("{\"t\":\"expert\",\"step\":7,\"router\":1,\"load\":[0.25,0.75],\"dead\":0,"
			"\"entropy\":0.6,\"drop\":0.01,\"choices\":1.5,\"width\":0.75}");
		store("{\"t\":\"mix\",\"step\":7,\"mix\":1,\"share\":0.625,\"spread\":0.125}");
		store("{\"t\":\"state\",\"step\":7,\"state\":\"layers.1.moe.router.bias\",\"least\":-0.5,"
			"\"mean\":0,\"most\":0.25}");
		store("{\"t\":\"group\",\"step\":7,\"group\":\"mixer\",\"grad_norm\":1,"
			"\"update_ratio\":0.001,\"weight_norm\":20}");
		store("{\"t\":\"event\",\"kind\":\"start\",\"step\":0,\"wall\":\"w\",\"text\":\"\"}");
		store("{\"t\":\"attempt\",\"run\":\"i\",\"started\":\"2026\",\"pid\":9,\"boot_id\":\"b\","
		      "\"start_time\":5,\"arch\":\"mamba\",\"semantics\":{\"scan\":2},\"vocab\":257,"
		      "\"parts\":{\"moe\":{\"params\":8,\"active\":2,\"flops\":12.5},\"norm\":{\"params\":1}}}");
	}
	/* Of another form than ours: no parts of it, and no error. */
	store("{\"t\":\"attempt\",\"run\":\"i\",\"started\":\"2026\",\"pid\":10,\"boot_id\":\"b\","
		"\"start_time\":5,\"arch\":\"mamba\",\"semantics\":{\"scan\":2},\"vocab\":257,\"parts\":[1]}");
	assert_sql("count(*) = 2 AND sum(params) = 9 AND sum(active) = 2 AND sum(flops) = 12.5 FROM part");
	assert_sql("count(*) = 2 AND min(n) = 1 AND max(n) = 2 FROM attempt WHERE run_id = 1");
	assert_int_equal(db_exec(&db, "DELETE FROM attempt WHERE pid = 10 OR run_id = 2"), 0);
	store("{\"t\":\"step\",\"step\":7,\"ce\":4}");
	store("{\"t\":\"exit\",\"pid\":9,\"ended\":\"2027\",\"exit_code\":75,\"exit_signal\":null}");
	assert_sql("count(*) = 1 AND min(ce) = 4 FROM step");
	assert_sql("count(*) = 1 AND min(loss) = 2.5 FROM eval");
	assert_sql("count(*) = 1 AND min(low) = 3 AND min(high) = 4 AND min(loss) = 2.25 AND "
		"min(n_tokens) = 64 AND min(\"by\") = 'position' FROM slice");
	assert_sql("count(*) = 1 AND min(test) = '64x4' AND min(length) = 64 AND min(items) = 4 AND "
		"min(accuracy) = 0.75 AND min(answer_accuracy) = 0.5 AND min(n_tokens) = 12 AND "
		"min(n_answers) = 6 AND max(loss) IS NULL AND min(mae) = 0.125 AND min(majority) = 0.25 AND "
		"min(last_mse) = 1 AND min(last_mae) = 2 AND min(season_mse) = 3 AND min(season_mae) = 4 FROM recall");
	assert_sql("count(*) = 1 AND min(seconds_per_step) = 0.5 AND min(threads) = 2 "
		"FROM calibration");
	assert_sql("count(*) = 1 AND min(\"drop\") = 0.01 FROM router");
	assert_sql("count(*) = 2 AND sum(load) = 1 AND max(expert) = 1 FROM expert");
	assert_sql("count(*) = 1 AND min(mix) = 1 AND min(share) = 0.625 AND min(spread) = 0.125 FROM mix");
	assert_sql("count(*) = 1 AND min(state) LIKE '%.bias' AND min(least) = -0.5 AND min(most) = 0.25 FROM state");
	assert_sql("count(*) = 1 AND min(\"group\") = 'mixer' FROM param_group");
	assert_sql("count(*) = 1 FROM event");
	assert_sql("count(*) = 1 AND min(n) = 1 AND min(ended) = '2027' AND min(exit_code) = 75 "
		"FROM attempt");
	assert_sql("arch = 'mamba' AND vocab = 257 AND semantics = '{\"scan\":2}' FROM run");
}

/* A number of a process comes again: its exit is that of the newest attempt, which also says what the run is made of. */
static void test_attempts(void **state)
{
	for (int i = 1; i <= 2; i++) {
		char *line = xasprintf("{\"t\":\"attempt\",\"run\":\"i\",\"started\":\"202%d\",\"pid\":9,\"boot_id\":\"b\","
			"\"start_time\":%d,\"parts\":{\"moe\":{\"params\":%d,\"active\":2,\"flops\":3}}}", i, i, 10 * i);
		store(line);
		free(line);
	}
	(void)state;
	store("{\"t\":\"exit\",\"pid\":9,\"ended\":\"2030\",\"exit_code\":0}");
	assert_sql("count(*) = 1 AND min(n) = 2 FROM attempt WHERE ended IS NOT NULL");
	assert_sql("count(*) = 1 AND min(params) = 20 FROM part");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_step_there_and_back), TEST(test_absent_fields), TEST(test_text),
		TEST(test_no_records), TEST(test_views), TEST(test_again),
		TEST(test_attempts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
