/* Questions of a dataset's text: what is asked stands there, and is asked as the sets promise. */
#include "data/ask.h"
#include "data/questions.h"
#include "data/words.h"
#include "scratch.h"

/* Text of n bytes, documents between blank lines, a fifth of it to ask about. */
static void open_text(struct dataset *d, const struct str *text)
{
	const char *input = put("text", text->text, text->length);
	struct import_options o = import_of(&input, 1);

	o.val = 0.2;
	o.split = "blank:256";
	o.format = "text";
	o.force = true;
	import_and_open(d, &o);
}

/* Sentences "one A and then the B of the C by the A.", in which "garden" follows "the" most often. */
static void open_sentences(struct dataset *d, int n)
{
	static const char *const noun[] = {"river", "garden", "window", "morning", "silver", "letter", "answer",
		"captain", "journey", "evening"};
	struct str text;

	str_init(&text);
	for (int i = 0; i < n; i++)
		str_printf(&text, "one %s and then the %s of the %s by the %s.\n\n", noun[i % 10], noun[i / 7 % 10],
			i % 3 ? "garden" : noun[i / 3 % 10], noun[i % 10]);
	open_text(d, &text);
	str_release(&text);
}

static struct ask_options options_of(long n)
{
	return (struct ask_options){.split = SPLIT_VAL, .n = n, .context = 60, .least = 20, .train_tokens = 1 << 20,
		.seed = 3};
}

/* Does the text hold the context with the choice behind it? */
static bool stands(const struct str *text, const struct question *q, int choice)
{
	char *whole = xasprintf("%s%s", q->context, q->choices[choice]);
	bool found = strstr(text->text, whole) != NULL;

	free(whole);
	return found;
}

/* Two neighbouring words exchanged, and all else the same. */
static void check_order(const struct question *q)
{
	const char *good = q->choices[0], *bad = q->choices[1], *u, *v;
	size_t n_u, n_v, same = 0;

	assert_int_equal(q->n_choices, 2);
	assert_string_equal(q->context, "");
	while (good[same] == bad[same])
		same++;
	while (same && good[same - 1] != ' ')
		same--;
	u = good + same;
	n_u = strcspn(u, " ");
	v = u + n_u + 1;
	n_v = strcspn(v, " .");
	char *turned = xasprintf("%.*s%.*s %.*s%s", (int)same, good, (int)n_v, v, (int)n_u, u, v + n_v);
	assert_string_equal(turned, bad);
	free(turned);
}

static void check_cloze(const struct question *q)
{
	assert_int_equal(q->n_choices, 4);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(q->choices[i][0], ' ');
		for (int k = 0; k < i; k++)
			assert_string_not_equal(q->choices[i], q->choices[k]);
	}
}

static void check_last(const struct question *q)
{
	assert_int_equal(q->n_choices, 1);
	assert_non_null(strstr(q->context, q->choices[0]));
	assert_true(str_ends(q->context, " the"));
	assert_string_not_equal(q->choices[0], " garden");
}

/* A text of 60 bytes at most, a blank line, its beginning, and the choice goes on as the text did. */
static void check_copy(const struct question *q)
{
	bool found = false;

	assert_int_equal(q->n_choices, 1);
	for (const char *end = q->context; (end = strstr(end, "\n\n")); end++) {
		size_t n = strlen(end + 2), rest = strlen(q->choices[0]);
		found |= n >= 6 && end - q->context <= 60 && (long)(n + rest) <= end - q->context &&
			!memcmp(q->context, end + 2, n) && !memcmp(q->context + n, q->choices[0], rest);
	}
	assert_true(found);
}

static void test_sets(void **state)
{
	static void (*const check[])(const struct question *q) = {check_order, check_cloze, check_last, check_copy};
	static const char *const name[] = {"order", "cloze", "last", "copy"};
	struct ask_options o = options_of(40);
	struct questions q;
	struct dataset d;
	struct str text;
	long n[4] = {0};
	bool elsewhere = false;

	(void)state;
	open_sentences(&d, 6000);
	text = split_text(&d, SPLIT_VAL);
	assert_int_equal(data_ask(&d, &o, &q), 0);
	for (long i = 0; i < q.n; i++) {
		const struct question *one = &q.list[i];
		int set = 0;
		while (set < 3 && strcmp(one->set, name[set]))
			set++;
		n[set]++;
		check[set](one);
		assert_true(set == 3 || (stands(&text, one, one->answer) && strlen(one->context) <= 60));
		elsewhere |= one->answer > 0;
	}
	assert_int_equal(n[0], 40);
	assert_int_equal(n[1], 40);
	assert_int_equal(n[2], 40);
	assert_int_equal(n[3], 40);
	assert_true(elsewhere);
	questions_release(&q);
	str_release(&text);
	dataset_close(&d);
}

