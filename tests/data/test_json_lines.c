/* JSON lines: a text that can be read is never lost, one that cannot is counted. */
#include "scratch.h"

static const char json[] =
	"{\"text\":\"one\\n\\ntwo \\u20ac\\u0000!\",\"url\":\"http://a.org/1\",\"time\":\"x\"}\n"
	"\n"
	"{\"text\":\"unfinished}\n"
	"[\"text\"]\r\n"
	"{\"text\":\"two\"}\r\n"
	"{\"title\":\"no text\"}\n"
	"{\"text\":5}\n"
	"{\"text\":\"\"}\n"
	"{\"text\":\"\xff\"}\n"
	"{\"text\":\"three\"}";
static const char json_documents[] = "one\n\ntwo \xe2\x82\xac\0!\x1etwo\x1ethree\x1e";

static void check_json(const char *input, const char *format)
{
	struct import_options o = import_of(&input, 1);
	struct dataset d;
	struct str text;

	o.format = format;
	o.force = o.lenient = true;
	n_messages = 0;
	import_and_open(&d, &o);
	text = split_text(&d, SPLIT_TRAIN);
	assert_int_equal(text.length, sizeof json_documents - 1);
	assert_memory_equal(text.text, json_documents, text.length);
	assert_int_equal(n_messages, 1);
	SAID("5 of 9 lines skipped as bad JSON, the first is line 3: ");
	str_release(&text);
	dataset_close(&d);
}

static void test_lines(void **state)
{
	(void)state;
	check_json(put_text("c4.json", json), NULL);
	check_json(put_text("other", json), NULL);
	check_json(put_text("other", json), "jsonl");
	put_gzip("c4.json.gz", json, 100);
	check_json(put_gzip("c4.json.gz", json + 100, strlen(json) - 100), NULL);
}

static void test_strict(void **state)
{
	const char *input = put_text("c4.jsonl", json);
	struct import_options o = import_of(&input, 1);

	(void)state;
	o.strict = true;
	check_fails(&o, "c4.jsonl:3:");
	put_text("c4.jsonl", "{\"text\":\"fine\"}\n\n{\"title\":\"no text\"}\n");
	check_fails(&o, "c4.jsonl:3:1: bad JSON line: no member \"text\"");
	put_text("c4.jsonl", "{\"text\":\"fine\"}\n{\"text\":\"a\",\"n\":[1,2}\n");
	check_fails(&o, "c4.jsonl:2:");
}

/* More than one line of a hundred that cannot be read is an error, in any one of the inputs. */
static void test_too_many_bad_lines(void **state)
{
	const char *inputs[2] = {put_text("good.json", "{\"text\":\"good\"}\n")};
	struct import_options o = import_of(inputs, 2);
	struct str lines;

	(void)state;
	str_init(&lines);
	for (int i = 1; i < 100; i++)
		str_add(&lines, "{\"text\":\"x\"}\n");
	str_add(&lines, "{\"text\":x\n");
	inputs[1] = put("some.json", lines.text, lines.length);
	n_messages = 0;
	assert_int_equal(data_import(&o), 0);
	assert_int_equal(n_messages, 1);
	SAID("some.json: 1 of 100 lines skipped as bad JSON, the first is line 100");
	assert_int_equal(path_remove_tree(at("set")), 0);
	str_add(&lines, "\n\n{\"text\":x\n");
	put("some.json", lines.text, lines.length);
	check_fails(&o, "some.json: 2 of 101 lines are bad JSON, the first is line 100");
	SAID("--lenient");
	o.lenient = true;
	assert_int_equal(data_import(&o), 0);
	assert_int_equal(path_remove_tree(at("set")), 0);
	o.lenient = false;
	inputs[1] = put_text("Prose.Json", "no JSON at all\n");
	check_fails(&o, "Prose.Json: 1 of 1 lines are bad JSON, the first is line 1: no object");
	str_release(&lines);
}

/* What else the object holds costs no document. */
static void test_other_members(void **state)
{
	static const char *const values[] = {"18446744073709551615", "1e400", "-1e-400", "NaN",
		"-Infinity", "Infinity", "-0", "undefined", "\"\xff\"", "\"\\ud800\"", "\"\t\"",
		"\"}\\\"{\"", "[{\"text\":\"no\"},[]]", "{\"text\":{\"text\":\"no\"},\"a\":\"]\"}",
		"{}", "[]", "null", "\"\\\\\"", "\"\\x\"", "\"\""};
	struct str lines, expected;

	(void)state;
	str_init(&lines);
	str_init(&expected);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		str_printf(&lines, "{\"text\":\"<%zu\",\"x\":%s}\n", i, values[i]);
		str_printf(&lines, " { \"x\" : %s , \"text\" :\t\"%zu>\" } \r\n", values[i], i);
		str_printf(&expected, "<%zu\x1e%zu>\x1e", i, i);
	}
	const char *input = put("c4.json", lines.text, lines.length);
	struct import_options o = import_of(&input, 1);
	n_messages = 0;
	check_documents(&o, expected.text);
	assert_int_equal(n_messages, 0);
	str_clear(&lines);			/* deeper than a reader of all of it would go */
	str_add(&lines, "{\"x\":");
	for (int i = 0; i < 5000; i++)
		str_add(&lines, "[");
	for (int i = 0; i < 5000; i++)
		str_add(&lines, "]");
	str_add(&lines, ",\"text\":\"deep\"}\n");
	put("c4.json", lines.text, lines.length);
	check_documents(&o, "deep\x1e");
	str_release(&lines);
	str_release(&expected);
}

