/* Minimal pairs by rule: which word is exchanged in which sentence, and either word of a pair as often as the other. */
#include "data/ask.h"
#include "data/pairs.h"
#include "scratch.h"

static struct sentence sentence_of(const char *text)
{
	struct sentence s;

	assert_true(sentence_read(&s, (struct span){text, strlen(text)}));
	return s;
}

/* The kind's question of the sentence beside one of the counterpart, which balance asks for; NULL: none. */
static char *changed(int kind, const char *text, const char *counterpart)
{
	struct pairs p = {.most = 2, .seed = 5};
	struct sentence s = sentence_of(text), t = sentence_of(counterpart);
	struct questions q = {0};
	char *found = NULL;

	pairs_ask(&p, kind, &s, 1);
	pairs_ask(&p, kind, &t, 2);
	pairs_take(&p, kind, &q);
	if (q.n) {
		assert_int_equal(q.n, 2);
		assert_string_equal(q.list[0].set, pair_kind_names[kind]);
		assert_string_equal(q.list[0].context, "");
		assert_int_equal(q.list[0].n_choices, 2);
		assert_int_equal(q.list[0].answer, 0);
		assert_string_equal(q.list[0].choices[0], text);
		assert_string_equal(q.list[1].choices[0], counterpart);
		found = xstrdup(q.list[0].choices[1]);
	}
	questions_release(&q);
	pairs_release(&p);
	return found;
}

/* Each has a word of one pair, and its counterpart: either is exchanged for the other. */
static const struct {
	int kind;
	const char *text, *other, *counterpart;
} right[] = {
	{PAIR_AGREEMENT, "The old dog is asleep by the fire.", "The old dog are asleep by the fire.",
		"The old dogs are asleep by the fire."},
	{PAIR_AGREEMENT, "Then the rain was cold and heavy!", "Then the rain were cold and heavy!",
		"Then the nights were cold and long!"},
	{PAIR_AGREEMENT, "He said that she has gone away.", "He said that she have gone away.",
		"He said that we have gone away."},
	{PAIR_AGREEMENT, "She knows what it does to her.", "She knows what it do to her.",
		"She knows what they do to her."},
	{PAIR_AGREEMENT, "They slept all day in this house.", "They slept all day in these house.",
		"They slept all day in these houses."},
	{PAIR_AGREEMENT, "They met him late at that time.", "They met him late at those time.",
		"They met him late at those times."},
	{PAIR_ARTICLE, "They gave the boy a pear again.", "They gave the boy an pear again.",
		"They gave the boy an apple again."},
	{PAIR_PRONOUN, "The boy knew that he, too, slept.", "The boy knew that him, too, slept.",
		"The boy knew nothing at all about him."},
	{PAIR_PRONOUN, "After the war they went home again.", "After the war them went home again.",
		"After the war someone told them again."},
	{PAIR_PRONOUN, "After the war\nwe went home again.", "After the war\nus went home again.",
		"After the war someone told us again."},
	{PAIR_PRONOUN, "After the war I went home again?", "After the war me went home again?",
		"After the war someone told me again?"},
};

static void test_right(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(right); i++)
		for (int turned = 0; turned < 2; turned++) {
			const char *first = turned ? right[i].counterpart : right[i].text;
			char *found = changed(right[i].kind, first, turned ? right[i].text : right[i].counterpart);
			assert_non_null(found);
			assert_string_not_equal(found, first);
			if (!turned)
				assert_string_equal(found, right[i].other);
			free(found);
		}
}

