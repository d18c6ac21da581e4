/* Held-out splits: whole groups under every rule, in the shares asked for. */
#include "scratch.h"
#include "synthetic.h"

/* Text of n lines "<number>\n", each followed by a blank line: a document each with blank:1. */
static const char *put_numbers(const char *name, int n)
{
	struct str s;
	const char *path;

	str_init(&s);
	for (int i = 0; i < n; i++)
		str_printf(&s, "%07d\n\n", i);
	path = put(name, s.text, s.length);
	str_release(&s);
	return path;
}

static void test_blocks(void **state)
{
	enum { N = 50000, BLOCK = 90 };	/* blocks of ten documents of nine bytes */
	const char *input = put_numbers("text", N);
	struct import_options o = import_of(&input, 1);
	static uint8_t seen[N];
	int borders = 0;
	struct dataset d;

	(void)state;
	o.split = "blank:1";
	o.group_by = "block:90";
	o.val = 0.04;
	o.tune = 0.1;
	import_and_open(&d, &o);
	assert_in_range(d.splits[SPLIT_VAL].n_documents, N * 0.039, N * 0.041);
	assert_in_range(d.splits[SPLIT_TUNE].n_documents, N * 0.099, N * 0.101);
	for (enum split s = 0; s < N_SPLITS; s++) {
		struct str text = split_text(&d, s);
		for (size_t i = 0; i < text.length; i += BLOCK / 10 + 1)
			seen[atoi(text.text + i)] += 1 + (s != SPLIT_TRAIN);
		str_release(&text);
	}
	for (int i = 0; i < N; i++) {
		assert_in_range(seen[i], 1, 2);			/* each document is in one split */
		assert_int_equal(seen[i], seen[i / 10 * 10]);	/* that of its whole block */
		borders += i && seen[i] != seen[i - 1];
	}
	/* Two borders for each held-out block: they stand apart. */
	assert_in_range(borders, 2 * N / 10 * 0.13, 2 * N / 10 * 0.15);
	dataset_close(&d);
}

static void test_default_shares(void **state)
{
	struct str text;
	const char *input;
	struct dataset d;

	(void)state;
	str_init(&text);
	synthetic_text(&text, 2, 1 << 20);
	input = put("text", text.text, text.length);
	struct import_options o = import_of(&input, 1);
	o.val = o.tune = -1;
	import_and_open(&d, &o);
	for (enum split s = SPLIT_VAL; s < N_SPLITS; s++)
		assert_in_range(d.splits[s].n_bytes, (1 << 20) * 0.04, (1 << 20) * 0.06);
	str_release(&text);
	dataset_close(&d);
}

/* Which split holds the text; fails if it is in none or in two. */
static enum split split_of(const struct dataset *d, const char *text)
{
	enum split found = N_SPLITS;

	for (enum split s = 0; s < N_SPLITS; s++) {
		struct str all = split_text(d, s);
		if (strstr(all.text, text)) {
			assert_int_equal(found, N_SPLITS);
			found = s;
		}
		str_release(&all);
	}
	assert_int_not_equal(found, N_SPLITS);
	return found;
}

static void test_url_hosts(void **state)
{
	static const char *const urls[] = {"http://h%d.org/a", "https://H%d.ORG",
		"http://u:p@h%d.org:80/b", "h%d.org/c", "http://h%d.org?q=/@x",
		"http://h%d.org#@y/"};
	enum { HOSTS = 60, URLS = ARRAY_SIZE(urls) };
	int count[N_SPLITS] = {0};
	struct dataset d;
	struct str s;
	const char *input;

	(void)state;
	str_init(&s);
	for (int u = 0; u < URLS; u++)
		for (int h = 0; h < HOSTS; h++) {
			str_printf(&s, "{\"text\":\"<%d %d>\",\"url\":\"", h, u);
			char *url = xasprintf("%s", urls[u]), *place = strstr(url, "%d");
			*place = '\0';
			str_printf(&s, "%s%d%s\"}\n", url, h, place + 2);
			free(url);
		}
	input = put("c4.json", s.text, s.length);
	struct import_options o = import_of(&input, 1);
	o.val = o.tune = 0.25;
	import_and_open(&d, &o);
	for (int h = 0; h < HOSTS; h++) {
		enum split first = N_SPLITS;
		for (int u = 0; u < URLS; u++) {
			char text[32];
			snprintf(text, sizeof text, "<%d %d>", h, u);
			enum split here = split_of(&d, text);
			if (u)
				assert_int_equal(here, first);
			first = here;
		}
		count[first]++;
	}
	assert_true(count[SPLIT_TRAIN] > 15 && count[SPLIT_VAL] > 5 && count[SPLIT_TUNE] > 5);
	dataset_close(&d);
	o.group_by = "url";	/* now documents of one host part */
	o.force = true;
	import_and_open(&d, &o);
	int parted = 0;
	for (int h = 0; h < HOSTS; h++) {
		char a[32], b[32];
		snprintf(a, sizeof a, "<%d 0>", h);
		snprintf(b, sizeof b, "<%d 3>", h);
		parted += split_of(&d, a) != split_of(&d, b);
	}
	assert_true(parted > 10);
	dataset_close(&d);
	str_release(&s);
}

static void test_files_and_documents(void **state)
{
	enum { FILES = 40 };
	const char *inputs[FILES];
	struct import_options o = import_of(inputs, FILES);
	int held_out = 0;
	struct dataset d;

	(void)state;
	for (int i = 0; i < FILES; i++) {
		char name[32], text[64];
		snprintf(name, sizeof name, "f%d", i);
		snprintf(text, sizeof text, "<%d a>\n\nsame text\n\n<%d b>", i, i);
		inputs[i] = xstrdup(put_text(name, text));
	}
	o.split = "blank:1";
	o.group_by = "file";
	o.val = 0.3;
	import_and_open(&d, &o);
	for (int i = 0; i < FILES; i++) {
		char a[32], b[32];
		snprintf(a, sizeof a, "<%d a>", i);
		snprintf(b, sizeof b, "<%d b>", i);
		assert_int_equal(split_of(&d, a), split_of(&d, b));
		held_out += split_of(&d, a) == SPLIT_VAL;
	}
	assert_in_range(held_out, 3, 24);
	dataset_close(&d);
	o.group_by = "document";
	o.force = true;
	import_and_open(&d, &o);
	split_of(&d, "same text");	/* copies are on one side */
	dataset_close(&d);
	for (int i = 0; i < FILES; i++)
		free((char *)inputs[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_blocks), SCRATCH_TEST(test_default_shares),
		SCRATCH_TEST(test_url_hosts), SCRATCH_TEST(test_files_and_documents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
