/* Import with many threads, and of tokens that other programs made. */
#include "data/order.h"
#include "scratch.h"
#include "synthetic.h"

/* --- threads ------------------------------------------------------------------------------- */

/* Shards as C4 has them: JSON lines in gzip of several members, of very different length. */
static void put_shards(char **inputs, int n)
{
	struct str text, lines;

	str_init(&text);
	str_init(&lines);
	for (int i = 0; i < n; i++) {
		char *name = xasprintf("c4-train.%05d-of-%05d.json.gz", i, n);
		str_clear(&text);
		synthetic_text(&text, (uint64_t)i, 3000000u >> (3 * i % 11));
		for (size_t j = 0; j < text.length; j++)
			if (text.text[j] == '\n')
				text.text[j] = ' ';
		inputs[i] = xstrdup(at(name));
		for (size_t j = 0; j + 2000 < text.length; j += 2000) {
			str_clear(&lines);
			for (size_t k = 0; k < 2000; k += 500)
				str_printf(&lines, "{\"text\":\"%d %.90s\","
					"\"url\":\"http://%zu.org\"}\n", i,
					text.text + j + k, (j + k) / 4000);
			put_gzip(name, lines.text, lines.length);
		}
		put_gzip(name, "{bad line}\n", 11);
		free(name);
	}
	str_release(&lines);
	str_release(&text);
}

static void free_shards(char **inputs, int n)
{
	for (int i = 0; i < n; i++)
		free(inputs[i]);
}

static void test_threads(void **state)
{
	enum { N = 7 };
	char *inputs[N], *expected = NULL;

	(void)state;
	put_shards(inputs, N);
	struct import_options o = import_of((const char *const *)inputs, N);
	o.tokenizer = "gpt2";
	o.val = o.tune = 0.1;
	o.force = true;
	o.file_tokens = 50000;
	o.lenient = true;	/* the smallest shards have few lines beside the bad one */
	for (o.threads = 1; o.threads <= 16; o.threads *= 2) {
		struct dataset d;
		char *json;
		import_and_open(&d, &o);
		assert_int_equal(dataset_verify(&d), 0);
		dataset_close(&d);
		json = path_read(at("set/dataset.json"), NULL);	/* has the hashes of all tokens */
		assert_non_null(strstr(json, "\"bad_lines_skipped\": 7,"));
		if (expected)
			assert_string_equal(json, expected);
		free(expected);
		expected = json;
	}
	free(expected);
	o.threads = 2000;
	assert_int_equal(data_import(&o), -1);
	SAID("not from 1 to 1024");
	free_shards(inputs, N);
}

/* A failure in one of many inputs ends all, and leaves nothing. */
static void test_failure(void **state)
{
	enum { N = 7 };
	char *inputs[N], *bytes;
	size_t n;

	(void)state;
	put_shards(inputs, N);
	struct import_options o = import_of((const char *const *)inputs, N);
	o.threads = 4;
	bytes = path_read(inputs[3], &n);
	assert_int_equal(path_write(inputs[3], bytes, n - 5), 0);
	free(bytes);
	assert_int_equal(data_import(&o), -1);
	assert_int_equal(n_entries("set"), 0);
	free_shards(inputs, N);
}

/* --- tokens -------------------------------------------------------------------------------- */

enum { EOT = 50256 };

static const char *put_tokens(const char *name, bool header, const uint16_t *ids, size_t n)
{
	int32_t head[256] = {20240520, 1, (int32_t)n};
	struct str bytes;
	const char *path;

	str_init(&bytes);
	if (header)
		str_add_bytes(&bytes, head, sizeof head);
	str_add_bytes(&bytes, ids, n * sizeof *ids);
	path = put(name, bytes.text, bytes.length);
	str_release(&bytes);
	return path;
}

static struct import_options tokens_of(const char *const *inputs, int n, const char *format)
{
	struct import_options o = import_of(inputs, n);

	o.tokenizer = "gpt2";
	o.format = format;
	o.force = true;
	return o;
}

static void check_split(const struct dataset *d, enum split s, const uint16_t *ids, long n,
	long n_documents, long n_bytes)
{
	int32_t got[100];

	assert_int_equal(d->splits[s].n_tokens, n);
	assert_int_equal(d->splits[s].n_documents, n_documents);
	assert_int_equal(d->splits[s].n_bytes, n_bytes);
	assert_int_equal(dataset_read(d, s, 0, n, got), 0);
	for (long i = 0; i < n; i++)
		assert_int_equal(got[i], ids[i]);
}

/* "Hello world", " the": as nanoGPT writes documents, and as llm.c does. */
static const uint16_t ends[] = {15496, 995, EOT, 262, EOT}, begins[] = {EOT, 15496, 995, EOT, 262};

static void test_formats(void **state)
{
	const char *inputs[] = {put_tokens("a.bin", false, ends, 5),
		put_tokens("b.bin", true, begins, 5)};
	struct dataset d;

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct import_options o = tokens_of(&inputs[i], 1, i ? "llmc" : "nanogpt");
		import_and_open(&d, &o);
		check_split(&d, SPLIT_TRAIN, i ? begins : ends, 5, 2, 15);
		dataset_close(&d);
	}
}