/* Both forms may be right, or the word is none, or it is the first. */
static const struct {
	int kind;
	const char *text, *counterpart;
} left_out[] = {
	{PAIR_AGREEMENT, "He said then that none is here.", "The old dogs are asleep by the fire."},
	{PAIR_AGREEMENT, "What is she who sang then again?", "The old dogs are asleep by the fire."},
	{PAIR_AGREEMENT, "If only the rain was not cold.", "Then the nights were cold and long!"},
	{PAIR_AGREEMENT, "He might at least have gone home.", "He said that she has gone away."},
	{PAIR_AGREEMENT, "They said they'll soon enough have gone.", "He said that she has gone away."},
	{PAIR_AGREEMENT, "They wouldn't quite yet have gone home.", "He said that she has gone away."},
	{PAIR_AGREEMENT, "They don\xe2\x80\x99t quite have any of it.", "He said that she has gone away."},
	{PAIR_AGREEMENT, "They had nothing left to do then.", "She knows what it does to her."},
	{PAIR_AGREEMENT, "They slept all day and this happened.", "They slept all day in these houses."},
	{PAIR_AGREEMENT, "Then they slept and this lamp burned.", "They slept all day in these houses."},
	{PAIR_AGREEMENT, "They slept in all of this again.", "They slept all day in these, houses."},
	{PAIR_AGREEMENT, "He gave it to those who slept.", "They met him late at that time."},
	{PAIR_AGREEMENT, "He gave it to those banished then.", "They met him late at that time."},
	{PAIR_AGREEMENT, "The isle, this-is a dog of ours.", "The old dogs are asleep by the fire."},
	{PAIR_AGREEMENT, "The isle isn't one of ours now.", "The old dogs are asleep by the fire."},
	{PAIR_AGREEMENT, "The isle is\xc3\xa9 one of ours now.", "The old dogs are asleep by the fire."},
	{PAIR_ARTICLE, "They gave the boy a hotel again.", "They gave the boy an apple again."},
	{PAIR_ARTICLE, "They gave the boy a one-eyed dog.", "They gave the boy an apple again."},
	{PAIR_ARTICLE, "They gave the boy a Tuesday off.", "They gave the boy an apple again."},
	{PAIR_ARTICLE, "They gave the boy a \"pear\" again.", "They gave the boy an apple again."},
	{PAIR_PRONOUN, "No boy is so old as he now.", "The boy knew nothing at all about him."},
	{PAIR_PRONOUN, "The boy knew that he and John slept.", "The boy knew nothing at all about him."},
	{PAIR_PRONOUN, "I went home after the war again.", "After the war someone told me again."},
	{PAIR_PRONOUN, "The boy told her of it again.", "The boy said that she told it."},
};

static void test_left_out(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(left_out); i++) {
		char *found = changed(left_out[i].kind, left_out[i].text, left_out[i].counterpart);
		if (found)
			fail_msg("\"%s\" became \"%s\"", left_out[i].text, found);
	}
}

/* Of 100 sentences 74 have `is`, 24 `are`, one `this` and one `these`. */
static void ask_many(struct pairs *p, int n)
{
	for (int i = 0; i < n; i++) {
		const char *rest = i % 100 == 50 ? "ended well in these houses"
			: i % 100 == 51 ? "ended well in this house"
			: i % 4 == 3 ? "and others are good again" : "at last is good again";
		char text[128];
		snprintf(text, sizeof text, "Story %d %s.", i, rest);
		struct sentence s = sentence_of(text);
		pairs_ask(p, PAIR_AGREEMENT, &s, (uint64_t)i);
	}
}

static void count_words(const struct questions *q, long n[4])
{
	static const char *const word[] = {" is ", " are ", " this ", " these "};

	memset(n, 0, 4 * sizeof *n);
	for (long i = 0; i < q->n; i++)
		for (int k = 0; k < 4; k++)
			n[k] += strstr(q->list[i].choices[0], word[k]) != NULL;
}

