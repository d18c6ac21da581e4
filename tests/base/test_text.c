/* Texts and arenas. */
#include "base/arena.h"
#include "base/str.h"
#include "test.h"

static void test_str_grows(void **state)
{
	struct str s;

	(void)state;
	str_init(&s);
	assert_string_equal(s.text, "");
	for (int i = 0; i < 1000; i++)
		str_printf(&s, "%d,", i % 10);
	assert_int_equal(s.length, 2000);
	assert_int_equal(strlen(s.text), 2000);
	assert_memory_equal(s.text + 1990, "5,6,7,8,9,", 10);
	str_add_bytes(&s, "a\0b", 3);
	assert_int_equal(s.length, 2003);
	assert_memory_equal(s.text + 2000, "a\0b", 4);
	str_clear(&s);
	assert_string_equal(s.text, "");
	str_release(&s);
}

static void test_list_is_kept(void **state)
{
	struct arena a = {0};
	struct str s;

	(void)state;
	str_init(&s);
	for (int i = 0; i < 3; i++)
		str_add_item(&s, "%c%d", 'a' + i, i);
	assert_string_equal(str_keep(&s, &a), "a0, b1, c2");
	assert_null(s.text);
	arena_release(&a);
}

static void test_bytes_are_printable(void **state)
{
	struct str s;

	(void)state;
	str_init(&s);
	str_add_printable(&s, "a \n\xff\0b", 6);
	assert_string_equal(s.text, "a \\x0a\\xff\\x00b");
	str_release(&s);
}

static void test_places_in_lists(void **state)
{
	static const char *const list[] = {"a", "bc", "b"};

	(void)state;
	assert_int_equal(str_index("b", list, 3), 2);
	assert_int_equal(str_index("a", list, 3), 0);
	assert_int_equal(str_index("b", list, 2), -1);
	assert_int_equal(str_index("", list, 3), -1);
}

static void test_shell_words(void **state)
{
	struct str s;

	(void)state;
	str_init(&s);
	str_add(&s, "run");
	str_add_word(&s, "a/b-c.yaml");
	str_add_word(&s, "it's $here");
	str_add_word(&s, "");
	assert_string_equal(s.text, "run a/b-c.yaml 'it'\\''s $here' ''");
	str_release(&s);
}

static void test_starts_ends(void **state)
{
	(void)state;
	assert_true(str_starts("model.moe", "model."));
	assert_true(str_starts("model", ""));
	assert_false(str_starts("mod", "model"));
	assert_true(str_ends("a.yaml", ".yaml"));
	assert_false(str_ends("yaml", ".yaml"));
	assert_false(str_ends("a.yaml", ".yam"));
	assert_true(str_ends_nocase("a.YaML", ".yaml"));
	assert_false(str_ends_nocase("aml", ".yaml"));
}

static void test_utf8(void **state)
{
	static const char *const texts[] = {"", "a b", "caf\xc3\xa9", "\xf0\x9f\x98\x80", "\xe2\x82\xac"};
	static const char *const others[] = {"\x01", "\x1b[31m", "\x7f", "\xff", "\xc3", "\xc0\x80",
		"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xc2\x85", "\xef\xbf\xbf", "a\rb", "\xe2\x82"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_true(str_is_line(texts[i]) && str_is_text(texts[i]));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(str_is_line(others[i]) || str_is_text(others[i]));
	assert_true(str_is_text("a\tb\n"));
	assert_false(str_is_line("a\tb") || str_is_line("a\n"));
}

static void test_nearest(void **state)
{
	static const char *const keys[] = {"n_experts", "d_expert", "capacity_factor"};

	(void)state;
	assert_string_equal(str_nearest("n_expert", keys, 3), "n_experts");
	assert_string_equal(str_nearest("dexpert", keys, 3), "d_expert");
	assert_string_equal(str_nearest("capacty_factr", keys, 3), "capacity_factor");
	assert_null(str_nearest("learning_rate", keys, 3));
	assert_null(str_nearest("x", keys, 0));
}

static void test_numbers(void **state)
{
	static const char *const no_long[] = {"", "x", "12x", "1.5", "99999999999999999999"};
	static const char *const no_double[] = {"", "x", "1e", "1.5 ", "1e999"};
	long long whole = 7;
	double real = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(no_long); i++)
		assert_false(str_to_long(no_long[i], &whole));
	for (size_t i = 0; i < ARRAY_SIZE(no_double); i++)
		assert_false(str_to_double(no_double[i], &real));
	assert_int_equal(whole, 7);
	assert_true(real == 7);
	assert_true(str_to_long("-123456789012", &whole) && whole == -123456789012);
	assert_true(str_to_double("-2.5e-3", &real) && real == -2.5e-3);
}

static void test_for_people(void **state)
{
	char b[32];

	(void)state;
	assert_string_equal(str_count(0, b), "0");
	assert_string_equal(str_count(999, b), "999");
	assert_string_equal(str_count(1000, b), "1,000");
	assert_string_equal(str_count(-1234567, b), "-1,234,567");
	assert_string_equal(str_bytes(1023, b), "1023 B");
	assert_string_equal(str_bytes(1.5 * 1024 * 1024 * 1024, b), "1.5 GiB");
	assert_string_equal(str_duration(9.94, b), "9.9 s");
	assert_string_equal(str_duration(119, b), "119 s");
	assert_string_equal(str_duration(7500, b), "2 h 5 min");
	assert_string_equal(str_duration(3 * 86400 + 3600, b), "3 d 1 h");
}

static void test_arena(void **state)
{
	static const size_t sizes[] = {1, 64, 65, 100000, 3, 0, 1 << 20, 17};
	struct arena a = {0};
	char *piece[200];
	size_t n = ARRAY_SIZE(piece);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		size_t size = sizes[i % ARRAY_SIZE(sizes)];
		piece[i] = arena_get(&a, size);
		assert_int_equal((uintptr_t)piece[i] % 64, 0);
		for (size_t k = 0; k < size; k++)
			assert_int_equal(piece[i][k], 0);
		memset(piece[i], (int)(i + 1), size);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < sizes[i % ARRAY_SIZE(sizes)]; k++)
			if (piece[i][k] != (char)(i + 1))
				fail_msg("piece %zu was overwritten at %zu", i, k);
	assert_string_equal(arena_strdup(&a, "text"), "text");
	assert_string_equal(arena_printf(&a, "%d/%s", 5, "x"), "5/x");
	arena_release(&a);
	assert_int_equal(a.used_bytes, 0);
	assert_null(a.blocks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_str_grows), TEST(test_list_is_kept), TEST(test_bytes_are_printable),
		TEST(test_places_in_lists), TEST(test_shell_words),
		TEST(test_starts_ends), TEST(test_utf8), TEST(test_nearest), TEST(test_numbers),
		TEST(test_for_people), TEST(test_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
