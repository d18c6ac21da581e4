/* Tokenizers: lossless on any bytes, ids in range, end of text apart from all text. */
#include "scratch.h"

static void fill_random(uint8_t *bytes, size_t n, uint64_t seed)
{
	struct rng_key key = {.seed = seed};

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)rng_block(key, i).word[0];
}

static void check_round_trip(const struct tokenizer *t, const void *bytes, size_t n)
{
	struct token_list ids = {0};
	struct str text;

	str_init(&text);
	tokenizer_encode(t, bytes, n, &ids);
	for (size_t i = 0; i < ids.n; i++) {
		int32_t id = ids.id[i];
		assert_true(id < t->type->vocab && id != t->type->eot);
		tokenizer_decode(t, &id, 1, &text);
	}
	assert_int_equal(text.length, n);
	assert_memory_equal(text.text, bytes, n);
	str_release(&text);
	token_list_release(&ids);
}

static void test_round_trip(void **state)
{
	static const char *const texts[] = {"", "a", "Hello world, it's 3 o'clock.\n\n  x",
		"na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80", "\xff\xfe broken \xc3",
		"<|endoftext|>"};
	uint8_t bytes[3000];

	(void)state;
	for (const struct tokenizer_type *const *type = tokenizer_types; *type; type++) {
		struct tokenizer t;
		assert_int_equal(tokenizer_open(&t, (*type)->name), 0);
		for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
			check_round_trip(&t, texts[i], strlen(texts[i]));
		for (size_t n = 1; n < sizeof bytes; n = n * 3 + 1) {
			fill_random(bytes, n, n);
			check_round_trip(&t, bytes, n);
		}
		tokenizer_close(&t);
	}
}

static void test_types(void **state)
{
	(void)state;
	for (const struct tokenizer_type *const *type = tokenizer_types; *type; type++) {
		struct tokenizer t;
		struct str text;
		assert_true((*type)->vocab <= 65536);
		assert_int_equal((*type)->eot, (*type)->vocab - 1);
		assert_int_equal(tokenizer_open(&t, (*type)->name), 0);
		str_init(&text);
		tokenizer_decode(&t, &(int32_t){(*type)->eot}, 1, &text);
		assert_int_equal(text.length, 0);
		str_release(&text);
		tokenizer_close(&t);
	}
}

static void test_byte(void **state)
{
	struct token_list ids = {0};
	struct tokenizer t;

	(void)state;
	assert_int_equal(tokenizer_open(&t, "byte"), 0);
	assert_int_equal(t.type->vocab, 257);
	assert_int_equal(t.type->eot, 256);
	tokenizer_encode(&t, "A\xff", 2, &ids);
	tokenizer_encode(&t, "\0", 1, &ids);	/* appends */
	assert_int_equal(ids.n, 3);
	assert_int_equal(ids.id[0], 'A');
	assert_int_equal(ids.id[1], 255);
	assert_int_equal(ids.id[2], 0);
	token_list_release(&ids);
	tokenizer_close(&t);
}

static void test_unknown(void **state)
{
	struct tokenizer t;

	(void)state;
	assert_int_equal(tokenizer_open(&t, "bytes"), -1);
	SAID("\"bytes\"");
	SAID("there is: byte, gpt2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_round_trip), SCRATCH_TEST(test_types), SCRATCH_TEST(test_byte),
		SCRATCH_TEST(test_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
