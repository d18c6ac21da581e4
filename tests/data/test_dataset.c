/* Token files and datasets: the form on the disk, reading across files, every kind of damage. */
#include <unistd.h>

#include "data/token_file.h"
#include "scratch.h"
#include "synthetic.h"

static const char *write_tokens(const char *name, const uint16_t *tokens, size_t n)
{
	const char *path = at(name);
	struct token_writer w;

	assert_int_equal(token_writer_open(&w, path), 0);
	assert_int_equal(token_writer_add(&w, tokens, n / 2), 0);
	assert_int_equal(token_writer_add(&w, tokens + n / 2, n - n / 2), 0);
	assert_int_equal(token_writer_close(&w), 0);
	return path;
}

/* Replace bytes of a file in place. */
static void patch(const char *path, size_t offset, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "r+b");

	assert_non_null(f);
	assert_int_equal(fseek(f, (long)offset, SEEK_SET), 0);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void test_form(void **state)
{
	static const uint16_t tokens[] = {1, 256, 3, 0x1234, 5};
	const char *path = write_tokens("t.bin", tokens, 5);
	struct token_file f;
	size_t n;
	char *bytes = path_read(path, &n);
	const uint8_t header[12] = {0x88, 0xd8, 0x34, 0x01, 1, 0, 0, 0, 5, 0, 0, 0};

	(void)state;
	assert_int_equal(n, 1024 + 10);
	assert_memory_equal(bytes, header, sizeof header);
	for (int i = sizeof header; i < 1024; i++)
		assert_int_equal(bytes[i], 0);
	assert_memory_equal(bytes + 1024 + 6, "\x34\x12", 2);
	assert_int_equal(token_file_open(&f, path, 0x1235), 0);
	assert_int_equal(f.n, 5);
	assert_memory_equal(f.tokens, tokens, sizeof tokens);
	token_file_close(&f);
	free(bytes);
}

static void check_bad(const char *path, const char *why)
{
	struct token_file f;

	n_messages = 0;
	assert_int_equal(token_file_open(&f, path, 257), -1);
	assert_int_equal(n_messages, 1);
	SAID(path);
	SAID(why);
}

static void test_bad_files(void **state)
{
	static const uint16_t tokens[] = {1, 2, 3, 4, 256};
	const char *path = write_tokens("t.bin", tokens, 5);
	struct token_file f;

	(void)state;
	assert_int_equal(token_file_open(&f, path, 257), 0);
	token_file_close(&f);
	check_bad(at("missing.bin"), "No such file");
	check_bad(put("short.bin", "abc", 3), "too few");
	patch(path, 1024 + 8, &(uint16_t){257}, 2);
	check_bad(path, "token 4 is 257");
	assert_int_equal(truncate(path, 1024 + 8), 0);
	check_bad(path, "truncated");
	assert_int_equal(truncate(path, 1024 + 12), 0);
	check_bad(path, "header says 5 tokens");
	patch(path, 8, &(int32_t){-1}, 4);
	check_bad(path, "header says -1 tokens");
	patch(path, 4, &(int32_t){2}, 4);
	check_bad(path, "version 2");
	patch(path, 0, &(int32_t){20240801}, 4);
	check_bad(path, "not a token file");
}

static void make_dataset(const char *name, size_t bytes, long file_tokens)
{
	struct str text;
	const char *input;
	struct dataset d;

	str_init(&text);
	synthetic_text(&text, 1, bytes);
	input = put("text", text.text, text.length);
	struct import_options o = import_of(&input, 1);
	o.output = at(name);
	o.val = 0.2;
	o.file_tokens = file_tokens;
	import_and_open(&d, &o);
	dataset_close(&d);
	str_release(&text);
}

static void test_files_do_not_matter(void **state)
{
	struct dataset one, many;
	struct str a, b;
	int32_t x[500], y[500];

	(void)state;
	make_dataset("one", 60000, 0);
	make_dataset("many", 60000, 777);
	assert_int_equal(dataset_open(&one, at("one")), 0);
	assert_int_equal(dataset_open(&many, at("many")), 0);
	assert_int_equal(one.splits[SPLIT_TRAIN].n_files, 1);
	assert_true(many.splits[SPLIT_TRAIN].n_files > 50);
	assert_string_equal(one.hash, many.hash);
	a = split_text(&one, SPLIT_TRAIN);
	b = split_text(&many, SPLIT_TRAIN);
	assert_int_equal(a.length, b.length);
	assert_memory_equal(a.text, b.text, a.length);
	for (long i = 0; i < 2000; i += 13) {
		assert_int_equal(dataset_read(&one, SPLIT_TRAIN, i, 500, x), 0);
		assert_int_equal(dataset_read(&many, SPLIT_TRAIN, i, 500, y), 0);
		assert_memory_equal(x, y, sizeof x);
	}
	assert_int_equal(dataset_verify(&many), 0);
	str_release(&a);
	str_release(&b);
	dataset_close(&one);
	dataset_close(&many);
}

