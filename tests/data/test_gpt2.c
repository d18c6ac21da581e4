/*
 * Tokenizer gpt2: the tokens of an independent implementation (npm js-tiktoken 1.0.21, r50k_base;
 * tests/oracle/tokenizer_check.mjs compares far more text), and bytes that are not text.
 */
#include "scratch.h"

static struct tokenizer gpt2;

static int setup(void **state)
{
	(void)state;
	return tokenizer_open(&gpt2, "gpt2");
}

static int teardown(void **state)
{
	(void)state;
	tokenizer_close(&gpt2);
	return 0;
}

static struct token_list encode(const void *bytes, size_t n)
{
	struct token_list ids = {0};

	tokenizer_encode(&gpt2, bytes, n, &ids);
	return ids;
}

static void check_text(const struct token_list *ids, const struct str *expected)
{
	struct str text;

	str_init(&text);
	for (size_t i = 0; i < ids->n; i++)
		tokenizer_decode(&gpt2, &(int32_t){ids->id[i]}, 1, &text);
	assert_int_equal(text.length, expected->length);
	assert_memory_equal(text.text, expected->text, text.length);
	str_release(&text);
}

static void check(const char *text, size_t n_bytes, const uint16_t *expected, size_t n)
{
	struct token_list ids = encode(text, n_bytes);

	assert_int_equal(ids.n, n);
	assert_memory_equal(ids.id, expected, n * sizeof *expected);
	token_list_release(&ids);
}

static const struct golden {
	const char *text;
	size_t n;
	uint16_t ids[64];
} golden[] = {
	{"Hello world",
		2, {15496, 995}},
	{"The quick brown fox jumps over the lazy dog.",
		10, {464, 2068, 7586, 21831, 18045, 625, 262, 16931, 3290, 13}},
	{"it's I'LL we'll don't they've I'm he'd you're 'sup '' ''s",
		22, {270, 338, 314, 6, 3069, 356, 1183, 836, 470, 484, 1053, 314, 1101, 339,
		1549, 345, 821, 705, 37330, 10148, 10148, 82}},
	{"for (int i = 0; i < n; i++)\n\t\tsum += x[i] * 0x1F; // ok\r\n",
		32, {1640, 357, 600, 1312, 796, 657, 26, 1312, 1279, 299, 26, 1312, 29577, 198,
		197, 197, 16345, 15853, 2124, 58, 72, 60, 1635, 657, 87, 16, 37, 26, 3373,
		12876, 201, 198}},
	{"   three spaces   and a tail   ",
		12, {220, 220, 1115, 9029, 220, 220, 290, 257, 7894, 220, 220, 220}},
	{"\n\n\n  \n\tx\n",
		8, {628, 198, 220, 220, 198, 197, 87, 198}},
	{"1234567890 3.14159 1,000,000 \302\275 \342\205\247 \331\243\331\244",
		21, {10163, 2231, 30924, 3829, 513, 13, 1415, 19707, 352, 11, 830, 11, 830,
		25208, 2343, 227, 100, 18923, 96, 149, 97}},
	{"na\303\257ve Stra\303\237e \303\203\303\202\303\203\303\202 \316\251\316\274"
		"\316\255\316\263\316\261 \320\237\321\200\320\270\320\262\320\265\321"
		"\202 \327\251\327\234\327\225\327\235",
		27, {2616, 38776, 15195, 39683, 68, 220, 5815, 7377, 102, 34703, 138, 255,
		42063, 17394, 12466, 253, 21169, 18849, 38857, 16843, 20375, 14360, 102, 40010,
		27072, 147, 251}},
	{"\346\227\245\346\234\254\350\252\236\343\201\256\343\203\206\343\202\255\343"
		"\202\271\343\203\210 \344\270\255\346\226\207\345\255\227\347\254\246 "
		"\355\225\234\352\265\255\354\226\264",
		28, {33768, 98, 17312, 105, 45739, 252, 5641, 24336, 25084, 43302, 220, 40792,
		23877, 229, 27764, 245, 163, 105, 99, 220, 47991, 250, 166, 113, 255, 168, 244,
		112}},
	{"\360\237\230\200\360\237\221\215\360\237\217\275\360\237\221\251\342\200\215"
		"\360\237\221\251\342\200\215\360\237\221\247\360\237\207\251\360\237"
		"\207\252 \342\230\203",
		25, {47249, 222, 41840, 235, 8582, 237, 121, 41840, 102, 447, 235, 41840, 102,
		447, 235, 41840, 100, 8582, 229, 102, 8582, 229, 103, 34719, 225}},
	{"e\314\201a\314\210\314\243 \314\201x \340\244\225\340\244\277",
		16, {68, 136, 223, 64, 136, 230, 136, 96, 220, 136, 223, 87, 28225, 243, 11976,
		123}},
	{"<|endoftext|>",
		7, {27, 91, 437, 1659, 5239, 91, 29}},
	{"\001\177\302\200",
		4, {189, 221, 126, 222}},
	{"a\302\240b\343\200\200c\342\200\250d\302\205e\341\240\216f\357\273\277g",
		20, {64, 1849, 65, 5099, 222, 66, 447, 101, 67, 126, 227, 68, 157, 254, 236,
		69, 171, 119, 123, 70}},
	{"-------------------------------------------------------------------------------"
		"---------------------",
		3, {10097, 3880, 650}},
	{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		13, {24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794,
		24794, 24794, 7252}},
	{"                                        x",
		40, {220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220,
		220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220, 220,
		220, 220, 220, 220, 220, 220, 220, 220, 2124}},
	{" SolidGoldMagikarp attRot externalTo",
		3, {43453, 35207, 30208}},
	/* U+180E, U+FEFF and U+200B are no white space, U+0085 is */
	{"\n\n\341\240\216\n\n\357\273\277\n\n\302\205\n\n\342\200\213",
		16, {198, 198, 157, 254, 236, 198, 198, 171, 119, 123, 628, 126, 227, 198, 198,
		9525}},
	{"supercalifragilisticexpialidocious antidisestablishmentarianism",
		16, {16668, 9948, 361, 22562, 346, 396, 501, 42372, 498, 312, 32346, 1885,
		29207, 44390, 3699, 1042}},
};

