/* What readers see while others write run directories: all of it, read once, by one writer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "base/process.h"
#include "store/ingest.h"
#include "store/news.h"
#include "store/refresh.h"
#include "message.h"

static char root[256], path[384];
static struct arena arena;

static int set_up(void **state)
{
	struct db db;

	(void)state;
	error_sink = keep_message;
	message[0] = '\0';
	if (path_tmp_folder(root, sizeof root, "test"))
		return -1;
	snprintf(path, sizeof path, "%s/lab.db", root);
	if (db_open(&db, path, DB_WRITE))
		return -1;
	db_close(&db);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	error_sink = NULL;
	arena_release(&arena);
	return path_remove_tree(root);
}

static const char *dir_of(const char *label)
{
	return arena_printf(&arena, "%s/runs/%s-s1-aaaa0000", root, label);
}

static void put(const char *label, const char *name, const char *text)
{
	assert_int_equal(path_write(arena_printf(&arena, "%s/%s", dir_of(label), name), text, strlen(text)), 0);
}

static void tell(const char *label, const char *text)
{
	FILE *f = fopen(arena_printf(&arena, "%s/metrics.jsonl", dir_of(label)), "ae");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static const char *step(int n)
{
	return arena_printf(&arena, "{\"t\":\"step\",\"step\":%d,\"ce\":%d}\n", n, 9 - n);
}

/* A run at work: by this process, or by one that is gone. */
static void put_attempt(const char *label, bool alive)
{
	struct process self;

	process_self(&self, &arena);
	put(label, "attempt.json", arena_printf(&arena, "{\"t\":\"attempt\",\"run\":\"aaaa0000%s\","
		"\"started\":\"2026\",\"host\":\"%s\",\"boot_id\":\"%s\",\"pid\":%lld,\"start_time\":%lld}\n",
		label, self.host, self.boot_id, self.pid, self.start_time + !alive));
}

static void make_run(const char *label)
{
	const char *identity = arena_printf(&arena, "aaaa0000%s", label);
	struct run_info info = {.identity = identity, .label = label, .sweep = "s", .seed = 1,
		.steps = 20, .config = "{\"train.lr\":0.001}"};

	assert_int_equal(path_mkdirs(dir_of(label)) | run_info_write(&info, dir_of(label)), 0);
	tell(label, "");
}

/* Times of the past: what is young is looked at again. */
static void make_old(const char *label)
{
	struct timespec times[2] = {{.tv_sec = 1000000000}, {.tv_sec = 1000000000}};

	assert_int_equal(utimensat(AT_FDCWD, dir_of(label), times, 0), 0);
}

/* What a reader sees of it now. */
static void assert_seen(const char *condition)
{
	struct db db;

	assert_int_equal(refresh_open(&db, path), 0);
	if (db_value(&db, arena_printf(&arena, "SELECT %s", condition), -1) != 1)
		fail_msg("not so: %s", condition);
	db_close(&db);
}

static int n_news(void)
{
	struct news news;
	struct db db;
	int n;

	assert_int_equal(db_open(&db, path, DB_READ), 0);
	assert_int_equal(news_find(&news, &db, root), 0);
	n = news.n_runs + news.n_sweeps;
	news_release(&news);
	db_close(&db);
	return n;
}