/* Files of the other program's validation set are ours, and then nothing else is. */
static void test_val_files(void **state)
{
	static const uint16_t other[] = {13, EOT};
	const char *inputs[] = {put_tokens("x_train_1.bin", false, ends, 5),
		put_tokens("x_val_0.bin", false, other, 2),
		put_tokens("interval-valley.bin", false, other, 2)};
	static const uint16_t train[] = {15496, 995, EOT, 262, EOT, 13, EOT};
	struct import_options o = tokens_of(inputs, 3, "nanogpt");
	struct dataset d;

	(void)state;
	o.val = -1;
	import_and_open(&d, &o);
	check_split(&d, SPLIT_TRAIN, train, 7, 3, 16);
	check_split(&d, SPLIT_VAL, other, 2, 1, 1);
	dataset_close(&d);
}

/* What moelab wrote itself comes back, with its splits and across files. */
static void test_own_files(void **state)
{
	struct dataset d, again;
	char *inputs[200];
	struct str text;
	int n = 0;

	(void)state;
	str_init(&text);
	synthetic_text(&text, 2, 400000);
	const char *input = put("text", text.text, text.length);
	struct import_options o = import_of(&input, 1);
	o.tokenizer = "gpt2";
	o.split = "blank:1";
	o.val = 0.1;
	o.file_tokens = 5000;		/* documents go across files */
	import_and_open(&d, &o);
	for (enum split s = SPLIT_TRAIN; s <= SPLIT_VAL; s++)
		for (int i = 0; i < d.splits[s].n_files; i++)
			inputs[n++] = xasprintf("%s/%s_%06d.bin", d.folder, split_name(s), i);
	assert_true(n > 20);
	o = tokens_of((const char *const *)inputs, n, "llmc");
	o.output = at("again");
	o.val = -1;
	import_and_open(&again, &o);
	for (enum split s = 0; s < N_SPLITS; s++) {
		assert_string_equal(again.splits[s].hash, d.splits[s].hash);
		assert_int_equal(again.splits[s].n_tokens, d.splits[s].n_tokens);
		assert_int_equal(again.splits[s].n_bytes, d.splits[s].n_bytes);
	}
	assert_string_equal(again.hash, d.hash);
	dataset_close(&again);
	dataset_close(&d);
	str_release(&text);
	while (n)
		free(inputs[--n]);
}

/* Tokens without any end of text are one long document, cut where it gets too long. */
static void test_no_documents(void **state)
{
	const size_t n = (20 << 20) / 2;
	uint16_t *ids = xcalloc(n, sizeof *ids);
	const char *input = put_tokens("a.bin", false, ids, n);
	struct import_options o = tokens_of(&input, 1, "nanogpt");
	struct sequences s;
	struct dataset d;

	(void)state;
	import_and_open(&d, &o);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_tokens, n);
	assert_int_equal(d.splits[SPLIT_TRAIN].n_documents, 2);
	assert_int_equal(sequences_init(&s, &d, SPLIT_TRAIN, 8, 1) | sequences_sample(&s, SAMPLING_PAPER, 0), 0);
	assert_true(s.packing.n_documents == 1 && s.packing.ends[0] == (long)n);
	sequences_release(&s);
	dataset_close(&d);
	free(ids);
}

static void check_bad(const char *input, const char *format, const char *why)
{
	struct import_options o = tokens_of(&input, 1, format);

	n_messages = 0;
	assert_int_equal(data_import(&o), -1);
	SAID(why);
	assert_int_equal(n_messages, 1);
	assert_int_equal(n_entries("set"), 0);
}

static void test_bad_tokens(void **state)
{
	static const uint16_t large[] = {1, 50257, EOT};
	const char *path;
	char *bytes;
	size_t n;

	(void)state;
	check_bad(put_tokens("a.bin", false, large, 3), "nanogpt", "a.bin: holds token 50257");
	check_bad(put("b.bin", "abc", 3), "nanogpt", "ends inside a token");
	check_bad(put("b.bin", "", 0), "nanogpt", "empty corpus");
	check_bad(put_tokens("c.bin", false, ends, 5), "llmc", "too few for a token file");
	path = put_tokens("d.bin", true, ends, 5);
	check_bad(path, "nanogpt", "holds token 55432");	/* the header */
	check_bad(path, "raw", "not text, jsonl, nanogpt or llmc");
	bytes = path_read(path, &n);
	check_bad(put("e.bin", bytes, n - 2), "llmc", "holds 4 tokens, but its header says 5");
	check_bad(put("e.bin", bytes, n - 1), "llmc", "ends inside a token");
	check_bad(put("e.bin", bytes, 1000), "llmc", "too few");
	bytes[0] ^= 1;
	check_bad(put("e.bin", bytes, n), "llmc", "not a token file");
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_threads), SCRATCH_TEST(test_failure), SCRATCH_TEST(test_formats),
		SCRATCH_TEST(test_val_files), SCRATCH_TEST(test_own_files),
		SCRATCH_TEST(test_no_documents), SCRATCH_TEST(test_bad_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
