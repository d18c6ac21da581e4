/* What an input is decides its content: JSON lines whatever the name, and what is no text by name. */
#include "scratch.h"

#define LINES "{\"text\":\"one\",\"url\":\"http://a.org\"}\n{\"text\":\"two\"}\n"

static void test_json_by_content(void **state)
{
	static const char *const names[] = {"a.jsonl", "A.JSONL", "a.txt", "a", "a.jsonl.1", "b.Json",
		"-x"};
	static const char *const starts[] = {"", "\n \n", " ", "\xef\xbb\xbf"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		for (size_t j = 0; j < ARRAY_SIZE(starts); j++) {
			char *text = xasprintf("%s" LINES, starts[j]);
			const char *input = put_text(names[i], text);
			struct import_options o = import_of(&input, 1);
			check_documents(&o, "one\x1etwo\x1e");
			free(text);
		}
	const char *input = put_text("spaced", "{ \"text\" : \"one\" }\n");
	struct import_options o = import_of(&input, 1);
	check_documents(&o, "one\x1e");
	put_text("spaced", "{braces} are no JSON\n");
	check_documents(&o, "{braces} are no JSON\n\x1e");
	put_text("spaced", "[1] is a footnote\n");
	check_documents(&o, "[1] is a footnote\n\x1e");
	o.format = "text";		/* as said, whatever the content */
	put_text("spaced", LINES);
	check_documents(&o, LINES "\x1e");
}

#define BYTES(text) text, sizeof text - 1

static void test_refused(void **state)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *name;
	} others[] = {
		{BYTES("PAR1\x15\0\x15\0"), "Parquet"},
		{BYTES("ARROW1\0\0"), "Arrow"},
		{BYTES("\xff\xff\xff\xff\x70\0\0\0"), "Arrow"},
		{BYTES("BZh91AY&SY\x12\x34"), "bzip2"},
		{BYTES("PK\3\4\x14\0"), "zip"},
		{BYTES("7z\xbc\xaf\x27\x1c\0\4"), "7z"},
		{BYTES("Rar!\x1a\7\1\0"), "rar"},
		{BYTES("\x04\x22\x4d\x18\x64"), "lz4"},
		{BYTES("\x5d\0\0\x80\0"), "lzma"},
		{BYTES("%PDF-1.7\n"), "PDF"},
		{BYTES("SQLite format 3\0"), "SQLite"},
		{BYTES("\x93NUMPY\1\0"), "NumPy"},
		{BYTES("\xff\xfe" "a\0\n\0"), "UTF-16"},
		{BYTES("\xfe\xff\0a\0\n"), "UTF-16"},
		{BYTES("\xff\xfe\0\0a\0\0\0"), "UTF-32"},
		{BYTES("{\0\"\0t\0e\0x\0t\0\"\0:\0"), "UTF-16 without a byte order mark"},
		{BYTES("\0{\0\"\0t\0e\0x\0t\0\""), "UTF-16BE"},
		{BYTES("some text\n\0\1\2 and more"), "binary"},
		{BYTES("\x7f" "ELF\2\1\1\0\0\0"), "binary"},
		{BYTES("[{\"text\":\"one\"},\n{\"text\":\"two\"}]\n"), "a JSON array"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		const char *input = put("other.json", others[i].bytes, others[i].n);
		struct import_options o = import_of(&input, 1);
		check_fails(&o, "other.json: not text but ");
		SAID(others[i].name);
		o.format = "jsonl";
		check_fails(&o, others[i].name);
		input = put("packed", "", 0);		/* compressed it is the same */
		put_gzip("packed", others[i].bytes, others[i].n);
		o.format = NULL;
		check_fails(&o, others[i].name);
		input = put("other", others[i].bytes, others[i].n);
		o.format = "text";			/* bytes are bytes, if they are said to be text */
		o.force = true;
		assert_int_equal(data_import(&o), 0);
		assert_int_equal(path_remove_tree(at("set")), 0);
	}
}

static void test_archives(void **state)
{
	char tar[1024] = "folder/text.txt";
	const char *input;

	(void)state;
	memcpy(tar + 257, "ustar", 5);
	input = put_gzip("a.tar.gz", tar, sizeof tar);
	struct import_options o = import_of(&input, 1);
	check_fails(&o, "a.tar.gz: not text but a tar archive");
	input = put_gzip("b.gz", "text", 4);
	size_t n;
	char *inner = path_read(input, &n);
	input = put_gzip("twice.gz", inner, n);
	check_fails(&o, "twice.gz: not text but packed twice (gzip)");
	free(inner);
}

/* NUL bytes are looked for at the start; a later one is a byte like any other. */
static void test_late_nul(void **state)
{
	enum { N = 3 << 20 };
	char *text = xmalloc(N);
	struct dataset d;

	(void)state;
	memset(text, 'x', N);
	text[N - 5] = '\0';
	const char *input = put("text", text, N);
	struct import_options o = import_of(&input, 1);
	import_and_open(&d, &o);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_bytes, N);
	dataset_close(&d);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_json_by_content), SCRATCH_TEST(test_refused),
		SCRATCH_TEST(test_archives), SCRATCH_TEST(test_late_nul),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
