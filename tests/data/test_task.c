/* Examples of the tasks against their definitions. */
#include "task_rows.h"

static void test_selective_copy(void **state)
{
	struct dataset d;
	struct sequences s;
	long places[12] = {0};

	(void)state;
	make_and_open(&d, &s, "selective_copy", "train=16x4:3000 tests=16x4:10 vocab=6", "train");
	assert_int_equal(d.vocab, 7);
	assert_int_equal(s.per_epoch, 3000);
	for (long i = 0; i < 3000; i++) {
		int n = 0;
		assert_int_equal(read_row(&s, i), 16);
		for (int t = 0; t < 12; t++) {
			assert_int_equal(targets[t], -1);
			assert_in_range(tokens[t], 0, 4);
			places[t] += tokens[t] > 0;
			if (tokens[t])
				assert_int_equal(targets[12 + n++], tokens[t]);
		}
		assert_int_equal(n, 4);
		for (int t = 12; t < 16; t++)
			assert_int_equal(tokens[t], 5);
	}
	for (int t = 0; t < 12; t++)	/* 1000 each, deviation 26 */
		assert_in_range(places[t], 890, 1110);
	dataset_close(&d);
}

static void check_induction(const struct sequences *s, long n, bool all)
{
	long places[12] = {0};

	for (long i = 0; i < n; i++) {
		int first = 0, T = (int)read_row(s, i);
		while (tokens[first] != 15)
			first++;
		assert_true(first < T - 2);
		places[first < 12 ? first : 11]++;
		for (int t = first + 1; t < T - 1; t++)
			assert_in_range(tokens[t], 0, 14);
		for (int t = 0; t < T - 1; t++)
			assert_int_equal(targets[t], all ? tokens[t + 1] : -1);
		assert_int_equal(tokens[T - 1], 15);
		assert_int_equal(targets[T - 1], tokens[first + 1]);
	}
	for (int t = 0; t < 10 && s->context == 12 && n == 2000; t++)	/* 200 each, deviation 13.4 */
		assert_in_range(places[t], 140, 260);
}

static void test_induction(void **state)
{
	struct dataset d;
	struct sequences s;

	(void)state;
	make_and_open(&d, &s, "induction", "train=12:2000 tests=12:4,100:7", "train");
	check_induction(&s, 2000, false);
	dataset_close(&d);
	make_and_open(&d, &s, "induction", "train=12:2000 tests=12:4,100:7 scored=all", "train");
	check_induction(&s, 2000, true);
	assert_int_equal(sequences_init(&s, &d, SPLIT_VAL, 12, 1), 0);
	check_induction(&s, 100, false);
	assert_int_equal(sequences_init(&s, &d, (enum split)(N_SPLITS + 1), 100, 1), 0);
	assert_int_equal(d.splits[N_SPLITS + 1].length, 100);
	assert_int_equal(s.per_epoch, 7);
	check_induction(&s, 7, false);
	dataset_close(&d);
}

/* One row against the definition; the number of its pairs. */
static int check_mqar(int T, bool random)
{
	int k = 0, asked = 0;

	while (tokens[2 * k + 1] >= 10)
		k++;
	for (int i = 0; i < k; i++) {
		assert_in_range(tokens[2 * i], 1, 9);
		assert_in_range(tokens[2 * i + 1], 10, 19);
		for (int j = 0; j < i; j++)
			assert_true(tokens[2 * j] != tokens[2 * i] && tokens[2 * j + 1] != tokens[2 * i + 1]);
	}
	for (int t = 0; t < T; t++) {
		int i = 0;
		if (targets[t] < 0) {
			assert_true(t < 2 * k || random || tokens[t] == 0 || tokens[t] == 20);
			continue;
		}
		assert_true(t >= 2 * k && t % 2 == 0);
		while (i < k && tokens[2 * i] != tokens[t])
			i++;
		assert_true(i < k);
		assert_int_equal(targets[t], tokens[2 * i + 1]);
		asked++;
	}
	assert_int_equal(asked, k);
	return k;
}