/* Damage beyond what opening looks at is found by the first read that meets it, and by verify. */
static void test_late_damage(void **state)
{
	const char *path = at("set/train_000000.bin");
	int32_t *ids = xmalloc(200000 * sizeof *ids);
	struct dataset d;

	(void)state;
	make_dataset("set", 300000, 0);
	patch(path, 1024 + 2 * 150000, &(uint16_t){300}, 2);
	assert_int_equal(dataset_open(&d, at("set")), 0);
	assert_int_equal(dataset_read(&d, SPLIT_TRAIN, 0, 150000, ids), 0);
	assert_int_equal(dataset_read(&d, SPLIT_TRAIN, 100000, 50001, ids), -1);
	SAID("from 100000 on is not below");
	dataset_close(&d);
	patch(path, 1024 + 2 * 150000, &(uint16_t){'~'}, 2);	/* a token, but another */
	assert_int_equal(dataset_open(&d, at("set")), 0);
	assert_int_equal(dataset_verify(&d), -1);
	SAID("split train do not have the hash");
	dataset_close(&d);
	free(ids);
}

static void check_not_opened(const char *why)
{
	struct dataset d;

	n_messages = 0;
	assert_int_equal(dataset_open(&d, at("set")), -1);
	assert_int_equal(n_messages, 1);
	SAID(why);
}

static void replace(const char *path, const char *from, const char *to)
{
	char *text = path_read(path, NULL), *found = strstr(text, from), *changed;

	assert_non_null(found);
	changed = xasprintf("%.*s%s%s", (int)(found - text), text, to, found + strlen(from));
	assert_int_equal(path_write(path, changed, strlen(changed)), 0);
	free(text);
	free(changed);
}

static void test_bad_json(void **state)
{
	const char *path = at("set/dataset.json");

	(void)state;
	check_not_opened("no dataset");
	make_dataset("set", 60000, 20000);
	replace(path, "\"version\": 1", "\"version\": 3");
	check_not_opened("version 3, only 1 and 2 can be read");
	replace(path, "\"version\": 3", "\"version\": 2");
	check_not_opened("row");	/* of rows, which these are not */
	replace(path, "\"version\": 2", "\"version\": 1");
	replace(path, "\"tokenizer\": \"byte\"", "\"tokenizer\": \"bite\"");
	check_not_opened("hash does not fit");
	replace(path, "\"tokenizer\": \"bite\"", "\"tokenizer\": \"byte\"");
	replace(path, "\"vocab\": 257", "\"vocab\": 300");
	check_not_opened("end of text is token 256");
	replace(path, "\"vocab\": 300", "\"vocab\": \"many\"");
	check_not_opened("dataset.json");
	replace(path, "\"many\"", "70000");
	check_not_opened("out of range");
	replace(path, "\"vocab\": 70000", "\"vocab\": 257");
	replace(path, "\"file_tokens\": 20000", "\"file_tokens\": 19999");
	check_not_opened("holds 20000 tokens, dataset.json says 19999");
	replace(path, "moelab dataset", "other");
	check_not_opened("does not describe a dataset");
	put_text("set/dataset.json", "{\"format\": ");
	check_not_opened("dataset.json:1:");
}

static void test_missing_file(void **state)
{
	(void)state;
	make_dataset("set", 60000, 20000);
	assert_int_equal(truncate(at("set/train_000001.bin"), 5000), 0);
	check_not_opened("truncated");
	assert_int_equal(unlink(at("set/train_000001.bin")), 0);
	check_not_opened("train_000001.bin: No such file");
}

static void test_bits(void **state)
{
	struct dataset d = {.splits = {{.n_tokens = 300, .n_bytes = 900}}};

	(void)state;
	assert_true(dataset_bits_per_nat(&d, SPLIT_TRAIN) * 3 * 0.69314718 - 1 < 1e-7);
	assert_true(dataset_bits_per_nat(&d, SPLIT_TRAIN) * 3 * 0.69314719 - 1 > -1e-7);
	assert_true(dataset_bits_per_nat(&d, SPLIT_VAL) == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_form), SCRATCH_TEST(test_bad_files),
		SCRATCH_TEST(test_files_do_not_matter), SCRATCH_TEST(test_late_damage),
		SCRATCH_TEST(test_bad_json), SCRATCH_TEST(test_missing_file),
		SCRATCH_TEST(test_bits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
