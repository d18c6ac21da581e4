/* Import: every byte arrives, documents follow their rules, and bad input leaves nothing behind. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"
#include "synthetic.h"

static void check_split(const char *rule, const char *text, const char *expected)
{
	const char *input = put_text("text", text);
	struct import_options o = import_of(&input, 1);

	o.split = rule;
	check_documents(&o, expected);
}

/* --- documents ----------------------------------------------------------------------------- */

static void test_split_rules(void **state)
{
	static const char poem[] = "one\n two\n\nthree\n\n\n four\n \nfive";

	(void)state;
	check_split("blank:1", poem, "one\n two\n\n\x1ethree\n\n\n\x1e four\n \n\x1e" "five\x1e");
	check_split("blank:11", poem, "one\n two\n\nthree\n\n\n\x1e four\n \nfive\x1e");
	check_split(NULL, poem, "one\n two\n\nthree\n\n\n four\n \nfive\x1e");
	check_split("entry", poem, "one\n two\n\n\x1ethree\n\n\n four\n \n\x1e" "five\x1e");
	check_split("line", "a\nb\n\nc", "a\n\x1e" "b\n\x1e" "c\x1e");	/* no empty documents */
	check_split("file", poem, "one\n two\n\nthree\n\n\n four\n \nfive\x1e");
	check_split("=<|x|>", "a\n<|x|><|x|>\nb<|x", "a\n\x1e\nb<|x\x1e");
	check_split("blank:1", "a\r\n\r\nb\r\n", "a\r\n\r\n\x1e" "b\r\n\x1e");
	check_split("blank:1", "\n\n\na\n", "a\n\x1e");
}

static void test_bad_rules(void **state)
{
	static const char *const bad[] = {"", "=", "blank:", "blank:0", "blank:x", "line:3",
		"words"};
	const char *input = put_text("text", "some text");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct import_options o = import_of(&input, 1);
		o.split = bad[i];
		check_fails(&o, "split \"");
		o.split = NULL;
		o.group_by = bad[i];
		check_fails(&o, "group-by \"");
	}
}

static void test_bytes_are_kept(void **state)
{
	enum { N = 3000000 };	/* several fills of the buffer */
	char *bytes = xmalloc(N);
	struct rng_key key = {.seed = 4};
	struct dataset d;
	struct str text;
	const char *input;
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < N; i++)
		bytes[i] = (char)rng_block(key, i).word[0];
	for (size_t i = 1; i < N; i++)		/* no line of white space: it would be left out */
		if (bytes[i] == '\n')
			bytes[i - 1] = 'x';
	input = put("text", bytes, N);
	struct import_options o = import_of(&input, 1);
	o.split = "line";
	o.format = "text";	/* by content NUL bytes are refused */
	import_and_open(&d, &o);
	assert_true(d.splits[SPLIT_TRAIN].n_documents > N / 512);
	text = split_text(&d, SPLIT_TRAIN);
	for (size_t i = 0; i < text.length; i++) {	/* without the marks: what was read */
		if (n < N && text.text[i] == bytes[n])
			n++;
		else
			assert_int_equal(text.text[i], '\x1e');
	}
	assert_int_equal(n, N);
	str_release(&text);
	dataset_close(&d);
	free(bytes);
}

static void test_long_documents(void **state)
{
	const size_t n = (16 << 20) + 5000, line = 16 << 20;
	char *text = xmalloc(n);
	const char *input;
	struct dataset d;

	(void)state;
	memset(text, 'x', n);
	text[line - 3] = '\n';
	input = put("text", text, n);
	struct import_options o = import_of(&input, 1);
	o.split = "file";
	import_and_open(&d, &o);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_documents, 2);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_bytes, n);
	int32_t end[2];
	assert_int_equal(dataset_read(&d, SPLIT_TRAIN, (long)line - 3, 2, end), 0);
	assert_int_equal(end[0], '\n');
	assert_int_equal(end[1], 256);
	dataset_close(&d);
	memcpy(text + line - 3, "xx\xe2\x82\xac", 5);	/* no line end: cut before the character */
	put("text", text, n);
	o.force = true;
	import_and_open(&d, &o);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_documents, 2);
	assert_int_equal(dataset_read(&d, SPLIT_TRAIN, (long)line - 1, 2, end), 0);
	assert_int_equal(end[0], 256);
	assert_int_equal(end[1], 0xe2);
	dataset_close(&d);
	free(text);
}