static void test_mqar(void **state)
{
	struct dataset d;
	struct sequences s;
	int seen[5] = {0};

	(void)state;
	make_and_open(&d, &s, "mqar", "train=8x2:30,16x4:10 tests=32x8:50 vocab=20", "train");
	assert_int_equal(d.splits[SPLIT_TRAIN].row, 16);
	for (long i = 0; i < 40; i++)
		seen[check_mqar((int)read_row(&s, i), false)]++;
	assert_true(seen[2] == 30 && seen[4] == 10);
	assert_int_equal(sequences_init(&s, &d, (enum split)N_SPLITS, 32, 1), 0);
	assert_true(d.splits[N_SPLITS].length == 32 && d.splits[N_SPLITS].items == 8);
	for (long i = 0; i < 50; i++)
		assert_int_equal(check_mqar((int)read_row(&s, i), false), 8);
	dataset_close(&d);
	make_and_open(&d, &s, "mqar", "train=64x1:200 tests= vocab=20 fill=random", "train");
	for (long i = 0; i < 200; i++) {
		read_row(&s, i);
		long n = 0;
		for (int t = 2; t < 64; t++)
			n += targets[t] >= 0 ? targets[t] == tokens[1] : 0;
		assert_int_equal(n, 1);
		seen[0] += tokens[33] >= 10;
	}
	assert_in_range(seen[0], 70, 130);	/* any of 20 tokens */
	dataset_close(&d);
}

/* Slot i of 4 has weight i^-0.99: shares 0.47761, 0.24047, 0.16097, 0.12095 of the first draw. */
static void test_mqar_slots(void **state)
{
	static const double share[4] = {0.47761, 0.24047, 0.16097, 0.12095};
	struct dataset d;
	struct sequences s;
	long slots[4] = {0};

	(void)state;
	make_and_open(&d, &s, "mqar", "train=12x2:20000 tests= vocab=20", "train");
	for (long i = 0; i < 20000; i++) {
		read_row(&s, i);
		for (int slot = 0; slot < 4; slot++)
			slots[slot] += tokens[4 + 2 * slot] == tokens[0];
	}
	for (int i = 0; i < 4; i++)	/* deviation at most 0.0036 */
		assert_true((double)slots[i] / 20000 > share[i] - 0.014 &&
			(double)slots[i] / 20000 < share[i] + 0.014);
	dataset_close(&d);
}

/* "$abc|abc." of the letters of row `tokens` from `from` on; a token asked for has a ' before it. */
static const char *spelt(long from, long n)
{
	static char text[2 * MOST];
	char *out = text;

	for (long t = from; t < from + n; t++) {
		if (t && targets[t - 1] >= 0) {
			assert_int_equal(targets[t - 1], tokens[t]);
			*out++ = '\'';
		}
		*out++ = tokens[t] < 26 ? (char)('a' + tokens[t]) : "$|. "[tokens[t] - 26];
	}
	*out = '\0';
	return text;
}

/* The examples of a packed row: returns how many are whole, with lengths of 3 to 5 letters. */
static int check_copies(const char *text)
{
	int n = 0;

	for (; *text; n++) {
		char s[8] = "", expected[40], *end = expected;
		int length = 0;
		assert_int_equal(text[0], '$');
		while (text[1 + length] >= 'a' && text[1 + length] <= 'z')
			length++;
		memcpy(s, text + 1, (size_t)length);
		if (!text[1 + length])
			return n;
		end += sprintf(expected, "$%s|", s);
		for (int i = 0; i < length; i++)
			end += sprintf(end, "'%c", s[i]);
		sprintf(end, "'.");
		if (strncmp(text, expected, strlen(expected)))
			return assert_null(strchr(text, '\'')), n;	/* cut: nothing is asked */
		assert_in_range(length, 3, 5);
		text += strlen(expected);
	}
	return n;
}

static void test_copy(void **state)
{
	struct dataset d;
	struct sequences s;
	const char *text;

	(void)state;
	make_and_open(&d, &s, "copy", "train=3-5:100 tests=7:20 pack=50", "train");
	assert_int_equal(d.vocab, 30);
	for (long i = 0; i < 100; i++)
		assert_in_range(check_copies(spelt(0, read_row(&s, i))), 3, 5);
	assert_int_equal(sequences_init(&s, &d, (enum split)N_SPLITS, 17, 1), 0);
	for (long i = 0; i < 20; i++) {
		text = spelt(0, read_row(&s, i));
		for (int k = 0; k < 7; k++)
			assert_true(text[9 + 2 * k] == '\'' && text[10 + 2 * k] == text[1 + k]);
		assert_string_equal(text + 9 + 14, ".");	/* tests do not ask for it */
	}
	dataset_close(&d);
}

