/* Run directories, catalog, ingest, queries: from files to answers. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "store/catalog.h"
#include "store/discard.h"
#include "store/ingest.h"
#include "store/query.h"
#include "store/tfevents.h"
#include "message.h"

static char root[256], path[384];
static struct arena arena;
static struct db db;

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(path_tmp_folder(root, sizeof root, "test"), 0);
	snprintf(path, sizeof path, "%s/lab.db", root);
	message[0] = '\0';
	error_sink = keep_message;
	return db_open(&db, path, DB_WRITE);
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
	char *sql = xasprintf("SELECT %s", condition);

	if (db_value(&db, sql, -1) != 1)
		fail_msg("not so: %s %s", condition, message);
	free(sql);
}

static void put_file(const char *dir, const char *name, const char *text)
{
	assert_int_equal(
		path_write(arena_printf(&arena, "%s/%s", dir, name), text, strlen(text)), 0);
}

/* A run directory with some steps, of 10 each. */
static const char *make_run(const char *label, long seed, const char *identity, double loss)
{
	struct run_info info = {.identity = identity,
		.label = label,
		.sweep = "micro/a",
		.seed = seed,
		.steps = 20,
		.jobs = 2,
		.config =
			"{\"train.lr\":0.001,\"model.moe.n_experts\":8,"
			"\"model.final_norm\":true,\"model.pattern\":[\"mamba\"],\"question\":\"why\"}"};
	const char *dir = arena_printf(&arena, "%s/runs/%s", root,
		run_dir_name(label, seed, identity, &arena));

	assert_int_equal(path_mkdirs(dir), 0);
	assert_int_equal(run_info_write(&info, dir), 0);
	put_file(dir, "config.yaml", "train.lr: 1e-3\n");
	put_file(dir, "metrics.jsonl",
		arena_printf(&arena,
			"{\"t\":\"attempt\",\"run\":\"%s\",\"started\":\"2026\",\"pid\":1,\"boot_id\":\"b\","
			"\"start_time\":7,\"host\":\"elsewhere\",\"arch\":\"%s\"}\n"
			"{\"t\":\"step\",\"step\":10,\"tokens\":100,\"seconds\":2,\"flops\":1e6,\"ce\":%g}\n"
			"{\"t\":\"step\",\"step\":20,\"tokens\":200,\"seconds\":4,\"flops\":2e6,\"ce\":null}\n"
			"{\"t\":\"eval\",\"kind\":\"val\",\"step\":20,\"tokens\":200,\"loss\":%g,\"bpb\":1}\n"
			"{\"t\":\"ev",
			identity, label, loss + 1, loss));
	return dir;
}

static void ingest(struct ingest_count *count)
{
	*count = (struct ingest_count){0};
	assert_int_equal(ingest_all(&db, root, count), 0);
}

static json_t *sweep_of(const char *runs)
{
	json_t *sweep = json_loads(
		arena_printf(&arena,
			"{\"name\":\"micro/a\",\"file\":\"x/a.yaml\","
			"\"baseline\":\"mamba\",\"planned\":\"2026\",\"targets\":[{\"kind\":\"baseline\","
			"\"loss\":null},{\"kind\":\"loss\",\"loss\":2.5}],\"published\":[{\"label\":\"mamba\","
			"\"quantity\":\"speedup\",\"value\":null,\"text\":\"<1\"}],\"runs\":[%s]}",
			runs),
		0, NULL);

	assert_non_null(sweep);
	return sweep;
}

static const char two_runs[] =
	"{\"run\":\"aaaa0000\",\"dir\":\"mamba-s1-aaaa0000\",\"label\":\"mamba\",\"variant\":\"mamba\","
	"\"seed\":1,\"steps\":20,\"axes\":[]},"
	"{\"run\":\"bbbb0000\",\"dir\":\"moe-s1-bbbb0000\",\"label\":\"moe-n_experts=8\","
	"\"variant\":\"moe\",\"seed\":1,\"steps\":20,\"axes\":[{\"key\":\"model.moe.n_experts\","
	"\"short_key\":\"n_experts\",\"value\":\"8\"}]}";

/* --- run directories ------------------------------------------------------------------------- */

static enum run_state state_of(const char *dir, const char **reason, long *step)
{
	struct run_status status;

	run_dir_status(dir, &arena, &status);
	*reason = status.reason;
	*step = status.checkpoint;
	return status.state;
}

static const char *attempt_of(const struct process *p)
{
	return arena_printf(&arena,
		"{\"t\":\"attempt\",\"run\":\"a\",\"started\":\"2026\",\"host\":\"%s\","
		"\"pid\":%lld,\"boot_id\":\"%s\",\"start_time\":%lld}\n",
		p->host, p->pid, p->boot_id, p->start_time);
}