#define MARK "\xef\xbb\xbf"		/* byte order mark */
#define LOST "\xef\xbf\xbd"		/* U+FFFD */

static void test_marks(void **state)
{
	const char *input = put_text("c4", MARK "{\"text\":\"one\"}\n{\"text\":\"two\"}\n" MARK
		"{\"text\":\"" MARK "three\"}\n");
	struct import_options o = import_of(&input, 1);

	(void)state;
	n_messages = 0;
	check_documents(&o, "one\x1etwo\x1e" MARK "three\x1e");
	put_text("c4", MARK "plain text");
	check_documents(&o, "plain text\x1e");
	assert_int_equal(n_messages, 0);
}

static void test_surrogates(void **state)
{
	static const char *const texts[][2] = {
		{"\\ud83d\\ude00", "\xf0\x9f\x98\x80"},		/* a pair stays one */
		{"\\uD83D", LOST}, {"a\\udE00b", "a" LOST "b"},
		{"\\ude00\\ud83d", LOST LOST}, {"\\ud83d\\ud83d\\ude00", LOST "\xf0\x9f\x98\x80"},
		{"\\ud83dx", LOST "x"}, {"\\ud83d\\n", LOST "\n"}, {"\\\\ud83d", "\\ud83d"},
		{"\\ud7ff\\ue000", "\xed\x9f\xbf\xee\x80\x80"},	/* neighbours of surrogates */
		{"\\ud83d\\ue000", LOST "\xee\x80\x80"},
		{"\xed\xa0\xbd!", LOST "!"}, {"\xed\xa0\xbd\xed\xb8\x80", LOST LOST},
		{"\xed\x9f\xbf", "\xed\x9f\xbf"},
	};
	struct str lines, expected;

	(void)state;
	str_init(&lines);
	str_init(&expected);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		str_printf(&lines, "{\"text\":\"%s\"}\n", texts[i][0]);
		str_printf(&expected, "%s\x1e", texts[i][1]);
	}
	const char *input = put("c4.json", lines.text, lines.length);
	struct import_options o = import_of(&input, 1);
	n_messages = 0;
	check_documents(&o, expected.text);
	assert_int_equal(n_messages, 0);
	str_release(&lines);
	str_release(&expected);
}

/* An url that cannot be read is none; of two members of one name the last counts. */
static void test_urls(void **state)
{
	const char *input = put_text("c4.json", "{\"text\":\"a\",\"url\":5}\n"
		"{\"text\":\"b\",\"url\":\"\xff\"}\n{\"text\":\"c\",\"text\":\"d\",\"url\":null}\n");
	struct import_options o = import_of(&input, 1);

	(void)state;
	n_messages = 0;
	check_documents(&o, "a\x1e" "b\x1e" "d\x1e");
	assert_int_equal(n_messages, 0);
}

static void test_bad_lines(void **state)
{
	static const char *const bad[] = {"", "{", "{}", "{\"text\"}", "{\"text\":}", "{\"text\":\"",
		"{\"text\":\"a\\", "{\"text\":\"a\"", "{\"text\":\"a\"}x", "{\"text\":\"a\",}",
		"{\"text\":\"a\" \"b\":1}", "{\"text\":\"a\\x\"}", "{\"text\":\"\\u12\"}", "{text:\"a\"}",
		"{\"text\":['a']}", "{\"x\":[,\"text\":\"a\"}", "\"text\"", "x{\"text\":\"a\"}"};

	(void)state;
	for (size_t i = 1; i < ARRAY_SIZE(bad); i++) {
		const char *input = put_text("c4.json", bad[i]);
		struct import_options o = import_of(&input, 1);
		check_fails(&o, "c4.json: 1 of 1 lines are bad JSON");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_lines), SCRATCH_TEST(test_strict),
		SCRATCH_TEST(test_too_many_bad_lines), SCRATCH_TEST(test_other_members),
		SCRATCH_TEST(test_marks), SCRATCH_TEST(test_surrogates), SCRATCH_TEST(test_urls),
		SCRATCH_TEST(test_bad_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