static int count_of(const char *text, const char *what, long n)
{
	int found = 0;

	for (; strlen(text) >= (size_t)n; text++)
		found += !strncmp(text, what, (size_t)n);
	return found;
}

static void test_suffix_ngram(void **state)
{
	struct dataset d;
	struct sequences s;

	(void)state;
	make_and_open(&d, &s, "suffix_ngram", "train=9:5 tests=12:300 letters=4 ngram=2", "12");
	for (long i = 0; i < 300; i++) {
		char string[13] = "", gram[3] = "", answer[16] = "", *out = answer;
		const char *text;
		read_row(&s, i);
		for (int t = 0; t < s.context; t++)	/* the signs follow the letters */
			tokens[t] += tokens[t] > 3 ? 22 : 0, targets[t] += targets[t] > 3 ? 22 : 0;
		text = spelt(0, s.context);
		memcpy(string, text + 1, 12);
		memcpy(gram, text + 14, 2);
		assert_int_equal(count_of(string, gram, 2), 1);
		for (const char *c = text + 16; *c == '\''; c += 2)
			*out++ = c[1];
		assert_true(*answer);
		assert_string_equal(strstr(string, gram) + 2, answer);
	}
	dataset_close(&d);
}

static void test_duplicate_ngram(void **state)
{
	struct dataset d;
	struct sequences s;

	(void)state;
	make_and_open(&d, &s, "duplicate_ngram", "train=8:50 tests=8:100 pack=0", "8");
	for (long i = 0; i < 100; i++) {
		char string[9] = "";
		int twice = 0;
		read_row(&s, i);
		memcpy(string, spelt(0, s.context) + 1, 8);
		for (int k = 0; k + 3 <= 8; k++)
			twice += count_of(string, string + k, 3) > 1;
		assert_true(twice > 1);
		for (int k = 0; k < 8; k++)
			assert_int_equal(targets[9 + k], tokens[1 + k]);
		assert_int_equal(targets[17], -1);
	}
	assert_int_equal(sequences_init(&s, &d, SPLIT_TRAIN, 19, 1), 0);
	for (long i = 0; i < 50; i++) {
		char string[9] = "";
		read_row(&s, i);
		memcpy(string, spelt(0, s.context) + 1, 8);
		for (int k = 0; k + 3 <= 8; k++)	/* 26^3 of them: none is there twice by chance */
			assert_int_equal(count_of(string, string + k, 3), 1);
	}
	dataset_close(&d);
}

static void test_phonebook(void **state)
{
	struct dataset d;
	struct sequences s;
	enum { N = 6 };

	(void)state;
	make_and_open(&d, &s, "phonebook", "train=3:5 tests=6:100", "6");
	assert_string_equal(d.tokenizer, "byte");
	for (long i = 0; i < 100; i++) {
		char text[MOST] = "", *lines[N + 6], *rest = text, *number;
		int n = 0, asked = 0, found = 0;
		long T = read_row(&s, i), end = 0;
		for (; end < T && tokens[end] < 256; end++)
			text[end] = (char)tokens[end];
		while (n < N + 6 && (lines[n] = strsep(&rest, "\n")))
			n++;
		assert_int_equal(n, N + 6);
		assert_string_equal(lines[N], "");
		assert_string_equal(lines[N + 3], "");
		assert_string_equal(lines[N + 5], "");
		for (int k = 0; k < N; k++) {
			size_t name = strcspn(lines[k], ":") + 1;
			for (int j = 0; j < k; j++)
				assert_true(strncmp(lines[j], lines[k], name));
			assert_true(lines[k][name] == ' ' && lines[k][name + 1] >= '6');
			assert_int_equal(strspn(lines[k] + name + 1, "0123456789"), 10);
			assert_int_equal(strlen(lines[k]), name + 11);
			for (int shown = N + 1; shown < N + 5; shown++)
				found += !strcmp(lines[shown], lines[k]);
		}
		assert_int_equal(found, 3);
		assert_true(strcmp(lines[N + 1], lines[N + 2]) && strcmp(lines[N + 1], lines[N + 4]) &&
			strcmp(lines[N + 2], lines[N + 4]));
		number = lines[N + 4] + strlen(lines[N + 4]) - 10;
		for (long t = 0; t < T; t++)
			if (targets[t] >= 0) {
				assert_int_equal(t + 1 - (number - text), asked);
				assert_int_equal(targets[t], number[asked++]);
			}
		assert_int_equal(asked, 10);
	}
	dataset_close(&d);
}