static void test_states_of_a_directory(void **state)
{
	struct process self;
	const char *dir = arena_printf(&arena, "%s/run", root), *reason, *lines;
	long step;

	(void)state;
	process_self(&self, &arena);
	assert_true(process_alive(&self));
	assert_int_equal(state_of(dir, &reason, &step), RUN_QUEUED);	/* not even there */
	assert_int_equal(path_mkdirs(arena_printf(&arena, "%s/ckpt", dir)), 0);
	assert_int_equal(state_of(dir, &reason, &step), RUN_QUEUED);
	put_file(dir, "attempt.json", attempt_of(&self));
	put_file(dir, "ckpt/step_90.safetensors", "");
	put_file(dir, "ckpt/step_100.safetensors", "");
	put_file(dir, "ckpt/step_200.safetensors.tmp", "");
	assert_int_equal(state_of(dir, &reason, &step), RUN_RUNNING);
	assert_int_equal(step, 100);
	self.start_time++;		/* the number was given to another process */
	assert_false(process_alive(&self));
	put_file(dir, "attempt.json", attempt_of(&self));
	assert_int_equal(state_of(dir, &reason, &step), RUN_LOST);
	lines = "{\"t\":\"event\",\"kind\":\"stop\",\"step\":1,\"wall\":\"\",\"text\":\"\"}\n";
	put_file(dir, "metrics.jsonl", lines);
	assert_int_equal(state_of(dir, &reason, &step), RUN_STOPPED);
	put_file(dir, "metrics.jsonl", arena_printf(&arena, "%s%s", lines, attempt_of(&self)));
	assert_int_equal(state_of(dir, &reason, &step), RUN_LOST);
	self.host = "elsewhere";	/* nobody can look there, but the file was written just now */
	put_file(dir, "attempt.json", attempt_of(&self));
	assert_int_equal(state_of(dir, &reason, &step), RUN_RUNNING);
	assert_int_equal(run_dir_mark(dir, RUN_DONE, "20 steps"), 0);
	assert_int_equal(state_of(dir, &reason, &step), RUN_DONE);
	assert_string_equal(reason, "20 steps");
	assert_int_equal(run_dir_mark(dir, RUN_DIVERGED, "nan"), 0);
	assert_int_equal(state_of(dir, &reason, &step), RUN_DIVERGED);
	assert_int_equal(run_dir_mark(dir, RUN_QUEUED, NULL), 0);
	assert_int_equal(state_of(dir, &reason, &step), RUN_RUNNING);
	assert_true(run_dir_discard(dir) == -1 && path_exists(arena_printf(&arena, "%s/ckpt/step_100.safetensors", dir)));
	assert_true(!run_dir_mark(dir, RUN_DONE, "20 steps") && !run_dir_discard(dir) && !path_exists(dir));
}

static void test_torn_line_is_ended(void **state)
{
	int fd;
	char *text;

	(void)state;
	put_file(root, "metrics.jsonl", "{\"t\":\"st");
	for (int i = 0; i < 2; i++) {
		fd = run_dir_open_metrics(root);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, "x\n", 2), 2);
		close(fd);
	}
	text = path_read(arena_printf(&arena, "%s/metrics.jsonl", root), NULL);
	assert_string_equal(text, "{\"t\":\"st\nx\nx\n");
	free(text);
}

/* --- ingest ---------------------------------------------------------------------------------- */

