/* The YAML reader: what scalars mean, and one clear line for everything it refuses. */
#include "fixture.h"

static const struct node *parse(const char *text)
{
	return node_parse(&arena, "x.yaml", text, strlen(text));
}

static void refuses(const char *text, const char *line)
{
	clear_message();
	assert_null(parse(text));
	assert_message(line);
}

static void check_canonical(const char *yaml, const char *wanted)
{
	const struct node *n = parse(yaml);
	struct str s;

	assert_non_null(n);
	str_init(&s);
	node_canonical(n, &s);
	assert_string_equal(s.text, wanted);
	str_release(&s);
}

static void test_plain_scalars(void **state)
{
	static const struct {
		const char *text;
		enum node_kind kind;
	} cases[] = {
		{"8", NODE_INT},
		{"-8", NODE_INT},
		{"+8", NODE_INT},
		{"0", NODE_INT},
		{"1e-3", NODE_REAL},
		{"1E+3", NODE_REAL},
		{".5", NODE_REAL},
		{"5.", NODE_REAL},
		{"-0.25", NODE_REAL},
		{"99999999999999999999", NODE_REAL},
		{"no", NODE_TEXT},
		{"yes", NODE_TEXT},
		{"on", NODE_TEXT},
		{"off", NODE_TEXT},
		{"y", NODE_TEXT},
		{"1_000", NODE_TEXT},
		{"0x1F", NODE_TEXT},
		{"0o17", NODE_TEXT},
		{"017", NODE_TEXT},
		{"1:30", NODE_TEXT},
		{".nan", NODE_TEXT},
		{".inf", NODE_TEXT},
		{"1e", NODE_TEXT},
		{"e3", NODE_TEXT},
		{".", NODE_TEXT},
		{"-", NODE_LIST},
		{"1e999", NODE_TEXT},
		{"2026-11-23", NODE_TEXT},
		{"1.2.3", NODE_TEXT},
		{"true", NODE_BOOL},
		{"False", NODE_BOOL},
		{"TRUE", NODE_BOOL},
		{"tRUE", NODE_TEXT},
		{"null", NODE_NULL},
		{"~", NODE_NULL},
		{"", NODE_NULL},
		{"nil", NODE_TEXT},
		{"\"8\"", NODE_TEXT},
		{"'true'", NODE_TEXT},
		{"''", NODE_TEXT},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[64];
		snprintf(text, sizeof text, "- %s\n", cases[i].text);
		const struct node *n = parse(text);
		assert_non_null(n);
		if (n->first->kind != cases[i].kind)
			fail_msg("%s is read as %s", cases[i].text, node_kind_name(n->first));
	}
}

static void test_marks_and_order(void **state)
{
	const struct node *n = parse("b: 1\na:\n  - x\n  -   y\n");

	(void)state;
	assert_string_equal(n->first->key, "b");
	assert_int_equal(n->first->line, 1);
	assert_int_equal(n->first->column, 4);
	const struct node *a = node_get(n, "a");
	assert_int_equal(a->key_line, 2);
	assert_int_equal(a->first->next->line, 4);
	assert_int_equal(a->first->next->column, 7);
	assert_null(node_get(n, "c"));
}

static void test_canonical(void **state)
{
	(void)state;
	check_canonical("[1e-3, 0.001, 8, 8.0, 1e2, -0.0, 1e17, 1.5e300, 0.1]",
		"[0.001, 0.001, 8, 8, 100, 0, 100000000000000000, 1.5e+300, 0.1]");
	check_canonical("{b: [x, {z: ~, y: true}], a: \"q\\\"\\n\\t\\x7f\\u2028\\\\\xc3\xa4\"}",
		"{\"a\": \"q\\\"\\n\\u0009\\u007f\\u2028\\\\\xc3\xa4\", "
		"\"b\": [\"x\", {\"y\": true, \"z\": null}]}");
}

static void test_aliases_are_copies(void **state)
{
	const struct node *n = parse("a: &x {p: [1, 2]}\nb: *x\nc: [*x, *x]\nd: &x 3\ne: *x\n");

	(void)state;
	check_canonical("a: &x {p: [1, 2]}\nb: *x\nc: [*x]\nd: &x 3\ne: *x\n",
		"{\"a\": {\"p\": [1, 2]}, \"b\": {\"p\": [1, 2]}, \"c\": [{\"p\": [1, 2]}], "
		"\"d\": 3, \"e\": 3}");
	assert_ptr_not_equal(node_get(n, "a")->first, node_get(n, "b")->first);
}