/* Marks and lines that lie across the blocks in which an input is read are found. */
static void test_across_reads(void **state)
{
	enum { N = 2000000, SPACING = 65536, FIRST = SPACING - 2 };
	char *text = xmalloc(N);
	struct str line;
	const char *input;
	struct dataset d;

	(void)state;
	memset(text, 'x', N);
	for (size_t i = FIRST; i + 4 < N; i += SPACING)
		memcpy(text + i, "<cut", 4);
	input = put("text", text, N);
	struct import_options o = import_of(&input, 1);
	o.split = "=<cut";
	o.force = true;
	import_and_open(&d, &o);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_documents, N / SPACING + 1);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_bytes, N - 4 * (N / SPACING));
	dataset_close(&d);
	str_init(&line);
	str_printf(&line, "{\"text\":\"%.*s\"}\n{\"text\":\"%.*s\"}\n", N, text, FIRST, text);
	input = put("lines.json", line.text, line.length);
	import_and_open(&d, &o);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_documents, 2);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_bytes, N + FIRST);
	dataset_close(&d);
	str_release(&line);
	free(text);
}

/* --- inputs -------------------------------------------------------------------------------- */

static void test_stdin(void **state)
{
	const char *input = "-";
	struct import_options o = import_of(&input, 1);

	(void)state;
	read_from(put_text("a", "text\n"), &o, "text\n\x1e");
	read_from(put_text("b", "{\"text\":\"one\"}\n"), &o, "one\x1e");
	read_from(put_gzip("c", "text\n", 5), &o, "text\n\x1e");
}

static void test_several_inputs(void **state)
{
	const char *inputs[] = {put_text("a", "no line end"),
		put_text("b.json", "{\"text\":\"two\"}"), put_gzip("c.gz", "three", 5)};
	struct import_options o = import_of(inputs, 3);

	(void)state;
	check_documents(&o, "no line end\x1etwo\x1ethree\x1e");
}

static void test_bad_inputs(void **state)
{
	const char *input = put_text("empty", "");
	struct import_options o = import_of(&input, 1);

	(void)state;
	check_fails(&o, "empty corpus");
	put_text("empty", " \n\n\t\n");
	check_fails(&o, "empty corpus");
	input = at("missing");
	check_fails(&o, "missing: No such file");
	input = scratch;
	check_fails(&o, "Is a directory");
	input = put_text("text", "text");
	o.tokenizer = "no";
	check_fails(&o, "unknown tokenizer");
	o.tokenizer = "byte";
	o.val = 0.5;
	o.tune = 0.5;
	check_fails(&o, "nothing to train on");
	o.val = strtod("nan", NULL);
	check_fails(&o, "nothing to train on");
	o.val = 0.1;
	check_fails(&o, "fell into split");
	o.n_inputs = 0;
	check_fails(&o, "at least one input");
}

/* --- the target ---------------------------------------------------------------------------- */

static void test_target(void **state)
{
	const char *input = put_text("text", "first");
	struct import_options o = import_of(&input, 1);

	(void)state;
	o.output = at("folder/of/set/");	/* makes parents; the last slash means nothing */
	assert_int_equal(data_import(&o), 0);
	put_text("text", "second");
	assert_int_equal(data_import(&o), -1);
	SAID("--force");
	check_documents(&o, "second\x1e");	/* forces */
	assert_int_equal(n_entries("folder"), 1);

	put_text("other/precious", "mine");
	o.output = at("other");
	o.force = true;
	assert_int_equal(data_import(&o), -1);
	SAID("is no dataset");
	assert_true(path_exists(at("other/precious")));
	o.output = put_text("file", "mine");
	assert_int_equal(data_import(&o), -1);
	SAID("is no dataset");
	assert_int_equal(path_mkdirs(at("empty")), 0);
	o.output = at("empty");
	assert_int_equal(data_import(&o), 0);
}

/* A symbolic link stands for the dataset that it points to: it stays, that is replaced. */
static void test_link(void **state)
{
	const char *input = put_text("text", "first");
	struct import_options o = import_of(&input, 1);
	struct dataset d;
	char target[32] = "";

	(void)state;
	o.output = at("real/set");
	assert_int_equal(data_import(&o), 0);
	assert_int_equal(symlink("real/set", at("link")), 0);
	put_text("text", "second");
	o.output = at("link/");
	assert_int_equal(data_import(&o), -1);
	SAID("--force");
	check_documents(&o, "second\x1e");	/* forces */
	assert_int_equal(readlink(at("link"), target, sizeof target - 1), 8);
	assert_string_equal(target, "real/set");
	assert_int_equal(dataset_open(&d, at("real/set")), 0);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_bytes, 6);
	dataset_close(&d);
	assert_int_equal(n_entries("link"), 1);	/* nothing left beside either */
	assert_int_equal(path_remove_tree(at("real")), 0);
	n_messages = 0;
	assert_int_equal(data_import(&o), -1);
	assert_int_equal(n_messages, 1);
	SAID("link: a symbolic link whose target cannot be found");
}