static void test_ingest(void **state)
{
	struct ingest_count count;
	json_t *sweep = sweep_of(two_runs);
	const char *dir;

	(void)state;
	assert_int_equal(catalog_write(root, sweep), 0);
	json_decref(sweep);
	dir = make_run("mamba", 1, "aaaa0000", 2);
	make_run("mamba", 3, "cccc0000", 4);	/* of an older version of the sweep */
	assert_int_equal(run_dir_mark(dir, RUN_DONE, "20 steps"), 0);
	assert_int_equal(path_mkdirs(arena_printf(&arena, "%s/runs/junk", root)), 0);
	for (int i = 0; i < 3; i++) {	/* told twice, it is the same; and as well, where it was forgotten */
		if (i == 2)
			assert_int_equal(db_exec(&db, "DELETE FROM taken; DELETE FROM taken_sweep"), 0);
		ingest(&count);
		assert_int_equal(count.sweeps, 1);
		assert_int_equal(count.runs, 2);
		assert_int_equal(count.skipped_runs, 1);
		assert_int_equal(count.records, i == 1 ? 0 : 2 * 4);
		assert_int_equal(count.skipped_lines, 2);
		assert_sql("group_concat(label) = 'mamba,moe-n_experts=8' FROM "
			"(SELECT label FROM runs WHERE sweep = 'micro/a' ORDER BY n)");
		assert_sql("count(*) = 1 AND max(loss) = 4 FROM runs WHERE sweep IS NULL");
		assert_sql("count(*) = 4 AND count(ce) = 2 FROM step");
		assert_sql("state = 'done' AND reason = '20 steps' AND loss = 2 AND attempts = 1 "
			"AND dir = 'runs/mamba-s1-aaaa0000' AND tokens_per_s = 50 "
			"FROM runs WHERE label = 'mamba' AND seed = 1");
		assert_sql("state = 'queued' AND loss IS NULL FROM runs WHERE variant = 'moe'");
		assert_sql("config = 'train.lr: 1e-3' || char(10) FROM run WHERE label = 'mamba' AND seed = 1");
		assert_sql("count(*) = 10 AND sum(typeof(value) = 'real') = 2 FROM param");
		assert_sql("value = '[\"mamba\"]' FROM param WHERE key = 'model.pattern'");
	}
	assert_sql("count(*) = 2 AND max(loss) = 2.5 FROM target");
	assert_sql("text = '<1' AND value IS NULL FROM published");
}

/* A sweep that is planned anew consists of what it says now; runs that left it stay known. */
static void test_sweep_is_replaced(void **state)
{
	json_t *sweep = sweep_of(two_runs);

	(void)state;
	assert_int_equal(catalog_add_sweep(&db, root, sweep), 0);
	json_array_remove(json_object_get(sweep, "runs"), 0);
	assert_int_equal(catalog_add_sweep(&db, root, sweep), 0);
	assert_sql("group_concat(label) = 'moe-n_experts=8' FROM runs WHERE sweep = 'micro/a'");
	assert_sql("count(*) = 1 AND min(label) = 'mamba' FROM runs WHERE sweep IS NULL");
	assert_sql("count(*) = 1 FROM axis");
	json_object_del(json_array_get(json_object_get(sweep, "runs"), 0), "label");
	assert_int_equal(catalog_add_sweep(&db, root, sweep), -1);	/* all or nothing */
	assert_sql("group_concat(label) = 'moe-n_experts=8' FROM runs WHERE sweep = 'micro/a'");
	json_decref(sweep);
}

/* --- queries --------------------------------------------------------------------------------- */

static void expect(const char *selectors, const char *where, const char *labels)
{
	const char *list[8];
	struct selection s = {.selectors = list, .where = where};
	struct run_row *runs;
	struct str found;
	char *copy = arena_strdup(&arena, selectors), *save = NULL;
	int n;

	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		list[s.n++] = w;
	assert_int_equal(query_select(&db, &s, &arena, &runs, &n), 0);
	str_init(&found);
	for (int i = 0; i < n; i++)
		str_printf(&found, "%s%s-s%ld", i ? " " : "", runs[i].label, runs[i].seed);
	if (strcmp(found.text, labels))
		fail_msg("\"%s\" finds \"%s\", not \"%s\"", selectors, found.text, labels);
	str_release(&found);
}