static void test_golden(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(golden); i++)
		check(golden[i].text, strlen(golden[i].text), golden[i].ids, golden[i].n);
}

/* A word of 6,000 letters, by the heap as by the plain search of the other implementation. */
static void test_long_word(void **state)
{
	static const char letters[] = "etaoinshrdlucmfwyp";
	char word[6000];
	uint32_t x = 1, hash = 2166136261u;
	struct token_list ids;

	(void)state;
	for (size_t i = 0; i < sizeof word; i++) {
		x = x * 1664525u + 1013904223u;
		word[i] = letters[(x >> 24) % (sizeof letters - 1)];
	}
	ids = encode(word, sizeof word);
	assert_int_equal(ids.n, 3075);
	for (size_t i = 0; i < ids.n; i++)
		hash = (hash ^ ids.id[i]) * 16777619u;
	assert_int_equal(hash, 1255271899);
	token_list_release(&ids);
}

/* Runs so long that a pattern which goes back step by step, or a plain search, would not end. */
static void test_long_runs(void **state)
{
	static const char *const units[] = {" ", "\n", "a", "1", "-", "\xcc\x81", "\xe3\x80\x80",
		"\xff"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
		struct token_list ids;
		struct str text;
		str_init(&text);
		for (int j = 0; j < 200000; j++)
			str_add(&text, units[i]);
		str_add(&text, "x");
		ids = encode(text.text, text.length);
		check_text(&ids, &text);
		token_list_release(&ids);
		str_release(&text);
	}
}