/* A failed import leaves the dataset that it should replace as it was. */
static void test_failure_keeps_old(void **state)
{
	const char *inputs[] = {put_text("text", "first"), put_gzip("bad.gz", "second", 6)};
	struct import_options o = import_of(inputs, 1);
	struct dataset d;

	(void)state;
	assert_int_equal(data_import(&o), 0);
	assert_int_equal(truncate(inputs[1], 20), 0);
	o.n_inputs = 2;
	o.force = true;
	assert_int_equal(data_import(&o), -1);
	assert_int_equal(n_entries("set"), 1);
	assert_int_equal(dataset_open(&d, at("set")), 0);
	assert_int_equal(dataset_verify(&d), 0);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_bytes, 5);
	dataset_close(&d);
}

/* The number of a process that has ended. */
static pid_t gone(void)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return pid;
}

static void make_partial(const char *target, const char *host, pid_t pid)
{
	char name[128];
	struct stat space;

	assert_int_equal(stat("/proc/self/ns/pid", &space), 0);
	snprintf(name, sizeof name, "%.8s.partial-%.40s-%lu-%d-0/train_000000.bin", target, host,
		(unsigned long)space.st_ino, (int)pid);
	put_text(name, "tokens");
}

/* What killed imports of the same name left on this host goes; what may be another's work stays. */
static void test_left_by_killed(void **state)
{
	const char *input = put_text("text", "text");
	struct import_options o = import_of(&input, 1);
	char host[41] = "";

	(void)state;
	gethostname(host, sizeof host - 1);
	make_partial("set", host, gone());
	make_partial("set", host, getppid());
	make_partial("set", "elsewhere", gone());
	make_partial("set2", host, gone());
	assert_int_equal(n_entries("set.partial"), 3);
	assert_int_equal(data_import(&o), 0);
	assert_int_equal(n_entries("set.partial"), 2);
	assert_int_equal(n_entries("set2.partial"), 1);
	assert_int_equal(n_entries("set.partial-elsewhere"), 1);
}

static void test_stop(void **state)
{
	const char *input = put_text("text", "text");
	struct import_options o = import_of(&input, 1);
	volatile sig_atomic_t stop = 1;

	(void)state;
	o.stop = &stop;
	check_fails(&o, "interrupted");
}

/* A limit on the size of files stands in for a full disk: the same error path of a write. */
static void test_disk_full(void **state)
{
	struct rlimit kept, small = {.rlim_cur = 100000, .rlim_max = RLIM_INFINITY};
	struct str text;

	(void)state;
	str_init(&text);
	synthetic_text(&text, 1, 3000000);
	const char *input = put("text", text.text, text.length);
	struct import_options o = import_of(&input, 1);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &kept), 0);
	small.rlim_max = kept.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	n_messages = 0;
	assert_int_equal(data_import(&o), DATASET_UNWRITTEN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &kept), 0);
	assert_int_equal(n_messages, 1);
	SAID("cannot write");
	assert_int_equal(n_entries("set"), 0);
	str_release(&text);
}

/* Same input, same dataset, wherever the input lies; and the identity of stored runs stands. */
static void test_golden(void **state)
{
	struct str text;
	const char *input;
	struct dataset d;
	char first[HASH_HEX];

	(void)state;
	str_init(&text);
	synthetic_text(&text, 1, 200000);
	input = put("a/text", text.text, text.length);
	struct import_options o = import_of(&input, 1);
	o.val = o.tune = -1;
	import_and_open(&d, &o);
	memcpy(first, d.hash, HASH_HEX);
	dataset_close(&d);
	input = put("b/text", text.text, text.length);
	o.force = true;
	import_and_open(&d, &o);
	assert_string_equal(d.hash, first);
	assert_string_equal(d.hash, "a55e6bb8e154ab754821a88a31c0ea64");
	dataset_close(&d);
	str_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_split_rules), SCRATCH_TEST(test_bad_rules),
		SCRATCH_TEST(test_bytes_are_kept), SCRATCH_TEST(test_long_documents),
		SCRATCH_TEST(test_across_reads),
		SCRATCH_TEST(test_stdin),
		SCRATCH_TEST(test_several_inputs), SCRATCH_TEST(test_bad_inputs),
		SCRATCH_TEST(test_target), SCRATCH_TEST(test_link),
		SCRATCH_TEST(test_failure_keeps_old),
		SCRATCH_TEST(test_left_by_killed), SCRATCH_TEST(test_stop),
		SCRATCH_TEST(test_disk_full), SCRATCH_TEST(test_golden),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