/* Readers ask for columns that a database of the first version lacks. */
static void test_older_databases_are_brought_up_to_date(void **state)
{
	char *text = path_read("tests/store/lab_v1.sql", NULL);
	sqlite3 *handle;

	(void)state;
	unlink(path);
	assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
	assert_int_equal(sqlite3_exec(handle, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(handle);
	free(text);
	assert_seen("count(depends) = 0 AND count(*) = 2 FROM run");
	assert_string_equal(message, "");
}

static void test_readers_see_what_is_new(void **state)
{
	(void)state;
	make_run("a");
	put_attempt("a", true);
	tell("a", step(1));
	assert_seen("count(*) = 1 AND state = 'running' AND step = 1 AND train_loss = 8 FROM runs WHERE sweep = 's'");
	assert_seen("value = 0.001 FROM param WHERE key = 'train.lr'");
	tell("a", step(2));
	assert_seen("count(*) = 2 FROM step");
	put_attempt("a", false);		/* it was lost */
	assert_seen("state = 'lost' FROM run");
	assert_int_equal(run_dir_mark(dir_of("a"), RUN_DONE, "2 steps"), 0);
	put("a", "tags.txt", "good\n");
	assert_seen("state = 'done' AND reason = '2 steps' AND tags = 'good' FROM runs");
	make_run("b");				/* nobody told the database of it */
	assert_seen("state = 'queued' FROM run WHERE label = 'b'");
	assert_string_equal(message, "");
}

/* A second look finds nothing; of what grows, only the new lines are read. */
static void test_only_news_are_read(void **state)
{
	struct ingest_count count = {0};
	struct db db;

	(void)state;
	make_run("a");
	make_run("b");
	for (int i = 1; i <= 5; i++)
		tell("a", step(i));
	make_old("a");
	make_old("b");
	assert_int_equal(n_news(), 2);
	assert_seen("count(*) = 5 FROM step");
	assert_int_equal(n_news(), 0);
	tell("a", step(6));
	tell("a", "{\"t\":\"step\",\"st");	/* another process is in the middle of a line */
	assert_int_equal(n_news(), 1);
	assert_int_equal(db_open(&db, path, DB_WRITE), 0);
	assert_int_equal(ingest_news(&db, root, &count), 0);
	assert_int_equal(count.records, 1);
	assert_int_equal(count.runs, 1);
	db_close(&db);
	assert_int_equal(n_news(), 0);		/* a torn line is no news for ever */
	tell("a", "ep\":7,\"ce\":2}\n");
	assert_seen("count(*) = 7 AND min(ce) = 2 FROM step");
	assert_int_equal(n_news(), 0);
}

/* The file is another one now: shorter, or of another process with other lines in the same places. */
static void test_replaced_files_are_read_whole(void **state)
{
	(void)state;
	make_run("a");
	tell("a", step(1));
	tell("a", step(2));
	make_old("a");
	assert_seen("count(*) = 2 FROM step");
	put("a", "metrics.jsonl", "{\"t\":\"step\",\"step\":1,\"ce\":5}\n");
	assert_seen("ce = 5 FROM step WHERE step = 1");
	put("a", "metrics.jsonl",
		"{\"t\":\"event\",\"kind\":\"start\",\"step\":0,\"wall\":\"1\",\"text\":\"a longer line\"}\n"
		"{\"t\":\"step\",\"step\":1,\"ce\":4}\n");
	assert_seen("ce = 4 FROM step WHERE step = 1");
	put("a", "metrics.jsonl",
		"{\"t\":\"event\",\"kind\":\"start\",\"step\":0,\"wall\":\"1\",\"text\":\"a longer line\"}\n"
		"{\"t\":\"step\",\"step\":1,\"ce\":3}\n");	/* of the same length */
	assert_seen("ce = 3 FROM step WHERE step = 1");
	assert_seen("count(*) = 1 FROM event");
}

/* Records of a run that was put in another's place are not that one's. */
static void test_another_run_in_its_place(void **state)
{
	struct run_info other = {.identity = "bbbb0000", .label = "b", .sweep = "s", .seed = 1, .config = "{}"};

	(void)state;
	make_run("a");
	tell("a", step(1));
	make_old("a");
	assert_seen("count(*) = 1 FROM step");
	assert_int_equal(run_info_write(&other, dir_of("a")), 0);
	tell("a", step(2));
	assert_seen("count(*) = 1 FROM step");
	assert_seen("count(*) = 1 AND min(identity) = 'aaaa0000a' FROM run");
}

/* What the run is stands in attempt.json, too; numbers of its config have all their digits. */
static void test_lost_records(void **state)
{
	const struct run_info info = {.identity = "aaaa0000a", .label = "a", .sweep = "s", .seed = 1,
		.config = "{\"train.lr\":0.00123456789012}"};

	(void)state;
	make_run("a");
	assert_int_equal(run_info_write(&info, dir_of("a")), 0);
	put("a", "attempt.json", "{\"t\":\"attempt\",\"run\":\"aaaa0000a\",\"started\":\"2026\",\"host\":\"h\","
		"\"pid\":1,\"boot_id\":\"b\",\"start_time\":1,\"arch\":\"mamba\"}\n");
	assert_seen("arch = 'mamba' AND attempts = 1 FROM runs");
	assert_seen("value = 0.00123456789012 FROM param WHERE key = 'train.lr'");
}

/* A process that is gone leaves no trace: a look at a run at work asks for it. */
static void test_lost_without_a_trace(void **state)
{
	struct db db;

	(void)state;
	make_run("a");
	put_attempt("a", false);
	make_old("a");
	assert_seen("state = 'lost' FROM run");
	assert_int_equal(db_open(&db, path, DB_WRITE), 0);
	assert_int_equal(db_exec(&db, "UPDATE run SET state = 'running'"), 0);
	db_close(&db);
	assert_int_equal(n_news(), 1);
	assert_seen("state = 'lost' FROM run");
}

/* A copy of a run's directory is not a run, and takes nothing over. */
static void test_copies_are_left_alone(void **state)
{
	(void)state;
	make_run("a");
	make_old("a");
	assert_seen("dir = 'runs/a-s1-aaaa0000' FROM run");
	assert_int_equal(system(arena_printf(&arena, "cp -r %s %s/runs/b", dir_of("a"), root)), 0);
	assert_int_equal(n_news(), 0);
	assert_seen("dir = 'runs/a-s1-aaaa0000' FROM run");
	assert_int_equal(path_remove_tree(dir_of("a")), 0);	/* it was moved */
	assert_seen("count(*) = 1 AND dir = 'runs/b' FROM run");
}

/* One process writes: others read what is there, and say so if that is not all. */
static void test_one_writer(void **state)
{
	struct db writer;

	(void)state;
	make_run("a");
	assert_seen("count(*) = 0 FROM step");
	assert_int_equal(db_open(&writer, path, DB_WRITE), 0);
	tell("a", step(1));
	assert_seen("count(*) = 0 FROM step");
	assert_non_null(strstr(message, "writes it now; what 1 runs told meanwhile is not in it yet"));
	message[0] = '\0';
	struct claims claims;				/* a supervisor takes in its own workers' runs */
	struct claim claim;
	claims_open(&claims);
	assert_int_equal(claim_take(&claims, dir_of("a"), &claim), 0);
	assert_seen("count(*) = 0 FROM step");
	assert_string_equal(message, "");
	claim_release(&claims, dir_of("a"), &claim);
	claims_close(&claims);
	db_close(&writer);
	assert_seen("count(*) = 1 FROM step");
}

/* Whoever wants to write while a reader takes in for a moment waits. */
static void test_writers_wait_for_a_moment(void **state)
{
	struct db moment, writer;
	int ready[2], status;
	pid_t child;
	char c;

	(void)state;
	assert_int_equal(pipe(ready), 0);
	child = fork();
	if (!child) {
		int ret = db_open(&moment, path, DB_WRITE_IF_FREE);
		if (write(ready[1], "", 1) != 1)
			ret = -1;
		usleep(400000);
		db_close(&moment);
		_exit(ret ? 1 : 0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(db_open(&writer, path, DB_WRITE), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	close(ready[0]);
	close(ready[1]);
	assert_int_equal(db_open(&moment, path, DB_WRITE_IF_FREE), -1);
	assert_string_equal(message, "");
	db_close(&writer);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_readers_see_what_is_new),
		TEST(test_older_databases_are_brought_up_to_date),
		TEST(test_only_news_are_read),
		TEST(test_replaced_files_are_read_whole),
		TEST(test_another_run_in_its_place), TEST(test_lost_records),
		TEST(test_lost_without_a_trace),
		TEST(test_copies_are_left_alone),
		TEST(test_one_writer),
		TEST(test_writers_wait_for_a_moment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