static void test_selectors(void **state)
{
	struct ingest_count count;
	struct run_row run;

	(void)state;
	make_run("mamba", 1, "aaaa0000", 2);
	make_run("mamba", 2, "ab120000", 3);
	assert_int_equal(run_dir_mark(make_run("moe_mamba", 1, "cccc0000", 1), RUN_DONE, "x"), 0);
	ingest(&count);
	expect("", NULL, "mamba-s1 mamba-s2 moe_mamba-s1");
	expect("mamba", NULL, "mamba-s1 mamba-s2");
	expect("*mamba", NULL, "mamba-s1 mamba-s2 moe_mamba-s1");
	expect("mamba seed=2", NULL, "mamba-s2");
	expect("ab12", NULL, "mamba-s2");
	expect("ab", NULL, "");			/* too short for a hash */
	expect("mamba-s2-ab120000", NULL, "mamba-s2");
	expect("results/runs/mamba-s2-ab120000/", NULL, "mamba-s2");
	expect("mamba-s2", NULL, "mamba-s2");
	expect("status=done", NULL, "moe_mamba-s1");
	expect("state=done arch=mamba", NULL, "");
	expect("sweep=micro/*", NULL, "mamba-s1 mamba-s2 moe_mamba-s1");
	expect("train.lr=1e-3 model.moe.n_experts=8 seed=1", NULL, "mamba-s1 moe_mamba-s1");
	expect("train.lr=2e-3", NULL, "");
	expect("model.final_norm=true question=w*", "loss < 2.5", "mamba-s1 moe_mamba-s1");
	assert_int_equal(db_exec(&db, "UPDATE member SET label = 'base' WHERE label = 'mamba'"), 0);
	expect("base-s2", NULL, "base-s2");	/* the directory has another label */
	assert_int_equal(db_exec(&db, "UPDATE member SET label = 'mamba' WHERE label = 'base'"), 0);
	const char *one = "mamba-s1", *many = "mamba", *none = "x'; DROP TABLE run; --";
	struct selection s = {.selectors = &one, .n = 1};
	assert_int_equal(query_one(&db, &s, &arena, &run), 0);
	assert_true(run.loss == 2 && isnan(run.train_loss) && run.step == 20 && run.steps == 20);
	assert_string_equal(run.dir, arena_printf(&arena, "%s/runs/mamba-s1-aaaa0000", root));
	s.selectors = &many;
	assert_int_equal(query_one(&db, &s, &arena, &run), -1);
	assert_non_null(strstr(message, "means 2 runs: mamba-s1-aaaa0000 mamba-s2-ab120000"));
	s.selectors = &none;
	assert_int_equal(query_one(&db, &s, &arena, &run), -1);
	assert_non_null(strstr(message, "no run"));
	s.where = "nonsense = 1";
	assert_int_equal(query_one(&db, &s, &arena, &run), -1);
	assert_non_null(strstr(message, "nonsense"));
}

/* Labels that look like KEY=GLOB, and keys that nobody has. */
static void test_selectors_with_equals(void **state)
{
	const char *wrong = "sate=done";
	struct selection s = {.selectors = &wrong, .n = 1};
	struct ingest_count count;
	struct run_row *runs;
	int n;

	(void)state;
	assert_int_equal(query_select(&db, &s, &arena, &runs, &n), 0);	/* there is no run at all */
	make_run("mamba-n_experts=8", 1, "aaaa0000", 2);
	make_run("mamba-n_experts=16", 1, "bbbb0000", 2);
	ingest(&count);
	expect("mamba-n_experts=8", NULL, "mamba-n_experts=8-s1");
	expect("mamba-n_experts=*", NULL, "mamba-n_experts=16-s1 mamba-n_experts=8-s1");
	expect("mamba-n_experts=16-s1", NULL, "mamba-n_experts=16-s1");
	expect("mamba-n_experts=16-s1-bbbb0000/", NULL, "mamba-n_experts=16-s1");
	expect("train.lr=9", NULL, "");
	assert_int_equal(query_select(&db, &s, &arena, &runs, &n), -1);
	assert_non_null(strstr(message, "has a key \"sate\""));
}

/* Where nobody writes, nothing runs. */
static void test_running_needs_a_writer(void **state)
{
	struct ingest_count count;
	struct selection s = {0};
	struct run_row *runs;
	struct db reader;
	int n;

	(void)state;
	make_run("mamba", 1, "aaaa0000", 2);
	ingest(&count);
	assert_int_equal(db_exec(&db, "UPDATE run SET state = 'running'"), 0);
	assert_int_equal(db_open(&reader, path, DB_READ), 0);
	assert_int_equal(query_select(&reader, &s, &arena, &runs, &n), 0);
	assert_string_equal(runs[0].state, "running");
	db_close(&db);
	assert_int_equal(query_select(&reader, &s, &arena, &runs, &n), 0);
	assert_string_equal(runs[0].state, "lost");
	db_close(&reader);
	assert_int_equal(db_open(&db, path, DB_WRITE), 0);
}