/* "WHAT=" and the shapes, one example of each. */
static void add_shapes(struct str *to, const char *what, const char *shapes)
{
	str_printf(to, "%s=", what);
	for (const char *s = shapes; *s; s += strcspn(s, ",") + (s[strcspn(s, ",")] == ','))
		str_printf(to, "%s%.*s:1", s > shapes ? "," : "", (int)strcspn(s, ":"), s);
}

/* What is taken where nobody says otherwise can be made. */
static void test_defaults(void **state)
{
	(void)state;
	for (int i = 0; tasks[i]; i++) {
		struct str settings;
		str_init(&settings);
		add_shapes(&settings, "train", tasks[i]->train);
		add_shapes(&settings, " tests", tasks[i]->tests);
		str_printf(&settings, " val=1 tune=1");
		if (make(tasks[i]->name, settings.text))
			fail_msg("%s: %s", tasks[i]->name, settings.text);
		str_release(&settings);
	}
}

/* Runs name their data by its hash: the same settings make the same examples, today and later. */
static void test_golden(void **state)
{
	static const char *const cases[][3] = {
		{"selective_copy", "train=16x4:50 tests=16x4:9,32x8:9 val=5 tune=5", "20ef86c6"},
		{"induction", "train=12-20:31,9:19 tests=12:9 val=8 tune=5", "e8a00b51"},
		{"copy", "train=5-20:50 tests=10:9 val=5 tune=5", "5487d00c"},
		{"suffix_ngram", "train=8-50:50 tests=20:9 val=5 tune=5 answer=2", "6e82a61b"},
		{"duplicate_ngram", "train=5-20:50 tests=20:9 val=5 tune=5", "d69843a1"},
		{"phonebook", "train=3-20:50 tests=10:9 val=5 tune=5", "60a69111"},
	};
	struct dataset d;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(make(cases[i][0], cases[i][1]), 0);
		assert_int_equal(dataset_open(&d, at("set")), 0);
		if (strncmp(d.hash, cases[i][2], 8))
			fail_msg("%s: %.8s, not %s", cases[i][0], d.hash, cases[i][2]);
		dataset_close(&d);
	}
}

/* Rows beyond what is made at once are others. */
static void test_many_rows(void **state)
{
	enum { ROW = 1 << 18, ROWS = 12 };	/* nine are made at once */
	int32_t *rows = xmalloc(2 * ROWS * 100 * sizeof *rows);
	struct dataset d;

	(void)state;
	assert_int_equal(make("induction", "train=262144:1 tests= val=12 tune=0"), 0);
	assert_int_equal(dataset_open(&d, at("set")), 0);
	assert_int_equal(d.splits[SPLIT_VAL].n_documents, ROWS);
	for (long i = 0; i < ROWS; i++) {
		assert_int_equal(dataset_read(&d, SPLIT_VAL, 2 * i * ROW, 100, rows + 100 * i), 0);
		for (long k = 0; k < i; k++)
			assert_memory_not_equal(rows + 100 * i, rows + 100 * k, 100 * sizeof *rows);
	}
	dataset_close(&d);
	free(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_selective_copy),
		SCRATCH_TEST(test_induction),
		SCRATCH_TEST(test_mqar),
		SCRATCH_TEST(test_mqar_slots),
		SCRATCH_TEST(test_copy),
		SCRATCH_TEST(test_suffix_ngram),
		SCRATCH_TEST(test_duplicate_ngram),
		SCRATCH_TEST(test_phonebook),
		SCRATCH_TEST(test_defaults),
		SCRATCH_TEST(test_golden),
		SCRATCH_TEST(test_many_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