static bool prints(int byte)
{
	return (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
}

/* Ids of bytes: first those that print. */
static uint16_t byte_id(uint8_t byte)
{
	int id = 0;

	for (int other = 0; other < 256; other++)
		id += prints(other) == prints(byte) ? other < byte : prints(other);
	return (uint16_t)id;
}

/* What is not UTF-8 is cut out byte by byte, and what stands around it is text of its own. */
static void test_not_utf8(void **state)
{
	static const char *const bad[] = {"\xff", "\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf",
		"\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
		"\xe2\x82", "\xf0\x9f\x98", "\xc3", "\xc3\xc3"};
	static const char *const good[] = {"\x7f", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80",
		"\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
		"\xf4\x8f\xbf\xbf"};
	enum { LINE = 198, TWO_LINES = 628, THE = 262 };	/* "\n", "\n\n", " the" */

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint16_t expected[8] = {TWO_LINES};
		size_t n = strlen(bad[i]);
		char *text = xasprintf("\n\n%s the", bad[i]);
		for (size_t j = 0; j < n; j++)
			expected[1 + j] = byte_id((uint8_t)bad[i][j]);
		expected[1 + n] = THE;
		check(text, strlen(text), expected, 2 + n);
		free(text);
	}
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {	/* text follows: the lines are apart */
		char *text = xasprintf("\n\n%s", good[i]);
		struct token_list ids = encode(text, strlen(text));
		assert_int_equal(ids.id[0], LINE);
		assert_int_equal(ids.id[1], LINE);
		token_list_release(&ids);
		free(text);
	}
	check("\0", 1, (const uint16_t[]){188}, 1);
	check("\xe2\x82\xac", 3, (const uint16_t[]){26391}, 1);
	check("", 0, NULL, 0);
}

/* All bytes have their tokens, and a word that is a token is found as that. */
static void test_vocabulary(void **state)
{
	struct str text;
	struct token_list ids;
	int n_found = 0;

	(void)state;
	str_init(&text);
	for (int b = 0; b < 256; b++) {
		str_clear(&text);
		tokenizer_decode(&gpt2, &(int32_t){byte_id((uint8_t)b)}, 1, &text);
		assert_int_equal(text.length, 1);
		assert_int_equal((uint8_t)text.text[0], b);
	}
	for (int32_t id = 0; id < 50256; id++) {
		str_clear(&text);
		tokenizer_decode(&gpt2, &id, 1, &text);
		ids = encode(text.text, text.length);
		if (ids.n == 1) {
			assert_int_equal(ids.id[0], id);
			n_found++;
		}
		token_list_release(&ids);
	}
	/* The others have bytes that are no characters alone, or cross the words of the pattern. */
	assert_true(n_found > 49000);
	str_release(&text);
}

/* More words than are remembered, twice: what was met before changes nothing. */
static void test_memory_of_words(void **state)
{
	enum { WORDS = 60000 };
	struct rng_key key = {.seed = 9};
	struct token_list first, second;
	struct str text;

	(void)state;
	str_init(&text);
	for (uint64_t i = 0; i < WORDS; i++) {
		struct rng_block b = rng_block(key, i);
		int n = 1 + (int)(b.word[0] % 6);
		for (int j = 0; j < n; j++)
			str_printf(&text, "%c", 'a' + (int)((b.word[1] >> (5 * j)) % 26));
		str_add(&text, b.word[2] % 3 ? " " : "");
	}
	first = encode(text.text, text.length);
	check_text(&first, &text);
	second = encode(text.text, text.length);
	assert_int_equal(first.n, second.n);
	assert_memory_equal(first.id, second.id, first.n * sizeof *first.id);
	token_list_release(&first);
	token_list_release(&second);
	str_release(&text);
}

/* Random bytes, and random pieces of characters, come back. */
static void test_random(void **state)
{
	static const char *const pieces[] = {"\xe2", "\x82", "\xac", "\xf0\x9f\x98\x80", " ", "  ",
		"\n", "'s", "a", "\xc3\xa9", "\xcc\x81", "7", "\xe3\x80\x80", "\xff", ".", "the"};
	struct rng_key key = {.seed = 3};
	struct token_list ids;
	struct str text;

	(void)state;
	str_init(&text);
	for (key.step = 0; key.step < 2000; key.step++) {
		str_clear(&text);
		for (uint64_t i = 0; i < 1 + key.step % 200; i++) {
			uint32_t r = rng_block(key, i).word[0];
			if (key.step % 2)
				str_add(&text, pieces[r % ARRAY_SIZE(pieces)]);
			else
				str_add_bytes(&text, &r, 4);
		}
		ids = encode(text.text, text.length);
		check_text(&ids, &text);
		token_list_release(&ids);
	}
	str_release(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden), cmocka_unit_test(test_long_word),
		cmocka_unit_test(test_long_runs), cmocka_unit_test(test_not_utf8),
		cmocka_unit_test(test_vocabulary), cmocka_unit_test(test_memory_of_words),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