/* The same of one seed, others of another; what is written is read again. */
static void test_seeds(void **state)
{
	struct ask_options o = options_of(10);
	char one[HASH_HEX], again[HASH_HEX], other[HASH_HEX];
	struct questions q, r;
	struct dataset d;

	(void)state;
	open_sentences(&d, 3000);
	assert_int_equal(data_ask(&d, &o, &q), 0);
	assert_int_equal(questions_write(&q, at("one")), 0);
	assert_int_equal(questions_read(&r, at("one")), 0);
	assert_int_equal(r.n, q.n);
	assert_int_equal(questions_write(&r, at("again")), 0);
	questions_release(&q);
	questions_release(&r);
	o.seed = 4;
	assert_int_equal(data_ask(&d, &o, &q), 0);
	assert_int_equal(questions_write(&q, at("other")), 0);
	questions_release(&q);
	assert_int_equal(hash_file(at("one"), one) | hash_file(at("again"), again) | hash_file(at("other"), other), 0);
	assert_string_equal(one, again);
	assert_string_not_equal(one, other);
	dataset_close(&d);
}

/* Bytes that no text file of questions can hold stand in some sentences, or in all. */
static void test_bytes(void **state)
{
	static const char *const odd[] = {"caf\xe9", "\xff\xfe", "\xed\xa0\x80"};
	struct ask_options o = options_of(1000);
	struct questions q, r;
	struct dataset d;

	(void)state;
	o.context = 200;
	for (int every = 1; every < 8; every += 6) {
		struct str text;
		str_init(&text);
		for (int i = 0; i < 3000; i++) {
			str_printf(&text, "one garden by the garden and the garden of %s by the window.%s",
				i % every ? "window" : odd[i / 7 % 3], i % 3 ? " " : "\n\n");
			if (i % 40 == 0)
				str_add_bytes(&text, "then there is a \0 in the river. ", 32);
		}
		open_text(&d, &text);
		assert_int_equal(data_ask(&d, &o, &q), every == 1 ? -1 : 0);
		if (every == 1)
			SAID("must have 6 to 64 words, and be UTF-8");
		for (long i = 0; i < q.n; i++)
			for (size_t k = 0; k < ARRAY_SIZE(odd); k++)
				assert_true(!strstr(q.list[i].context, odd[k]) && !strstr(q.list[i].context, "is a "));
		if (every > 1) {
			assert_int_equal(questions_write(&q, at("some")), 0);
			assert_int_equal(questions_read(&r, at("some")), 0);
			assert_true(q.n > 100 && r.n == q.n);
			questions_release(&r);
		}
		questions_release(&q);
		str_release(&text);
		dataset_close(&d);
	}
}

struct told {
	struct str words;
	long n;
};

static void tell(void *to, const char *word, size_t n, const char *before, size_t n_before)
{
	struct told *t = to;

	t->n++;
	if (t->n <= 5 || !strncmp(word, "last", 4))
		str_printf(&t->words, "%.*s<%.*s ", (int)n, word, (int)n_before, before ? before : "");
}

/* Words on borders of what is decoded at once are told of once, and whole. */
static void test_words(void **state)
{
	struct told t = {.n = 0};
	struct str text;
	const char *input;
	struct dataset d;

	(void)state;
	str_init(&text);
	str_init(&t.words);
	str_add(&text, "It's a  small\nthing, so");
	for (int i = 0; i < 40000; i++)
		str_add(&text, " four");
	str_add(&text, " last\n\nlast");
	input = put("text", text.text, text.length);
	struct import_options o = import_of(&input, 1);
	o.val = o.tune = 0;
	import_and_open(&d, &o);
	assert_int_equal(words_scan(&d, SPLIT_TRAIN, 1 << 20, tell, &t), 0);
	assert_int_equal(t.n, 5 + 40000 + 2);
	assert_string_equal(t.words.text, "It's< a<It's small< thing<small so< last<four last< ");
	str_release(&text);
	str_release(&t.words);
	dataset_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_sets), SCRATCH_TEST(test_seeds), SCRATCH_TEST(test_bytes),
		SCRATCH_TEST(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