/* Either word as often; a rare pair gives what it has, the others the rest; few are held of many. */
static void test_balance(void **state)
{
	static const struct {
		long most, n[4];
	} cases[] = {{1, {0}}, {7, {2, 2, 1, 1}}, {40, {10, 10, 10, 10}}, {401, {160, 160, 40, 40}},
		{100000, {960, 960, 40, 40}}};
	long n[4];

	(void)state;
	for (size_t c = 0; c < ARRAY_SIZE(cases); c++) {
		struct pairs p = {.most = cases[c].most, .seed = 5};
		struct questions q = {0};
		ask_many(&p, 4000);
		for (int i = 0; i < N_PAIRS; i++)
			for (int form = 0; form < 2; form++)
				assert_true(p.held[i][form].n <= p.most);
		pairs_take(&p, PAIR_AGREEMENT, &q);
		count_words(&q, n);
		for (int k = 0; k < 4; k++)
			assert_int_equal(n[k], cases[c].n[k]);
		questions_release(&q);
		pairs_release(&p);
	}
}

/* What is taken does not depend on when others were dropped: the sentences of a small number are among those
   of a large one. It is in the order of the text, from all parts of it, and another for another seed. */
static void test_choice(void **state)
{
	struct questions q[3];
	long n_late = 0, n_same = 0;

	(void)state;
	for (int c = 0; c < 3; c++) {
		struct pairs p = {.most = c == 1 ? 2000 : 100, .seed = c == 2 ? 6 : 5};
		ask_many(&p, 4000);
		q[c] = (struct questions){0};
		pairs_take(&p, PAIR_AGREEMENT, &q[c]);
		pairs_release(&p);
	}
	for (long i = 0, k = 0, m = 0; i < q[0].n; i++) {
		while (k < q[1].n && strcmp(q[0].list[i].choices[0], q[1].list[k].choices[0]))
			k++;
		assert_true(k < q[1].n);
		for (m = 0; m < q[2].n; m++)
			n_same += !strcmp(q[0].list[i].choices[0], q[2].list[m].choices[0]);
		n_late += k > q[1].n / 2;
	}
	assert_true(n_late > 25 && n_late < 75);
	assert_true(n_same < 75);
	for (int c = 0; c < 3; c++)
		questions_release(&q[c]);
}

/* As sets of `data ask`: by themselves they are what they are beside others, and so are the others beside them. */
static void test_sets(void **state)
{
	struct ask_options o = {.split = SPLIT_VAL, .n = 20, .context = 80, .least = 20, .train_tokens = 1 << 20};
	struct questions all, one;
	struct dataset d;
	struct str text;
	const char *input;
	static const char *const sets[] = {"order", "agreement", "article,pronoun", "copy,cloze"};

	(void)state;
	str_init(&text);
	for (int i = 0; i < 3000; i++)
		str_printf(&text, "Story %d: %s %s fire again.\n\n", i,
			i % 2 ? "the old dogs are at" : "the young dog is by",
			i % 3 ? "an awful" : i % 5 ? "a bright" : "the noise they made, and the");
	input = put("text", text.text, text.length);
	struct import_options import = import_of(&input, 1);
	import.val = 0.2;
	import.split = "blank:256";
	import_and_open(&d, &import);
	assert_int_equal(data_ask(&d, &o, &all), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
		long at = 0;
		o.sets = sets[i];
		if (data_ask(&d, &o, &one))
			fail_msg("%s: %s", sets[i], message);
		for (long k = 0; k < one.n; k++, at++) {
			while (at < all.n && strcmp(one.list[k].choices[0], all.list[at].choices[0]))
				at++;
			assert_true(at < all.n && !strcmp(one.list[k].set, all.list[at].set));
			assert_non_null(strstr(sets[i], one.list[k].set));
		}
		questions_release(&one);
	}
	o.sets = "order,articles";
	assert_int_equal(data_ask(&d, &o, &one), -1);
	SAID("no set of questions \"articles\": there are order,cloze,last,copy,agreement,article,pronoun");
	o.sets = "pronoun";
	o.context = 10;
	assert_int_equal(data_ask(&d, &o, &one), -1);
	SAID("no sentence to ask about");
	questions_release(&all);
	str_release(&text);
	dataset_close(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(test_right), SCRATCH_TEST(test_left_out), SCRATCH_TEST(test_balance),
		SCRATCH_TEST(test_choice), SCRATCH_TEST(test_sets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
