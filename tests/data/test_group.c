/* Held-out splits: whole groups under every rule, in the shares asked for. */
#include "data/manifest.h"
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

/* Documents "<i j>" of n groups, each of several members, with the urls that I and J in `url` make
   of i and j. Each group has to be in one split, and each split has to have some. */
static void check_groups(const char *url, const char *rule, int n, int members)
{
	int count[N_SPLITS] = {0};
	struct dataset d;
	struct str s;

	str_init(&s);
	for (int j = 0; j < members; j++)
		for (int i = 0; i < n; i++) {
			str_printf(&s, "{\"text\":\"<%d %d>\",\"url\":\"", i, j);
			for (const char *c = url; *c; c++)
				if (*c == 'I')
					str_printf(&s, "%d", i);
				else if (*c == 'J')
					str_printf(&s, "%d", j);
				else
					str_add_bytes(&s, c, 1);
			str_add(&s, "\"}\n");
		}
	const char *input = put("groups.json", s.text, s.length);
	struct import_options o = import_of(&input, 1);
	o.val = o.tune = 0.25;
	o.group_by = rule;
	o.force = true;
	import_and_open(&d, &o);
	for (int i = 0; i < n; i++) {
		enum split first = N_SPLITS;
		for (int j = 0; j < members; j++) {
			char text[32];
			snprintf(text, sizeof text, "<%d %d>", i, j);
			enum split here = split_of(&d, text);
			if (j)
				assert_int_equal(here, first);
			first = here;
		}
		count[first]++;
	}
	assert_true(count[SPLIT_TRAIN] > 10 && count[SPLIT_VAL] > 3 && count[SPLIT_TUNE] > 3);
	dataset_close(&d);
	str_release(&s);
}

/* Chapters of a book and files of a repository stay together; others part. */
static void test_url_parts(void **state)
{
	enum { N = 40 };
	static const char *const cases[][2] = {
		{"https://g.com/books/bI.md#part-J", "url"},
		{"https://g.com/owner/repoI/blob/J/x.md", "url:2"},
		{"https://G.com/owner/repoI?J", "url:2"},
		{"http://u:p@hI.org:80J/a", "url:0"},
		{"pack:nameI/J/a.html#J", "url-host"},
		{"https://g.com/owner/repoI/blob/J", "*/owner/*=url:2,document"},
		{"https://g.com/owner/repoI/blob/J", "*/other/*=document,*/@(x|owner)/*=url:2,url"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		check_groups(cases[i][0], cases[i][1], N, 4);
	check_groups("https://g.com/owner/repo/x/I", "url:4", N, 1);	/* the last part counts */
	check_groups("https://g.com/owner/repo/x/I", "*/none/*=url:2,url:4", N, 1);
}

static void test_bad_rules(void **state)
{
	static const char *const bad[] = {"", "url:", "url:-1", "url:x", "url-host:2", "block:0",
		"word", "=url", "url,", "url:2,*x*=url", "*x*=word,url", ",url"};
	const char *input = put_text("text", "some text");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct import_options o = import_of(&input, 1);
		o.group_by = bad[i];
		n_messages = 0;
		assert_int_equal(data_import(&o), -1);
		assert_int_equal(n_messages, 1);
		SAID("group-by");
	}
}

/* JSON lines of n documents. */
static const char *put_json(const char *name, const char *url, int n)
{
	struct str s;
	const char *path;

	str_init(&s);
	for (int i = 0; i < n; i++) {
		str_printf(&s, "{\"text\":\"document %d\"", i);
		if (url)
			str_printf(&s, ",\"url\":\"%s%d\"", url, i % (n / 2));
		str_add(&s, "}\n");
	}
	path = put(name, s.text, s.length);
	str_release(&s);
	return path;
}

/* The tokens of an import by a rule; said: what else it says. */
static void hash_of(char hash[HASH_HEX], const char *input, const char *rule, const char *said)
{
	struct import_options o = import_of(&input, 1);
	struct dataset d;

	o.val = o.tune = 0.1;
	o.group_by = rule;
	o.split = "blank:1";
	o.force = true;
	n_messages = 0;
	all_messages[0] = '\0';
	log_level = LOG_NORMAL;
	import_and_open(&d, &o);
	log_level = LOG_QUIET;
	assert_int_equal(dataset_verify(&d), 0);
	memcpy(hash, d.hash, HASH_HEX);
	dataset_close(&d);
	assert_int_equal(n_entries("set"), 1);
	if (said)
		assert_non_null(strstr(all_messages, said));
	else
		assert_null(strstr(all_messages, "grouped"));
}

/* Without a rule a corpus of too few groups gets the next finer, as if it had been asked for. */
static void test_finer_by_default(void **state)
{
	static const struct {
		const char *name, *url, *taken, *said;
	} cases[] = {
		{"site.json", "http://one.org/", "url", "grouped by url: of coarser"},
		{"page.json", "http://one.org/p#", "document", "grouped by document: of coarser"},
		{"many.json", NULL, "document", "400 documents without url: each"},
	};
	char by_default[HASH_HEX], by_rule[HASH_HEX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *input = put_json(cases[i].name, cases[i].url, 400);
		hash_of(by_default, input, NULL, cases[i].said);
		hash_of(by_rule, input, cases[i].taken, NULL);
		assert_string_equal(by_default, by_rule);
	}
	const char *input = put_json("hosts.json", "http://host", 400);
	hash_of(by_default, input, NULL, NULL);
	hash_of(by_rule, input, "url-host", NULL);
	assert_string_equal(by_default, by_rule);
	input = put_numbers("short", 400);	/* 3,600 bytes are one block */
	hash_of(by_default, input, NULL, "grouped by document: of coarser groups too few");
	hash_of(by_rule, input, "document", NULL);
	assert_string_equal(by_default, by_rule);
}

/* What came of each input adds up to the whole. */
static void test_sources(void **state)
{
	const char *inputs[] = {put_json("a.json", "http://one.org/", 300), put_numbers("b", 300),
		put_text("c", "the end")};
	struct import_options o = import_of(inputs, 3);
	struct manifest_source *sources;
	struct dataset d;

	(void)state;
	o.val = o.tune = 0.2;
	o.split = "blank:1";
	import_and_open(&d, &o);
	assert_int_equal(manifest_sources(d.folder, &sources), 3);
	for (enum split s = 0; s < N_SPLITS; s++) {
		long tokens = 0, documents = 0;
		for (int i = 0; i < 3; i++) {
			tokens += sources[i].n_tokens[s];
			documents += sources[i].n_documents[s];
		}
		assert_int_equal(tokens, d.splits[s].n_tokens);
		assert_int_equal(documents, d.splits[s].n_documents);
	}
	for (int i = 0; i < 3; i++) {
		const struct manifest_source *s = &sources[i];
		static const long n_documents[] = {300, 300, 1};
		static const long n_tokens[] = {300 * 13 - 110, 300 * 10, 8};
		assert_string_equal(s->name, inputs[i]);
		assert_int_equal(s->n_documents[0] + s->n_documents[1] + s->n_documents[2],
			n_documents[i]);
		assert_int_equal(s->n_tokens[0] + s->n_tokens[1] + s->n_tokens[2], n_tokens[i]);
		free(sources[i].name);
	}
	free(sources);
	dataset_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_blocks), SCRATCH_TEST(test_default_shares),
		SCRATCH_TEST(test_url_hosts), SCRATCH_TEST(test_files_and_documents),
		SCRATCH_TEST(test_url_parts), SCRATCH_TEST(test_bad_rules),
		SCRATCH_TEST(test_finer_by_default), SCRATCH_TEST(test_sources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