static void test_sweeps_and_curves(void **state)
{
	static const char *const names[] = {"micro/a", "x/a.yaml", "sweeps/micro/a.yaml",
		"/abs/sweeps/micro/a.yml"};
	struct ingest_count count;
	struct sweep_row sweep;
	struct run_row *runs;
	struct curve_rows curve;
	json_t *json = sweep_of(two_runs);
	int n;

	(void)state;
	assert_int_equal(catalog_write(root, json), 0);
	json_decref(json);
	make_run("mamba", 1, "aaaa0000", 2);
	ingest(&count);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(query_sweep(&db, names[i], &arena, &sweep), 0);
		assert_string_equal(sweep.baseline, "mamba");
	}
	assert_int_equal(query_sweep(&db, "micro/b", &arena, &sweep), -1);
	assert_non_null(strstr(message, "there are: micro/a"));
	assert_int_equal(query_runs(&db, sweep.sweep_id, &arena, &runs, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(runs[1].variant, "moe");
	assert_int_equal(query_curve(&db, runs[0].run_id, "train", &arena, &curve), 0);
	assert_true(curve.n == 2 && curve.step[1] == 20 && curve.tokens[0] == 100 &&
		curve.loss[0] == 3 && isnan(curve.loss[1]) && curve.flops[1] == 2e6);
	assert_int_equal(query_curve(&db, runs[0].run_id, "val", &arena, &curve), 0);
	assert_true(curve.n == 1 && curve.loss[0] == 2 && isnan(curve.seconds[0]));
	assert_int_equal(query_curve(&db, runs[0].run_id, "val_dropless", &arena, &curve), 0);
	assert_int_equal(curve.n, 0);
	assert_string_equal(query_param(&db, runs[0].run_id, "model.moe.n_experts", &arena), "8");
	assert_null(query_param(&db, runs[0].run_id, "nothing", &arena));
}

/* 10,000 runs with 100 steps each: what `ls` asks takes less than 0.2 s. */
static void test_many_runs(void **state)
{
	struct selection s = {0};
	struct run_row *runs;
	double best = 10;
	int n;

	(void)state;
	assert_int_equal(
		db_exec(&db,
			"INSERT INTO sweep(sweep_id, name) VALUES (1, 'many'); "
			"INSERT INTO run(run_id, identity, dir, label, seed, steps) "
			"WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 10000) "
			"SELECT i, printf('%032x', i), 'runs/r' || i, 'label-' || i % 100, i / 100, 100 FROM k; "
			"INSERT INTO member(sweep_id, run_id, label, variant, n) "
			"SELECT 1, run_id, label, label, run_id FROM run; "
			"INSERT INTO step(run_id, step, tokens, seconds, ce) "
			"WITH RECURSIVE k(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM k WHERE i < 100) "
			"SELECT run_id, i, i * 100, i * 0.5, 5.0 / i FROM run, k; "
			"INSERT INTO eval(run_id, kind, step, loss) SELECT run_id, 'val', 100, 2 FROM run"),
		0);
	for (int i = 0; i < 5; i++) {
		clock_t begun = clock();	/* of this process, whatever else runs */
		assert_int_equal(query_select(&db, &s, &arena, &runs, &n), 0);
		assert_int_equal(n, 10000);
		best = fmin(best, (double)(clock() - begun) / CLOCKS_PER_SEC);
	}
	print_message("10,000 runs listed in %.3f s\n", best);
#ifndef __SANITIZE_ADDRESS__
	assert_true(best < 0.2);
#endif
}

/* --- TensorBoard ----------------------------------------------------------------------------- */

static uint32_t mask(uint32_t crc)
{
	return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void test_event_file(void **state)
{
	/*
	 * Event {wall_time: 1.5, step: 300, summary {value {tag: "a", simple_value: 0.5}}} by hand
	 */
	static const unsigned char event[] = {0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x10, 0xac, 0x02,
		0x2a, 0x0a, 0x0a, 0x08, 0x0a, 0x01, 'a', 0x15, 0, 0, 0, 0x3f};
	FILE *f = tfevents_open(root, 0);
	size_t n, at;
	uint64_t length;
	uint32_t crc;
	char *bytes, host[128] = "";

	(void)state;
	assert_int_equal(crc32c("123456789", 9), 0xE3069283u);	/* the polynomial's check value */
	tfevents_scalar(f, 1.5, 300, "a", 0.5);
	assert_int_equal(tfevents_close(f, root), 0);
	gethostname(host, sizeof host - 1);
	bytes = path_read(
		arena_printf(&arena, "%s/events.out.tfevents.0000000000.%s", root, host), &n);
	assert_non_null(bytes);
	memcpy(&length, bytes, 8);
	at = 8 + 4 + length + 4;
	assert_int_equal(n, at + 8 + 4 + sizeof event + 4);
	assert_memory_equal(bytes + at + 12, event, sizeof event);
	memcpy(&crc, bytes + at + 8, 4);
	assert_int_equal(crc, mask(crc32c(bytes + at, 8)));
	memcpy(&crc, bytes + n - 4, 4);
	assert_int_equal(crc, mask(crc32c(event, sizeof event)));
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(test_states_of_a_directory),
		TEST(test_torn_line_is_ended),
		TEST(test_ingest),
		TEST(test_sweep_is_replaced),
		TEST(test_selectors), TEST(test_selectors_with_equals),
		TEST(test_running_needs_a_writer),
		TEST(test_sweeps_and_curves),
		TEST(test_many_runs),
		TEST(test_event_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