static void test_refused(void **state)
{
	(void)state;
	refuses("a: 1\nb: 2\na: 3\n", "x.yaml:3:1: duplicate key \"a\" (first in line 1)");
	refuses("a: &a [*a]\n",
		"x.yaml:1:8: cyclic alias: \"*a\" stands inside its own anchor of line 1");
	refuses("a: &m\n  b: {c: *m}\n",
		"x.yaml:2:10: cyclic alias: \"*m\" stands inside its own anchor of line 1");
	refuses("a: *b\n", "x.yaml:1:4: unknown alias \"*b\"");
	refuses("a: &x {}\nb:\n  <<: *x\n",
		"x.yaml:3:3: merge keys (<<) are not supported: use \"base:\"");
	refuses("a: !!str 8\n",
		"x.yaml:1:4: tag \"tag:yaml.org,2002:str\": tags are not supported");
	refuses("[a]: 1\n", "x.yaml:1:1: a key must be a plain word");
	refuses("{\"\": 1}\n", "x.yaml:1:2: a key must be a plain word");
	refuses("a: 1\n---\nb: 1\n", "x.yaml:2:1: a second document: one file holds one");
	refuses("", "x.yaml:1:1: empty: no value in this file");
	refuses("# nothing\n", "x.yaml:1:1: empty: no value in this file");
	refuses("a:\n\tb: 1\n", "x.yaml:2:1: tab in the indentation: use spaces");
	refuses("a: [1, 2\nb: 3\n", "x.yaml:2:2: did not find expected ',' or ']' "
				    "(while parsing a flow sequence that began in line 1)");
	refuses("a: \"x\\0y\"\n", "x.yaml:1:4: NUL character in a text");
	refuses("a: 1\nb: \x01\n", "x.yaml:2:4: control characters are not allowed");
	refuses("a: \xff\n", "x.yaml:1:4: invalid leading UTF-8 octet");
}

static void test_nul_byte(void **state)
{
	(void)state;
	clear_message();
	assert_null(node_parse(&arena, "x.yaml", "a: 1\nb\0: 2\n", 11));
	assert_message("x.yaml:2:2: NUL byte: this is no text file");
}

static void test_limits(void **state)
{
	char deep[2 * NODE_MAX_DEPTH + 8] = "";
	const char *laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
			     "b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
			     "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n"
			     "d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
			     "e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\n";

	(void)state;
	refuses(laughs, "x.yaml:5:36: more than 100000 values, copies by aliases counted");
	memset(deep, '[', NODE_MAX_DEPTH + 1);
	refuses(deep, "x.yaml:1:65: nested more than 64 levels deep");
	memset(deep, '[', NODE_MAX_DEPTH);
	memset(deep + NODE_MAX_DEPTH, ']', NODE_MAX_DEPTH + 1);
	deep[2 * NODE_MAX_DEPTH] = '\0';
	assert_non_null(parse(deep));
}

static void test_files(void **state)
{
	char *big = xcalloc(NODE_MAX_BYTES + 2, 1);

	(void)state;
	clear_message();
	assert_null(node_read(&arena, "absent.yaml"));
	assert_message("moelab: cannot read absent.yaml: No such file or directory");
	assert_null(node_read(&arena, "."));
	assert_message("moelab: cannot read .: it is a folder");
	memset(big, '#', NODE_MAX_BYTES + 1);
	write_file("big.yaml", big);
	assert_null(node_read(&arena, "big.yaml"));
	assert_message("moelab: cannot read big.yaml: 4194305 bytes are too many for a spec");
	write_file("good.yaml", "\xef\xbb\xbf"
				"a: 1\r\nb: x\r\n");
	assert_string_equal(node_get(node_read(&arena, "good.yaml"), "b")->text, "x");
	free(big);
}

/* Every prefix of a file with all kinds of syntax, and every byte spoilt: read, or refused. */
static void test_damaged_files(void **state)
{
	const char *text =
		"a: &x [1, 'two', \"th\\u0072ee\", *y]\nb: {c: ~, d: {e: [-1e-3]}}\n"
		"f: |\n  block\n  text\ng: >-\n  folded\n? h\n: - i\n  - j: *x\n# end\n--- &z k\n";
	const char spoil[] = {
		'\0', '\t', '\n', '"', '&', '*', ':', '[', '{', '\x80', '\xff', '\x1b'};
	size_t n = strlen(text);

	(void)state;
	for (size_t i = 0; i <= n; i++) {
		struct arena a = {0};
		clear_message();
		if (!node_parse(&a, "x.yaml", text, i))
			assert_true(
				str_starts(message, "x.yaml:") && strchr(message, '\n')[1] == '\0');
		for (size_t s = 0; i < n && s < sizeof spoil; s++) {
			char *copy = xstrdup(text);
			copy[i] = spoil[s];
			clear_message();
			if (!node_parse(&a, "x.yaml", copy, n))
				assert_true(str_starts(message, "x.yaml:"));
			free(copy);
		}
		arena_release(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_scalars),
		cmocka_unit_test(test_marks_and_order),
		cmocka_unit_test(test_canonical),
		cmocka_unit_test(test_aliases_are_copies),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_nul_byte),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_damaged_files),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
